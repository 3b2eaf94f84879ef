package producer_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/hostile"
	"github.com/racecar-go/racecar/test/seeds"
)

// hostileBound is the maximum memory of a client with any broker: that of an idle client,
// 2 × max_bytes and max_batch_bytes.
const hostileBound = 105 << 20

// hostileExceptions take more.
var hostileExceptions = map[string]int64{
	// The largest clusters look like this: three clients hold 175,000 partitions.
	"metadata-partitions-within-the-limit": 180 << 20,
	// An answer is read whole: a record batch may have up to 100 MiB.
	"fetch-sends-90mb": 130 << 20,
}

// hostileChild is the variable that holds the settings of a client to be attacked.
const hostileChild = "TESTBED_HOSTILE_CLIENT"

// Whatever a broker or a Kerberos server answers, before the login or after it: a
// client's memory stays within bounds, it gives up in time, and without TLS nobody
// can end it for good.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	if os.Getenv(hostileChild) != "" {
		t.Skip("a test of its own")
	}
	slots := make(chan struct{}, 6) // they mostly wait
	var wg sync.WaitGroup
	for _, s := range hostile.Scenarios(t) {
		c := besieged(t, s)
		bound := seeds.AtMostBytes(cmp.Or(hostileExceptions[s.Name], hostileBound))
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			var out string
			var kb int64
			// The peak depends on when the garbage collector runs, so the lowest of three
			// counts.
			for try := 0; try == 0 || try < 3 && kb<<10 > bound; try++ {
				var err error
				if out, err = attacked(t, c); err != nil {
					t.Errorf("%s: %v\n%s", s.Name, err, out)
					return
				}
				peak := regexp.MustCompile(`(?m)^peak (\d+)$`).FindStringSubmatch(out)
				if peak == nil {
					t.Errorf("%s: no figure in %q", s.Name, out)
					return
				}
				if kb, err = strconv.ParseInt(peak[1], 10, 64); err != nil {
					t.Error(err)
				}
			}
			took := time.Since(began).Round(10 * time.Millisecond)
			if kb<<10 > bound {
				t.Errorf("%s: %d kB at its peak, more than %d", s.Name, kb, bound>>10)
			}
			if reason := regexp.MustCompile(`(?m)^permanent (.*)$`).FindStringSubmatch(out); reason != nil {
				t.Errorf("%s: ends the client for good: %s", s.Name, reason[1])
			}
			if testing.Verbose() {
				t.Logf("%s", out)
			}
			t.Logf("%-45s %4d MB, %v", s.Name, kb>>10, took)
		})
	}
	wg.Wait()
}

