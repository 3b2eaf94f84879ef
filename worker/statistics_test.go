package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// withStatistics passes on the statistics it receives.
type withStatistics struct {
	processor
	report func(racecar.Statistics)
}

func (w *withStatistics) OnStatistics(_ context.Context, s racecar.Statistics) { w.report(s) }

// TestStatisticsInterval: OnStatistics is called so often, and never at 0.
func TestStatisticsInterval(t *testing.T) {
	for interval, want := range map[time.Duration]int{0: 0, time.Second: 10, 5 * time.Second: 2} {
		synctest.Test(t, func(t *testing.T) {
			cfg := config.Default()
			cfg.StatisticsInterval = interval
			w := &worker{cfg: cfg, scheduler: newScheduler(1, false, newLimits(&cfg)), base: time.Now(), stats: &scoreboard.Counters{}}
			calls := 0
			p := supplied(w.scheduler, topicPartition{"a", 0}, 0)
			p.inst = w.bareInstance(nil)
			p.inst.value = &withStatistics{report: func(racecar.Statistics) { calls++ }}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+500*time.Millisecond)
			defer cancel()
			w.statistics(ctx)
			if calls != want {
				t.Errorf("every %v: %d calls in 10 s, want %d", interval, calls, want)
			}
		})
	}
}

// The figures are those of what went on.
func TestStatistics(t *testing.T) {
	b := testbroker.New(t)
	from, to, group := b.Topic(2), b.Topic(1), b.Group()
	large := values(30)
	for i := range large {
		large[i] += strings.Repeat(" ", 4096)
	}
	b.Produce(from, 0, large...)
	b.Produce(from, 1, values(10)...)
	figures := make(chan racecar.Statistics, 1000)
	spec := racecar.Spec{Name: t.Name(), Subscriptions: []racecar.Subscription{{Topic: from}}}
	reg, err := racecar.NewRegistration(func(rt racecar.Runtime) (*withStatistics, error) {
		c := &withStatistics{report: func(s racecar.Statistics) { figures <- s }}
		c.process = func(ctx context.Context, m *racecar.Message) error {
			if m.Partition == 1 && m.Offset == 4 {
				return errors.New("stands still")
			}
			return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: m.Value})
		}
		return c, nil
	}, spec)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(b, group)
	cfg.StatisticsInterval = 50 * time.Millisecond
	cfg.PauseTimeout = -1
	s := start(t, reg, cfg, func(o *Options) { o.Lookup = func(string) *racecar.Registration { return reg } })
	deadline := time.After(patient)
	var got racecar.Statistics
	settled := func() bool {
		return got.Messages == 34 && got.Producer.Acknowledged == 34 && len(got.Partitions) == 2 && got.Partitions[1].Committed == 4 && got.Partitions[0].Committed == 30
	}
	rate := 0.0
	for !settled() {
		select {
		case got = <-figures:
			rate = max(rate, got.Rate)
		case <-deadline:
			t.Fatalf("not settled: %+v", got)
		}
	}
	s.stop()
	if got.Errors != 1 || got.Producer.Messages != 34 || got.Producer.InFlight != 0 || got.Producer.Errors != 0 || rate <= 0 || got.Age <= 0 {
		t.Errorf("%+v, highest rate %v", got, rate)
	}
	for i, want := range []racecar.PartitionStatistics{
		{Topic: from, Partition: 0, Position: 30, Committed: 30, End: 30, Messages: 30, State: "running"},
		{Topic: from, Partition: 1, Position: 4, Committed: 4, End: 10, Lag: 6, Messages: 4, Errors: 1, State: "paused"},
	} {
		p := got.Partitions[i]
		p.Rate, p.Queued, p.Bytes = 0, 0, 0 // as it came
		if p != want {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	if len(got.Brokers) == 0 {
		t.Fatal("no brokers")
	}
	var total racecar.BrokerStatistics
	for _, b := range got.Brokers {
		total.Requests += b.Requests
		total.Responses += b.Responses
		total.BytesSent += b.BytesSent
		total.BytesReceived += b.BytesReceived
		total.InFlight += b.InFlight
	}
	if total.Responses == 0 || total.Requests < total.Responses || total.BytesSent == 0 || total.BytesReceived < 30*4096 || total.InFlight < 0 || total.InFlight > 10 {
		t.Errorf("brokers %+v", got.Brokers)
	}
}
