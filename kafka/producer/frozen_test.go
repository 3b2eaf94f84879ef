package producer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/seeds"
)

// besideAFrozenBroker returns the addresses of a cluster of two, of which the first
// takes connections and says nothing.
func besideAFrozenBroker(t *testing.T) []string {
	t.Helper()
	_, addrs, _ := muteCluster(t)
	return []string{addrs[0], strings.Replace(addrs[1], "127.0.0.1", "localhost", 1)}
}

// coordinatedBy returns a key whose coordinator is the broker at addr.
func coordinatedBy(t *testing.T, addr string, kind sarama.CoordinatorType) string {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		t.Fatal(err)
	}
	defer b.Close() //nolint:errcheck // it was only asked
	for i := range 100 {
		key := fmt.Sprintf("key-%d", i)
		resp, err := b.FindCoordinator(&sarama.FindCoordinatorRequest{Version: 3, CoordinatorKey: key, CoordinatorType: kind})
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(resp.Coordinator.Addr(), addr[strings.LastIndex(addr, ":"):]) {
			return key
		}
	}
	t.Fatal("no key is coordinated there")
	return ""
}

// A frozen broker does not delay requests that another broker can answer, with any
// socket_timeout.
func TestFrozenBrokerDoesNotBlock(t *testing.T) {
	addrs := besideAFrozenBroker(t)
	id := coordinatedBy(t, addrs[1], sarama.CoordinatorTransaction)
	group := coordinatedBy(t, addrs[1], sarama.CoordinatorGroup)
	conf := settings(addrs...)
	conf.SocketTimeout = 30 * time.Second
	with := func(ctx context.Context, t *testing.T, use func(*kafka.Client) error) error {
		a, err := access.New(conf, nil)
		if err != nil {
			return err
		}
		client, err := kafka.NewClient(ctx, kafka.NewConfig(a))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = client.Close() }) // nothing is lost
		return use(client)
	}
	for name, ask := range map[string]func(ctx context.Context, t *testing.T) error{
		"transaction": func(ctx context.Context, t *testing.T) error {
			p, err := producer.NewTxnProducer(ctx, conf, producer.TxnOptions{Logger: testLog(t), ID: id})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = p.Close(context.Background()) }) // nothing is in it
			return p.Begin(ctx)
		},
		"metadata": func(ctx context.Context, t *testing.T) error {
			return with(ctx, t, func(c *kafka.Client) error { return c.RefreshMetadata("out") })
		},
		"topic": func(ctx context.Context, t *testing.T) error {
			return with(ctx, t, func(c *kafka.Client) error {
				_, err := c.EnsureTopic("out")
				return err
			})
		},
		"leave": func(ctx context.Context, t *testing.T) error {
			return with(ctx, t, func(c *kafka.Client) error {
				return kafka.LeaveGroup(ctx, c, []status.Member{{Group: group, InstanceID: "instance"}})
			})
		},
		"offsets": func(ctx context.Context, t *testing.T) error {
			return with(ctx, t, func(c *kafka.Client) error {
				o := kafka.NewOffsets(c, group)
				defer o.Close()
				_, err := o.Commit(ctx, kafka.NoMember, map[kafka.TopicPartition]kafka.Commit{{Topic: "out"}: {Offset: 1}})
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 6 { // each in another random order
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
					defer cancel()
					began := time.Now()
					err := ask(ctx, t)
					if took := time.Since(began); err != nil || took > seeds.AtMost(8*time.Second) {
						t.Errorf("took %v: %v", took, err)
					}
				})
			}
			wg.Wait()
		})
	}
}