// besieged returns settings for a client of a scenario's broker.
func besieged(t *testing.T, s hostile.Scenario) *config.Config {
	t.Helper()
	opts := []kfake.Opt{kfake.ListenFn(s.Listen), kfake.SeedTopics(1, "t"), kfake.GroupMinSessionTimeout(time.Second)}
	switch s.Login {
	case "":
	case "GSSAPI":
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "wonderland"))
	default:
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser(s.Login, "alice", "wonderland"))
	}
	c := settings(fakeCluster(t, opts...).ListenAddrs()...)
	c.SocketTimeout, c.SessionTimeout, c.MessageTimeout = time.Second, 2*time.Second, 2*time.Second
	c.MaxPollInterval, c.HeartbeatInterval, c.MaxWaitTime = 2*time.Second, 200*time.Millisecond, 100*time.Millisecond
	c.MaxBytes, c.FetchMinBytes = 10<<20, 1
	c.GroupID = "g"
	if s.Login != "" {
		c.SecurityProtocol, c.SASLMechanism, c.SASLUsername, c.SASLPassword = "sasl_plaintext", s.Login, "alice", "wonderland"
	}
	if s.Login == "GSSAPI" {
		kt := keytab.New()
		if err := kt.AddEntry("alice", "TEST", "secret", time.Now(), 1, etypeID.AES256_CTS_HMAC_SHA1_96); err != nil {
			t.Fatal(err)
		}
		data, err := kt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		c.SASLKerberosKeytab, c.SASLKerberosPrincipal = filepath.Join(dir, "keytab"), "alice"
		write(t, c.SASLKerberosKeytab, data)
		write(t, filepath.Join(dir, "krb5.conf"), fmt.Appendf(nil, "[libdefaults]\ndefault_realm = TEST\n[realms]\nTEST = {\n kdc = %s\n}\n", s.KDC(t)))
	}
	return c
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// attacked runs a client in a separate process and returns its output.
func attacked(t *testing.T, c *config.Config) (string, error) {
	t.Helper()
	settings, err := json.Marshal((*config.WithSecrets)(c))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestHostileClient$", "-test.count", "1")
	cmd.Env = append(os.Environ(), hostileChild+"="+string(settings), "KRB5_CONFIG="+filepath.Join(filepath.Dir(c.SASLKerberosKeytab), "krb5.conf"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// TestHostileClient is the client that is attacked: it does once what workers do.
func TestHostileClient(t *testing.T) {
	text := os.Getenv(hostileChild)
	if text == "" {
		t.Skip("run by TestHostileAnswers")
	}
	c := new(config.Config)
	if err := json.Unmarshal([]byte(text), (*config.WithSecrets)(c)); err != nil {
		t.Fatal(err)
	}
	err := besiege(t.Context(), c)
	if reason, _, final := access.Permanent(err); final {
		fmt.Printf("permanent %s\n", reason)
	}
	fmt.Printf("%.2000s\n", fmt.Sprint(err))
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("peak", strings.TrimSuffix(strings.TrimSpace(regexp.MustCompile(`VmHWM:(.*)`).FindStringSubmatch(string(data))[1]), " kB"))
}

// besiege sends each kind of request and returns what went wrong.
func besiege(ctx context.Context, c *config.Config) error {
	a, err := access.New(c, nil)
	if err != nil {
		return err
	}
	conf, err := kafka.ConsumerConfig(a, kafka.ConsumerOptions{})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	client, err := kafka.NewClient(limited, conf)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the process ends
	_, err = client.EndOffsets(limited, []kafka.TopicPartition{{Topic: "t"}})
	errs := []error{err}
	offsets := kafka.NewOffsets(client, "other")
	defer offsets.Close()
	_, err = offsets.Fetch(limited, []kafka.TopicPartition{{Topic: "t"}})
	errs = append(errs, err)
	_, err = offsets.Commit(limited, kafka.NoMember, map[kafka.TopicPartition]kafka.Commit{{Topic: "t"}: {Offset: 0}})
	errs = append(errs, err)
	errs = append(errs, kafka.LeaveGroup(limited, client, []status.Member{{Group: "g", InstanceID: "gone"}}))
	if b, err := client.Coordinator("other"); err == nil {
		_, err = b.DescribeGroups(&sarama.DescribeGroupsRequest{Version: 4, Groups: []string{"other"}})
		errs = append(errs, err)
	}
	log := logrus.New()
	log.SetOutput(os.Stdout)
	p, err := producer.New(ctx, c, producer.Options{Logger: log})
	if err != nil {
		return err
	}
	produced := make(chan error, 1)
	if err := p.Send(limited, producer.Message{Topic: "t", Value: []byte("m")}, func(_ int32, _ int64, err error) { produced <- err }); err != nil {
		return err
	}
	consuming, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer stop()
	f := fetch.New(fetch.Options{Config: c, Access: a, ReadCommitted: true})
	defer f.Close()
	fetched := make(chan error, 1)
	go func() {
		fetched <- f.Read(consuming, []fetch.Range{{Topic: "t", To: 1}}, func(*racecar.Message) error { return nil })
	}()
	view := client.ForGroup()
	view.Subscribe([]string{"t"})
	group, err := sarama.NewConsumerGroupFromClient("g", view)
	if err != nil {
		return err
	}
	go func() {
		for range group.Errors() { // they are of no interest
		}
	}()
	for consuming.Err() == nil {
		err = group.Consume(consuming, []string{"t"}, &firstMessage{cancel: stop})
		if err != nil {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-consuming.Done():
			}
		}
	}
	errs = append(errs, err)
	client.Abort()
	errs = append(errs, group.Close(), p.Close(consuming), <-produced, <-fetched)
	return errors.Join(errs...)
}

type firstMessage struct{ cancel context.CancelFunc }

func (*firstMessage) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*firstMessage) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *firstMessage) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for range claim.Messages() {
		h.cancel()
	}
	return nil
}
