package worker

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// The supervisor cancels one call by its name: no other one, and not those that come
// after it, though the one that was meant heeds no ctx.
func TestCancellingOneCall(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(2), b.Group()
	b.Produce(from, 0, values(5)...)
	b.Produce(from, 1, values(1)...)
	rec := newRecorder()
	cancelled, release := make(chan struct{}, 10), make(chan struct{})
	var disturbed atomic.Int32
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			switch {
			case m.Partition == 0 && m.Offset == 1:
				<-ctx.Done()
				cancelled <- struct{}{}
				<-release
			case m.Partition == 1:
				<-release
			}
			if ctx.Err() != nil && !(m.Partition == 0 && m.Offset == 1) {
				disturbed.Add(1)
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.Concurrency = 2
	s := start(t, reg, cfg)
	rec.await(t, 3) // 0 and 1 of partition 0, and that of partition 1
	for _, call := range []wire.Call{
		{Consumer: reg.Name(), Topic: from, Partition: 0, FirstOffset: 0}, // which has ended
		{Consumer: reg.Name(), Topic: from, Partition: 0, FirstOffset: 1},
	} {
		s.command(wire.Command{Kind: wire.CommandCancel, Call: &call, Reason: "it takes too long"})
		if n := len(cancelled); call.FirstOffset == 0 && n > 0 {
			t.Error("another call of the partition was cancelled")
		}
	}
	<-cancelled
	close(release)
	rec.await(t, 6)
	s.stop()
	wantUpTo(t, rec.offsets(topicPartition{from, 0}), 5)
	if n := disturbed.Load(); n > 0 {
		t.Errorf("%d other calls have a cancelled ctx", n)
	}
}
