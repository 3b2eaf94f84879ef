package worker

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// subscription is one of version 0 to topics, with user data.
func subscription(userData string, topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(topics)))
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(userData))), userData...)
}

// intruder is a member of a group with a subscription of its own that stays until
// the test ends. It takes part in every rebalance as somebody who does not lead.
func intruder(t *testing.T, b *testbroker.Broker, group, strategy string, metadata []byte) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Net.ReadTimeout = time.Minute
	client, err := sarama.NewClient(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	coordinator, err := client.Coordinator(group)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		_ = client.Close() // ends what waits
		<-done
	})
	join := &sarama.JoinGroupRequest{Version: 5, GroupId: group, ProtocolType: "consumer", SessionTimeout: 10_000, RebalanceTimeout: 30_000}
	join.OrderedGroupProtocols = []*sarama.GroupProtocol{{Name: strategy, Metadata: metadata}}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			joined, err := coordinator.JoinGroup(join)
			if err != nil {
				return
			}
			join.MemberId = joined.MemberId
			if joined.Err != sarama.ErrNoError {
				continue
			}
			if _, err = coordinator.SyncGroup(&sarama.SyncGroupRequest{Version: 3, GroupId: group, GenerationId: joined.GenerationId, MemberId: joined.MemberId}); err != nil {
				return
			}
			for sleep(ctx, 100*time.Millisecond) {
				beat, err := coordinator.Heartbeat(&sarama.HeartbeatRequest{Version: 3, GroupId: group, GenerationId: joined.GenerationId, MemberId: joined.MemberId})
				if err != nil {
					return
				}
				if beat.Err != sarama.ErrNoError {
					break
				}
			}
		}
	}()
}

// Another member's subscription does not stop the worker that leads the group: it
// goes on with all partitions.
func TestInvalidSubscriptionDoesNotStopTheLeader(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy string
		metadata []byte
		logged   string // empty: nothing is logged
	}{
		"a name that cannot exist":      {"range", subscription("", "x/y"), `"x/y" is no topic's name`},
		"an empty name":                 {"range", subscription("", ""), `"" is no topic's name`},
		"a topic that is not there":     {"range", subscription("", "missing"), ""},
		"one that cannot be decoded":    {"range", []byte{0, 1, 0, 0}, "cannot be decoded"},
		"user data of another language": {"sticky", subscription("\xff\xfe\xfd"), ""},
		"a million names":               {"range", subscription("", make([]string, 1_000_000)...), "is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			if b.Real() && len(tt.metadata) > 500_000 {
				t.Skip("Kafka does not store a group of more than message.max.bytes")
			}
			topic, group := b.Topic(2), b.Group()
			called := make(chan string, 10)
			cfg := testConfig(b, group)
			cfg.PartitionAssignmentStrategy = []string{tt.strategy}
			logs := &test.Hook{}
			s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
				called <- string(m.Value)
				return nil
			}), cfg, func(o *Options) { o.Log.AddHook(logs) })
			s.running()
			intruder(t, b, group, tt.strategy, tt.metadata)
			waitFor(t, "a generation with that member", func() bool {
				joins := 0
				for _, e := range logs.AllEntries() {
					if e.Message == "joined the group" {
						joins++
					}
				}
				return joins >= 2
			})
			waitFor(t, "both partitions", func() bool { return len(s.status().Partitions) == 2 })
			b.Produce(topic, 0, "a")
			b.Produce(topic, 1, "a")
			for range 2 {
				select {
				case <-called:
				case <-time.After(patient):
					t.Fatal("nothing is consumed beside that member")
				}
			}
			told := 0
			for _, e := range logs.AllEntries() {
				if e.Level <= logrus.ErrorLevel {
					t.Errorf("logged: %s", e.Message)
				}
				if problem, _ := e.Data["problem"].(string); problem != "" {
					told++
					if !strings.Contains(problem, tt.logged) || e.Data["member"] == "" {
						t.Errorf("logged member %v: %s", e.Data["member"], problem)
					}
				}
			}
			if want := min(len(tt.logged), 1); told != want {
				t.Errorf("logged %d times, want %d", told, want)
			}
		})
	}
}
