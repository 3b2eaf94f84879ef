package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// assigned is one of version 0.
func assigned(partitions map[string][]int32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(partitions)))
	for topic, all := range partitions {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(topic))), topic...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
		for _, p := range all {
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		}
	}
	return binary.BigEndian.AppendUint32(b, 0)
}

// usurper is the only member of a group, and leads it until stop: it assigns given to
// whoever joins. gave is closed once it has.
func usurper(t *testing.T, b *testbroker.Broker, group, topic string, given []byte) (gave chan struct{}, stop func()) {
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
	leads, done := make(chan struct{}), make(chan struct{})
	gave = make(chan struct{})
	join := &sarama.JoinGroupRequest{Version: 5, GroupId: group, ProtocolType: "consumer", SessionTimeout: 10_000, RebalanceTimeout: 30_000}
	join.OrderedGroupProtocols = []*sarama.GroupProtocol{{Name: "range", Metadata: subscription("", topic)}}
	go func() {
		defer close(done)
		var first, others sync.Once
		for ctx.Err() == nil {
			joined, err := coordinator.JoinGroup(join)
			if err != nil {
				return
			}
			join.MemberId = joined.MemberId
			if joined.Err != sarama.ErrNoError {
				continue
			}
			request := &sarama.SyncGroupRequest{Version: 3, GroupId: group, GenerationId: joined.GenerationId, MemberId: joined.MemberId}
			for _, m := range joined.Members {
				if m.MemberId != joined.MemberId {
					request.GroupAssignments = append(request.GroupAssignments, sarama.SyncGroupRequestAssignment{MemberId: m.MemberId, Assignment: given})
				}
			}
			if _, err := coordinator.SyncGroup(request); err != nil {
				return
			}
			first.Do(func() { close(leads) })
			if len(request.GroupAssignments) > 0 {
				others.Do(func() { close(gave) })
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
		_, _ = coordinator.LeaveGroup(&sarama.LeaveGroupRequest{GroupId: group, MemberId: join.MemberId}) // else its session ends
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		_ = client.Close()
	})
	t.Cleanup(stop)
	select {
	case <-leads:
	case <-done:
		t.Fatal("it did not join")
	}
	return gave, stop
}

// Whatever another member that leads the group assigns, the worker goes on once that
// member is gone, and beside it with what can be consumed.
func TestInvalidAssignments(t *testing.T) {
	many := make([]int32, 20_000)
	for i := range many {
		many[i] = int32(i)
	}
	for name, tt := range map[string]struct {
		given  func(own, other string) []byte
		beside bool // both partitions are consumed while it leads
	}{
		"a partition twice":              {func(own, _ string) []byte { return assigned(map[string][]int32{own: {1, 0, 0, 1}}) }, true},
		"a topic without a subscription": {func(own, other string) []byte { return assigned(map[string][]int32{other: {0}, own: {0, 1}}) }, true},
		"many that are not there":        {func(own, _ string) []byte { return assigned(map[string][]int32{own: many}) }, true},
		"no topic's name":                {func(_, _ string) []byte { return assigned(map[string][]int32{"x/y": {0}, "": {0}}) }, false},
		"partitions that are not there":  {func(own, _ string) []byte { return assigned(map[string][]int32{own: {-1, 7, 1<<31 - 1}}) }, false},
		"a list of two billion":          {func(_, _ string) []byte { return []byte{0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, other, group := b.Topic(2), b.Topic(1), b.Group()
			b.Produce(other, 0, "theirs")
			called := make(chan string, 10)
			gave, stop := usurper(t, b, group, topic, tt.given(topic, other))
			// A pattern: all topics of the cluster are known to the client then.
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{TopicPattern: regexp.QuoteMeta(topic)}}},
				func(racecar.Runtime) (*processor, error) {
					return &processor{process: func(_ context.Context, m *racecar.Message) error {
						called <- fmt.Sprintf("%s/%d", m.Topic, m.Partition)
						return nil
					}}, nil
				})
			logs := &test.Hook{}
			s := start(t, reg, testConfig(b, group), func(o *Options) { o.Log.AddHook(logs) })
			wait := func(what string, c <-chan struct{}) {
				t.Helper()
				select {
				case <-c:
				case <-time.After(patient):
					t.Fatal(what)
				}
			}
			consumes := func(when string) {
				t.Helper()
				waitUpTo(t, 3*time.Minute, "both partitions "+when, func() bool { return len(s.status().Partitions) == 2 })
				want := map[string]bool{topic + "/0": true, topic + "/1": true}
				b.Produce(topic, 0, "a")
				b.Produce(topic, 1, "a")
				for len(want) > 0 {
					select {
					case at := <-called:
						if !want[at] {
							t.Fatalf("%s %s is consumed", when, at)
						}
						delete(want, at)
					case <-time.After(patient):
						t.Fatalf("%s nothing comes of %v", when, want)
					}
				}
			}
			wait("nothing was assigned", gave)
			if tt.beside {
				consumes("beside it")
			}
			stop()
			consumes("afterwards")
			for _, e := range logs.AllEntries() {
				if n := len(fmt.Sprint(e.Data)); n > 64<<10 {
					t.Errorf("%q has %d bytes of fields", e.Message, n)
				}
			}
		})
	}
}
