package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A broker that goes away in the middle, so that not even the topics can be
// looked up, is waited for: the worker goes on by itself when it is back.
func TestOutageInTheMiddleIsWaitedFor(t *testing.T) {
	b := testbroker.New(t)
	c := b.Embedded()
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	rec := newRecorder()
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }), testConfig(b, group))
	s.running()
	rec.await(t, 5)

	var away atomic.Bool
	away.Store(true)
	for _, key := range []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup, kmsg.Metadata} {
		c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			if !away.Load() {
				return nil, nil, false
			}
			c.KeepControl()
			return nil, errors.New("the broker is away"), true // hangs up
		})
	}
	s.await("the worker waiting", func() bool { return s.frame.State == status.Waiting })
	away.Store(false)
	s.running()
	b.Produce(topic, 0, values(5)...)
	rec.await(t, 10)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantUpTo(t, rec.offsets(topicPartition{topic, 0}), 10)
}
