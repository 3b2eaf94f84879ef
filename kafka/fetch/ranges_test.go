package fetch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

func readOffsets(t *testing.T, f *fetch.Fetcher, ranges ...fetch.Range) (offsets []int64, err error) {
	t.Helper()
	err = f.Read(t.Context(), ranges, func(m *racecar.Message) error {
		offsets = append(offsets, m.Offset)
		return nil
	})
	return offsets, err
}

func TestReadRange(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(3)
	produce(t, b, topic, 3, 500, 100)
	f := newFetcher(t, b.Addrs(), nil)
	for _, r := range []fetch.Range{{topic, 0, 0, 500}, {topic, 1, 0, 500}, {topic, 0, 130, 400}, {topic, 0, 499, 500}, {topic, 0, 7, 7}} {
		if got, err := readOffsets(t, f, r); err != nil || !slices.Equal(got, span(r.From, r.To)) {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	got, err := readOffsets(t, f, fetch.Range{topic, 2, 5, 5}, fetch.Range{topic, 1, 0, 200}, fetch.Range{topic, 0, 0, 500}, fetch.Range{topic, 2, 0, 10})
	if want := slices.Concat(span(0, 200), span(0, 500), span(0, 10)); err != nil || !slices.Equal(got, want) {
		t.Errorf("several ranges: %v, %v", got, err)
	}
	got, err = readOffsets(t, f, fetch.Range{Topic: topic, From: 490, To: 510})
	if want := topic + "/0: read up to offset 500 of 510 only: the broker sends no more, or a transaction is still open there; retry later"; err == nil || err.Error() != want || len(got) != 10 {
		t.Errorf("%d messages, %v", len(got), err)
	}
	enough := errors.New("enough")
	if err := f.Read(t.Context(), []fetch.Range{{Topic: topic, To: 500}}, func(*racecar.Message) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}

// A range ends with markers and aborted messages as well, which nobody sees.
func TestReadCommittedMessages(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}, &kgo.Record{Topic: topic, Value: []byte("w")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readOffsets(t, newFetcher(t, b.Addrs(), nil), fetch.Range{Topic: topic, To: 12}); err != nil || !slices.Equal(got, []int64{0, 1, 6, 7}) {
		t.Errorf("%v, %v", got, err)
	}
}

// Read stops at a batch that cannot be decoded, after it has delivered everything before.
func TestReadReportsCorruptBatches(t *testing.T) {
	b := testbroker.New(t)
	if b.Real() {
		t.Skip("Apache Kafka refuses such a batch")
	}
	topic := b.Topic(1)
	b.Produce(topic, 0, "before")
	b.ProduceRaw(topic, 0, testbroker.RawBatch{Count: 3, Records: testbroker.RawRecord(0, []byte("x"), 0)})
	b.Produce(topic, 0, "behind")
	got, err := readOffsets(t, newFetcher(t, b.Addrs(), nil), fetch.Range{Topic: topic, To: 5})
	corrupt, ok := errors.AsType[*fetch.CorruptError](err)
	if !ok || corrupt.First != 1 || corrupt.Next != 4 || !slices.Equal(got, []int64{0}) {
		t.Errorf("%v, %v", got, err)
	}
}

// deleteRecords deletes what is before offset in partition 0, as retention does.
func deleteRecords(t *testing.T, b *testbroker.Broker, topic string, offset int64) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(b.Addrs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.DeleteRecords(topic, map[int32]int64{0: offset}); err != nil {
		t.Fatal(err)
	}
}

func TestReadReportsDeletedMessages(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 10)
	deleteRecords(t, b, topic, 5)
	got, err := readOffsets(t, newFetcher(t, b.Addrs(), nil), fetch.Range{Topic: topic, To: 10})
	if want := topic + "/0: offset 0 is not there any more (log start moved): the next one is 5"; err == nil || err.Error() != want || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReadReportsMissingTopic(t *testing.T) {
	b := testbroker.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	f := newFetcher(t, b.Addrs(), nil)
	err := f.Follow(ctx, []fetch.Range{{b.Group(), 0, 0, fetch.NoOffset}}, nil, func(err error) {
		if !strings.Contains(err.Error(), "UNKNOWN_TOPIC_OR_PARTITION") {
			t.Errorf("%v", err)
		}
		cancel(stopped)
	})
	if err != nil {
		t.Error(err)
	}
	if err := f.Read(ctx, []fetch.Range{{Topic: b.Group(), To: 1}}, nil); !errors.Is(err, stopped) {
		t.Errorf("%v", err)
	}
}

func TestFollow(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	produce(t, b, topic, 2, 3, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	offsets := map[int32][]int64{}
	n := 0
	err := newFetcher(t, b.Addrs(), nil).Follow(ctx, []fetch.Range{{topic, 0, 1, fetch.NoOffset}, {topic, 1, 3, fetch.NoOffset}}, func(m *racecar.Message) error {
		offsets[m.Partition] = append(offsets[m.Partition], m.Offset)
		switch n++; n {
		case 2:
			produce(t, b, topic, 2, 2, 1)
		case 6:
			cancel()
		}
		return nil
	}, func(err error) { t.Logf("reported: %v", err) })
	if err != nil || !slices.Equal(offsets[0], span(1, 5)) || !slices.Equal(offsets[1], span(3, 5)) {
		t.Errorf("%v, %v", offsets, err)
	}
}
