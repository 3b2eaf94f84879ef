package worker

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A group that has as many members as it may have is waited for, in plain words.
func TestFullGroup(t *testing.T) {
	b := testbroker.New(t)
	c := b.Embedded()
	var full atomic.Bool
	full.Store(true)
	c.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !full.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.GroupMaxSizeReached.Code
		return resp, nil, true
	})
	var mu sync.Mutex
	var failed, joined int
	s := start(t, one(t, b.Topic(1), ignore), testConfig(b, b.Group()), func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if e, ok := e.(event.JoinGroup); ok {
				mu.Lock()
				defer mu.Unlock()
				if e.Err != nil {
					failed++
				} else {
					joined++
				}
			}
		}
	})
	s.await("the worker waiting", func() bool {
		return s.frame.State == status.Waiting && strings.HasPrefix(s.frame.Detail, "the group is full (group.max.size at the brokers)")
	})
	full.Store(false)
	s.running()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if failed == 0 || joined != 1 {
		t.Errorf("events of %d failed joins and %d others", failed, joined)
	}
}

// A topic of which a broker says that its name is invalid concerns the others not.
func TestInvalidTopicConcernsNoOther(t *testing.T) {
	b := testbroker.New(t)
	c := b.Embedded()
	topic := b.Topic(1)
	host, port, _ := strings.Cut(b.Addrs()[0], ":")
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	id := c.TopicInfo(topic).TopicID
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked := req.(*kmsg.MetadataRequest).Topics
		if !slices.ContainsFunc(asked, func(t kmsg.MetadataRequestTopic) bool { return t.Topic != nil && *t.Topic == "refused" }) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: host, Port: int32(number)}}
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Replicas, part.ISR = []int32{0}, []int32{0}
		resp.Topics = []kmsg.MetadataResponseTopic{
			{Topic: kmsg.StringPtr("refused"), ErrorCode: kerr.InvalidTopicException.Code},
			{Topic: &topic, TopicID: id, Partitions: []kmsg.MetadataResponseTopicPartition{part}},
		}
		return resp, nil, true
	})
	b.Produce(topic, 0, "a")
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "refused"}, {Topic: topic}}},
		func(racecar.Runtime) (*processor, error) {
			return &processor{process: func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }}, nil
		})
	s := start(t, reg, testConfig(b, b.Group()))
	rec.await(t, 1)
	s.stop()
}
