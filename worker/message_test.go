package worker

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// Consumer code may append to the bytes of a message: the other messages of the fetch,
// which follow it in memory, stay as they are.
func TestAppendingToAMessageChangesNoOther(t *testing.T) {
	const messages = 20
	for _, shape := range []string{"Process", "ProcessBatch"} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			from, group := b.Topic(1), b.Group()
			text := func(what string, i int) string { return fmt.Sprintf("%s-%04d-abcdefghijklmnop", what, i) }
			cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			var rs []*kgo.Record
			for i := range messages {
				rs = append(rs, &kgo.Record{
					Topic: from, Key: []byte(text("key", i)), Value: []byte(text("value", i)),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(text("header", i))}},
				})
			}
			if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			got, rec := map[int64]string{}, newRecorder()
			process := func(_ context.Context, m *racecar.Message) error {
				mu.Lock()
				got[m.Offset] = string(m.Key) + string(m.Value) + string(m.Headers[0].Value)
				mu.Unlock()
				for _, bytes := range [][]byte{m.Key, m.Value, m.Headers[0].Value} {
					_ = append(bytes, " # appended by the consumer, longer than any record of this topic is, so that it reaches the next one"...)
				}
				rec.add(m)
				return nil
			}
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) { return &processor{process: process}, nil })
			if shape == "ProcessBatch" {
				reg = batchRegistration(t, spec, func(ctx context.Context, ms []*racecar.Message) error {
					for _, m := range ms {
						_ = process(ctx, m) // it always returns nil
					}
					return nil
				})
			}
			s := start(t, reg, testConfig(b, group))
			rec.await(t, messages)
			s.stop()
			for i := range messages {
				if want := text("key", i) + text("value", i) + text("header", i); got[int64(i)] != want {
					t.Errorf("message %d is %q, produced was %q", i, got[int64(i)], want)
				}
			}
		})
	}
}
