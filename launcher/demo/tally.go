package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

const (
	// keptAlerts is how many of the last alerts are shown.
	keptAlerts = 5
	// keptFresh bounds the alerts that nobody takes.
	keptFresh = 1000
	// keptSeen is for how many quakes at least it is known that they were seen.
	keptSeen = 10_000
)

// tally reads the assessments that the workers produced and counts each quake
// once: one that a killed worker had in hand may be assessed again.
type tally struct {
	changed chan struct{} // a token when the counts are not what they were
	failed  chan error    // takes the error that ends the reading

	cancel  context.CancelFunc // ends the reading
	stopped chan struct{}

	mu       sync.Mutex // guards what follows
	assessed int
	again    int
	// Which quakes were assessed: seen, and the older ones. What is assessed
	// again follows soon, so that those before can be forgotten.
	seen, older map[string]bool
	byWorker    map[int]int
	byRegion    map[string]int
	byLevel     map[quakes.Level]int
	alerts      []quakes.Assessment // the last ones, the newest first
	fresh       []quakes.Assessment // alerts that nobody has taken yet
}

// startTally begins to read.
func (s *stage) startTally() (*tally, error) {
	c := config.Default()
	c.Brokers = s.broker.Addrs()
	way, err := access.New(&c, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", quakes.Output, err)
	}
	t := newTally()
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	go t.read(ctx, fetch.New(fetch.Options{Config: &c, Access: way}))
	return t, nil
}

func newTally() *tally {
	return &tally{
		changed: make(chan struct{}, 1), failed: make(chan error, 1), stopped: make(chan struct{}),
		seen: map[string]bool{}, byWorker: map[int]int{}, byRegion: map[string]int{}, byLevel: map[quakes.Level]int{},
	}
}

func (t *tally) read(ctx context.Context, f *fetch.Fetcher) {
	defer close(t.stopped)
	defer f.Close()
	err := f.Follow(ctx, []fetch.Range{{Topic: quakes.Output, To: fetch.NoOffset}}, func(m *racecar.Message) error { return t.add(m.Value) }, t.fail)
	if err != nil {
		t.fail(err)
	}
}

// fail tells the first error; those that follow come of it.
func (t *tally) fail(err error) {
	select {
	case t.failed <- fmt.Errorf("read %s: %w", quakes.Output, err):
	default:
	}
}

// add counts one assessment.
func (t *tally) add(value []byte) error {
	var a quakes.Assessment
	if err := json.Unmarshal(value, &a); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[a.ID] || t.older[a.ID] {
		t.again++
	} else {
		t.count(a)
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
	return nil
}

// count counts a quake that is new; t.mu is held.
func (t *tally) count(a quakes.Assessment) {
	if len(t.seen) == keptSeen {
		t.older, t.seen = t.seen, map[string]bool{}
	}
	t.seen[a.ID] = true
	t.assessed++
	t.byWorker[a.Worker]++
	t.byRegion[a.Region]++
	t.byLevel[a.Level]++
	if a.Level.Alert() {
		t.alerts = slices.Insert(t.alerts, 0, a)
		t.alerts = t.alerts[:min(len(t.alerts), keptAlerts)]
		t.fresh = append(t.fresh, a)
		t.fresh = t.fresh[max(0, len(t.fresh)-keptFresh):]
	}
}

// counts returns how many quakes were assessed, and how many of them again.
func (t *tally) counts() (assessed, again int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.assessed, t.again
}

// lastAlerts returns the last alerts, the newest first.
func (t *tally) lastAlerts() []quakes.Assessment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.alerts)
}

// takeFresh returns the alerts since it was last called.
func (t *tally) takeFresh() []quakes.Assessment {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := t.fresh
	t.fresh = nil
	return fresh
}

// share is a part of the whole.
type share struct {
	name string
	n    int
}

// regions returns the n regions with the most quakes, and the rest as one.
func (t *tally) regions(n int) []share {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []share
	for _, name := range slices.Sorted(maps.Keys(t.byRegion)) {
		all = append(all, share{name, t.byRegion[name]})
	}
	slices.SortStableFunc(all, func(a, b share) int { return b.n - a.n })
	if len(all) <= n {
		return all
	}
	rest := share{name: fmt.Sprintf("%d others", len(all)-n)}
	for _, s := range all[n:] {
		rest.n += s.n
	}
	return append(all[:n], rest)
}

// workers returns each worker's share.
func (t *tally) workers() []share {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []share
	for _, i := range slices.Sorted(maps.Keys(t.byWorker)) {
		all = append(all, share{fmt.Sprintf("%s[%d]", consumer, i), t.byWorker[i]})
	}
	return all
}

// levels returns the share of each level, the loudest first.
func (t *tally) levels() []share {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []share
	for _, l := range []quakes.Level{quakes.Strong, quakes.Moderate, quakes.Felt, quakes.Quiet, quakes.Noise} {
		all = append(all, share{string(l), t.byLevel[l]})
	}
	return all
}

// until waits until n assessments were read.
func (t *tally) until(n int) error {
	limit := time.NewTimer(stuck)
	defer limit.Stop()
	for {
		assessed, again := t.counts()
		if assessed+again >= n {
			return nil
		}
		select {
		case <-t.changed:
		case err := <-t.failed:
			return err
		case <-limit.C:
			return fmt.Errorf("read %s: %d of %d assessments in %v", quakes.Output, assessed+again, n, stuck)
		}
	}
}

// stop ends the reading. The counts stay.
func (t *tally) stop() {
	t.cancel()
	<-t.stopped
}
