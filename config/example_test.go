package config_test

import (
	"fmt"
	"os"

	"github.com/racecar-go/racecar/config"
)

func ExampleGroupIDFor() {
	fmt.Println(config.GroupIDFor("UserBanConsumer", ""))
	fmt.Println(config.GroupIDFor("BaconConsumer", "kevin."))
	// Output:
	// user-ban-consumer
	// kevin.bacon-consumer
}

func ExampleLoad() {
	l, err := config.Load(config.Options{
		NoFile:  true,
		Environ: []string{"RACECAR_BROKERS=kafka1,kafka2:9093", "RACECAR_MAX_WAIT_TIME=0.5", "RACECAR_STATUS_TOKEN=secret"},
		Flags:   map[string]config.Flag{"partitioner": {Text: "murmur2", As: "--partitioner"}},
		Spec:    &config.SpecValues{Name: "UserBanConsumer", MaxRetries: 3},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = config.Dump(os.Stdout, l.Config, l.Sources, config.DumpOptions{Changed: true})
	// Output:
	// brokers = ["kafka1:9092", "kafka2:9093"]         # RACECAR_BROKERS
	// max_wait_time = 0.5                              # RACECAR_MAX_WAIT_TIME
	// group_id = "user-ban-consumer"                   # derived from the consumer's name
	// partitioner = :murmur2                           # --partitioner
	// max_retries = 3                                  # Spec of UserBanConsumer
	// dead_letter_topic = "user-ban-consumer.dlq"      # derived from group_id
	// status_token = "[hidden]"                        # RACECAR_STATUS_TOKEN
}

func ExampleLoad_problems() {
	_, err := config.Load(config.Options{
		NoFile:  true,
		Environ: []string{"RACECAR_FETCH_MESAGES=10", "RACECAR_LOG_LEVEL=loud"},
		Flags:   map[string]config.Flag{"session_timeout": {Text: "soon", As: "--session-timeout"}},
	})
	fmt.Println(err)
	// Output:
	// RACECAR_FETCH_MESAGES: unknown environment variable (did you mean RACECAR_FETCH_MESSAGES?)
	// --session-timeout: "soon" is not a number of seconds (example: 30)
	// RACECAR_LOG_LEVEL: "loud" is not one of debug, info, warn, error
}
