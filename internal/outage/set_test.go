package outage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func always(string) bool { return true }

func newTestSet(o Options) *Set[string] {
	if o.Longest == 0 {
		o.Longest = longest
	}
	if o.Random == nil {
		o.Random = func() float64 { return middle }
	}
	return NewSet[string](o)
}

// after is a time so many milliseconds after the start.
func after(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// probes returns the holders of names that may make a call.
func probes(s *Set[string], holders ...string) []string {
	return slices.DeleteFunc(holders, func(h string) bool { return !s.Probes(h) })
}

func waiting(s *Set[string], holders ...string) []string {
	return slices.DeleteFunc(holders, func(h string) bool { _, waits := s.Waits(h); return !waits })
}

// Probes rotate among what is held; the first success releases the rest within a second.
func TestProbesRotate(t *testing.T) {
	s := newTestSet(Options{})
	for _, h := range []string{"a", "b", "c"} {
		s.Report(after(0), h, "db", -1, "gone")
	}
	var order []string
	now := after(0)
	for range 5 {
		now = s.Tick(now, always)
		s.Tick(now, always)
		p := probes(s, "a", "b", "c")
		if len(p) != 1 {
			t.Fatalf("probes %v", p)
		}
		order = append(order, p[0])
		s.Began(now, p[0])
		s.Report(now, p[0], "db", -1, "gone")
	}
	if got := strings.Join(order, ""); got != "abcab" {
		t.Errorf("order of probes %s", got)
	}
	if d := now.Sub(start); d != (1+2+4+8+16)*time.Second {
		t.Errorf("the fifth probe came after %v", d)
	}
	now = s.Tick(now, always)
	s.Tick(now, always)
	if !s.Succeeded(now, "c") {
		t.Error("success did not end the outage")
	}
	if got := waiting(s, "a", "b", "c"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("then %v wait", got)
	}
	next := s.Tick(now, always)
	if d := next.Sub(now); d != ReleaseTime/2 {
		t.Errorf("the first is released after %v", d)
	}
	if next = s.Tick(next, always); next.Sub(now) != ReleaseTime {
		t.Errorf("the second is released after %v", next.Sub(now))
	}
	if s.Tick(next, always); len(waiting(s, "a", "b", "c")) > 0 {
		t.Error("not all are released")
	}
}

// Outages of two dependencies have nothing to do with each other.
func TestDependenciesAreApart(t *testing.T) {
	s := newTestSet(Options{})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(500), "b", "cache", -1, "gone")
	s.Tick(after(1000), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("probes %v", got)
	}
	s.Succeeded(after(1000), "a")
	s.Tick(after(1400), always)
	if got := waiting(s, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v wait", got)
	}
}

// A probe that fails in another way ends nothing, and the next holder has its turn.
func TestProbeFailsInAnotherWay(t *testing.T) {
	s := newTestSet(Options{})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(0), "b", "db", -1, "gone")
	s.Tick(after(1000), always)
	s.Began(after(1000), "a")
	s.Failed(after(1100), "a", "bad message")
	if got := waiting(s, "a", "b"); len(got) != 2 {
		t.Errorf("%v wait", got)
	}
	if next := s.Tick(after(1100), always); !next.Equal(after(2100)) {
		t.Errorf("the next probe is at %v", next.Sub(start))
	}
	s.Tick(after(2100), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("probes %v", got)
	}
	// A holder that now waits for something else leaves the outage, and does not end it.
	s.Report(after(2100), "b", "cache", -1, "gone")
	if got := len(waiting(s, "a", "b")); got != 2 {
		t.Errorf("%d wait", got)
	}
	if states := s.States(after(2100), always); states[0].Held != 1 || states[1].Held != 1 || states[0].Since.IsZero() {
		t.Errorf("%+v", states)
	}
}

// A holder that is forgotten gives its turn to another holder at once; the last one ends the outage.
func TestHoldersLeave(t *testing.T) {
	s := newTestSet(Options{})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(0), "b", "db", -1, "gone")
	s.Tick(after(1000), always)
	s.Forget(after(1100), "a")
	s.Tick(after(1100), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("probes %v", got)
	}
	s.Forget(after(1200), "b")
	s.Forget(after(1200), "b")
	if states := s.States(after(2100), always); !states[0].Since.IsZero() || states[0].Held != 0 {
		t.Errorf("%+v", states)
	}
	if next := s.Tick(after(1200), always); !next.IsZero() {
		t.Errorf("something is due at %v", next)
	}
}

// A holder that cannot make a call has no turn, and a probe whose call does not begin loses its.
func TestProbesThatDoNotBegin(t *testing.T) {
	s := newTestSet(Options{})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(0), "b", "db", -1, "gone")
	if next := s.Tick(after(1000), func(string) bool { return false }); !next.Equal(after(2000)) || len(probes(s, "a", "b")) > 0 {
		t.Errorf("next at %v", next)
	}
	s.Tick(after(2000), func(h string) bool { return h == "b" })
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("probes %v", got)
	}
	s.Began(after(2000), "b")
	s.Idle("b")
	s.Tick(after(6999), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("then %v", got)
	}
	s.Tick(after(7000), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after five seconds %v", got)
	}
	s.Began(after(7000), "a")
	s.Tick(after(600_000), always) // a call takes as long as it takes
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("during its call %v", got)
	}
}

// A report during the release has everything wait again.
func TestReportDuringTheRelease(t *testing.T) {
	s := newTestSet(Options{})
	for _, h := range []string{"a", "b", "c"} {
		s.Report(after(0), h, "db", -1, "gone")
	}
	s.Tick(after(1000), always)
	s.Succeeded(after(1000), "a")
	s.Tick(after(1500), always)
	if got := waiting(s, "b", "c"); !slices.Equal(got, []string{"c"}) {
		t.Fatalf("%v wait", got)
	}
	if _, report := s.Report(after(1600), "b", "db", -1, "gone"); report {
		t.Error("the outage that continues is reported as another one")
	}
	s.Tick(after(2100), always)
	if got := waiting(s, "a", "b", "c"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("%v wait", got)
	}
	s.Tick(after(2600), always)
	if got := probes(s, "b", "c"); len(got) != 1 {
		t.Errorf("probes %v", got)
	}
}

// An outage is reported at its beginning, and once a minute.
func TestReportsOfAnOutage(t *testing.T) {
	s := newTestSet(Options{})
	var reported []int
	for ms := 0; ms <= 200_000; ms += 10_000 {
		if _, report := s.Report(after(ms), "a", "db", -1, "gone"); report {
			reported = append(reported, ms/1000)
		}
	}
	if !slices.Equal(reported, []int{0, 60, 120, 180}) {
		t.Errorf("reported after %v s", reported)
	}
	s.Forget(after(200_000), "a")
	if _, report := s.Report(after(1_000_000), "a", "db", -1, "gone"); !report {
		t.Error("another outage is not reported")
	}
}

// A supervisor's leases decide who probes, and each comes back exactly once.
func TestLeases(t *testing.T) {
	s := newTestSet(Options{Shared: true})
	s.Lease(after(0), "db", 1, always) // of no use
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(0), "b", "db", time.Minute, "gone")
	if next := s.Tick(after(1000), always); !next.Equal(after(60_000)) || len(probes(s, "a", "b")) > 0 {
		t.Errorf("probes without a lease: %v", next)
	}
	s.Lease(after(3000), "db", 2, always)
	s.Lease(after(3000), "db", 3, always) // another one is out
	s.Tick(after(3000), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("probes %v", got)
	}
	s.Began(after(3000), "a")
	s.Report(after(3000), "a", "db", 5*time.Second, "gone still")
	s.Lease(after(8000), "db", 4, always)
	s.Began(after(8000), "b")
	s.Failed(after(8000), "b", "bad message")
	s.Lease(after(9000), "db", 5, always)
	s.Forget(after(9000), "a")
	s.Lease(after(9000), "db", 6, always)
	s.Succeeded(after(9000), "b")
	want := []Result{
		{"db", 1, Returned, -1, ""}, {"db", 3, Returned, -1, ""}, {"db", 2, Unavailable, 5 * time.Second, "gone still"},
		{"db", 4, Failed, -1, "bad message"}, {"db", 5, Returned, -1, ""}, {"db", 6, Available, -1, ""},
	}
	if got := s.Results(); !slices.Equal(got, want) {
		t.Errorf("results %+v", got)
	}
	if got := s.Results(); got != nil {
		t.Errorf("and again %+v", got)
	}
}

// A worker probes by itself once its supervisor has been silent for twice the longest pause.
func TestSilentSupervisor(t *testing.T) {
	s := newTestSet(Options{Shared: true})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Received(after(20_000), "db", false, 0)
	if next := s.Tick(after(60_000), always); !next.Equal(after(80_000)) || len(probes(s, "a")) > 0 {
		t.Errorf("probes by itself at %v", next)
	}
	s.Tick(after(80_000), always)
	if len(probes(s, "a")) != 1 {
		t.Error("does not probe by itself")
	}
	s.Lease(after(81_000), "db", 7, always) // it is back, and this one is of no use
	s.Succeeded(after(82_000), "a")
	want := []Result{{"db", 7, Returned, -1, ""}, {"db", 0, Available, -1, ""}}
	if got := s.Results(); !slices.Equal(got, want) {
		t.Errorf("results %+v", got)
	}
}

// The supervisor ends an outage that another worker's probe has ended.
func TestEndedElsewhere(t *testing.T) {
	s := newTestSet(Options{Shared: true})
	s.Report(after(0), "a", "db", -1, "gone")
	s.Report(after(0), "b", "db", -1, "gone")
	s.Lease(after(1000), "db", 1, always)
	s.Received(after(2000), "db", true, 0)
	s.Received(after(2000), "cache", true, 0) // never reported
	if got := s.Results(); !slices.Equal(got, []Result{{"db", 1, Returned, -1, ""}}) {
		t.Errorf("results %+v", got)
	}
	s.Tick(after(3000), always)
	if got := waiting(s, "a", "b"); len(got) > 0 {
		t.Errorf("%v wait", got)
	}
}

// With outage_scope consumer everything waits, whoever has reported the outage.
func TestOutageOfTheConsumer(t *testing.T) {
	s := newTestSet(Options{Shared: true, Wide: true})
	if s.Hold("a") {
		t.Error("held without an outage")
	}
	s.Received(after(0), "db", false, 0) // of another worker
	s.Report(after(0), "a", "cache", -1, "gone")
	if !s.Hold("b") || !s.Hold("a") {
		t.Error("not held during an outage")
	}
	if d, _ := s.Waits("b"); d != "db" {
		t.Errorf("b waits for %q", d)
	}
	s.Received(after(1000), "db", true, 0)
	s.Tick(after(2000), always)
	if d, waits := s.Waits("b"); d != "cache" || !waits {
		t.Errorf("then b waits for %q", d)
	}
	s.Received(after(3000), "cache", true, 0)
	s.Tick(after(4000), always)
	if got := waiting(s, "a", "b"); len(got) > 0 {
		t.Errorf("in the end %v wait", got)
	}
}

// With outage_scope consumer the probes are those that reported the outage, as long as there
// is one: others may not need the dependency.
func TestProbesOfAnOutageOfTheConsumer(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s := newTestSet(Options{Shared: shared, Wide: true})
		s.Report(after(0), "a", "db", -1, "gone")
		s.Hold("b")
		s.Hold("c")
		s.Report(after(0), "c", "db", -1, "gone") // its call was in hand
		var order []string
		now := after(0)
		for range 4 {
			now = now.Add(time.Minute)
			s.Received(now, "db", false, len(order))
			s.Lease(now, "db", 1, always)
			s.Tick(now, always)
			p := probes(s, "a", "b", "c")
			order = append(order, p...)
			s.Began(now, p[0])
			s.Report(now, p[0], "db", -1, "gone")
		}
		if got := strings.Join(order, ""); got != "acac" {
			t.Errorf("probes %s", got)
		}
		s.Forget(now, "a")
		s.Forget(now, "c")
		able := s.States(now, always)[0].Wants
		later := s.States(now.Add(time.Minute), always)[0].Wants
		if able != !shared || !later {
			t.Errorf("shared %v: b can be probed %v, after a minute %v", shared, able, later)
		}
	}
}

// A local outage is this worker's business: it has its own probes, no leases, and a limit.
func TestLocalOutage(t *testing.T) {
	s := newTestSet(Options{Shared: true, Wide: true})
	limit := after(60_000)
	if !s.ReportLocal(after(0), "a", "dead_letter_limit", "too many", limit) {
		t.Error("not reported")
	}
	s.ReportLocal(after(30_000), "b", "dead_letter_limit", "too many", after(90_000))
	if s.Hold("c") {
		t.Error("it holds everything")
	}
	s.Tick(after(31_000), always)
	if got := probes(s, "a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("probes %v", got)
	}
	s.Began(after(31_000), "a")
	s.ReportLocal(after(31_000), "a", "dead_letter_limit", "too many", limit)
	s.Tick(after(59_999), always)
	if got := len(s.waits); got != 2 {
		t.Errorf("%d wait", got)
	}
	s.Tick(limit, always)
	if got := waiting(s, "a"); len(got) > 0 {
		t.Error("held beyond its limit")
	}
	s.StopLocal(after(61_000), "dead_letter_limit")
	s.StopLocal(after(61_000), "dead_letter_limit")
	s.Tick(after(62_000), always)
	if got := waiting(s, "b"); len(got) > 0 || len(s.waits) > 0 {
		t.Errorf("%v wait", got)
	}
	if got := s.Results(); got != nil {
		t.Errorf("results %+v", got)
	}
}

// At most 16 names are told apart.
func TestNames(t *testing.T) {
	s := newTestSet(Options{})
	s.ReportLocal(after(0), "l", "dead_letter_limit", "too many", after(1000)) // counts for nothing
	long := strings.Repeat("é", 40)
	if d, _ := s.Report(after(0), "long", long, -1, ""); d != long[:64] {
		t.Errorf("a long name became %q", d)
	}
	if d, _ := s.Report(after(0), "odd", "a\xffb", -1, ""); d != "ab" {
		t.Errorf("a name with a byte that is no text became %q", d)
	}
	for i := range MaxNames {
		name := fmt.Sprint("d", i)
		want := name
		if i >= MaxNames-2 {
			want = ""
		}
		if d, _ := s.Report(after(0), name, name, -1, ""); d != want {
			t.Errorf("%s became %q", name, d)
		}
	}
	if d, _ := s.Report(after(0), "x", "d3", -1, ""); d != "d3" {
		t.Errorf("a known name became %q", d)
	}
}

// A pause of 0 is not a busy loop.
func TestShortestPause(t *testing.T) {
	s := newTestSet(Options{})
	s.Report(after(0), "a", "db", 0, "gone")
	if next := s.Tick(after(0), always); !next.Equal(after(100)) {
		t.Errorf("the next probe is after %v", next.Sub(start))
	}
}

// model drives a Set with random events and checks what must hold after each of them.
type model struct {
	t       *testing.T
	r       *rand.Rand
	s       *Set[string]
	now     time.Time
	away    map[string]bool // which dependencies are unavailable
	needs   map[string]string
	waits   map[string]bool
	able    map[string]bool
	leases  map[uint64]int // results of each
	lease   uint64
	holders []string
}

func (m *model) check() {
	m.t.Helper()
	changed := m.s.Changed()
	byName := map[string]int{}
	for _, h := range m.holders {
		_, waits := m.s.Waits(h)
		if waits != m.waits[h] && !slices.Contains(changed, h) {
			m.t.Fatalf("%s waits: %v, and this was not said", h, waits)
		}
		m.waits[h] = waits
		if m.s.Probes(h) {
			byName[m.s.waits[h].one.name]++
		}
	}
	for name, n := range byName {
		if n > 1 {
			m.t.Fatalf("%d probes of %q", n, name)
		}
	}
	for h, w := range m.s.waits {
		active, held := w.one.pauses.Active(), slices.Contains(w.one.queue, h)
		if active != held || held != w.release.IsZero() || w.release.After(m.now.Add(ReleaseTime)) {
			m.t.Fatalf("%s: active %v, in the queue %v, released at %v of %v", h, active, held, w.release, m.now)
		}
	}
	for _, r := range m.s.Results() {
		if r.Lease != 0 {
			m.leases[r.Lease]++
		}
	}
}

// call is a call of h, if it may make one.
func (m *model) call(h string) {
	if _, waits := m.s.Waits(h); waits {
		return
	}
	m.s.Began(m.now, h)
	switch need := m.needs[h]; {
	case m.away[need]:
		m.s.Report(m.now, h, need, time.Duration(m.r.IntN(3)-1)*time.Second, "gone")
		for _, other := range m.holders {
			m.s.Hold(other)
		}
	case m.r.IntN(5) == 0:
		m.s.Failed(m.now, h, "bad message")
	default:
		m.s.Succeeded(m.now, h)
	}
}

func (m *model) step() {
	h := m.holders[m.r.IntN(len(m.holders))]
	name := []string{"", "db", "cache"}[m.r.IntN(3)]
	switch m.r.IntN(12) {
	case 0:
		m.away[name] = !m.away[name]
	case 1:
		m.needs[h] = name
	case 2:
		m.s.Forget(m.now, h)
	case 3:
		m.able[h] = !m.able[h]
	case 4:
		if m.s.o.Shared {
			m.s.Received(m.now, name, m.r.IntN(3) == 0, m.r.IntN(2))
		}
	case 5:
		if m.s.o.Shared {
			m.lease++
			m.s.Lease(m.now, name, m.lease, func(h string) bool { return m.able[h] })
		}
	case 6:
		m.s.Began(m.now, h)
		m.s.Idle(h)
	case 7, 8:
		m.now = m.now.Add(time.Duration(m.r.IntN(20_000)) * time.Millisecond)
		m.s.Tick(m.now, func(h string) bool { return m.able[h] })
	default:
		m.call(h)
	}
	m.check()
}

// finish lets everything be available: then nothing waits for long.
func (m *model) finish() {
	clear(m.away)
	limit := m.now.Add(5 * time.Minute)
	for {
		next := m.s.Tick(m.now, always)
		m.check()
		for _, h := range m.holders {
			if m.s.Probes(h) {
				m.s.Began(m.now, h)
				m.s.Succeeded(m.now, h)
				next = m.now
			}
		}
		m.check()
		if next.IsZero() {
			break
		}
		if m.now = next; m.now.After(limit) {
			m.t.Fatalf("%d wait although everything is available", len(m.s.waits))
		}
	}
	if len(m.s.waits) > 0 {
		m.t.Fatalf("%d wait for nothing", len(m.s.waits))
	}
	for lease := range m.lease {
		if m.leases[lease+1] != 1 {
			m.t.Fatalf("lease %d has %d results", lease+1, m.leases[lease+1])
		}
	}
}

func TestSetAgainstItsModel(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
		m := &model{
			t: t, r: r, now: start, away: map[string]bool{}, needs: map[string]string{}, waits: map[string]bool{}, able: map[string]bool{}, leases: map[uint64]int{},
			holders: []string{"a", "b", "c", "d", "e"},
			s:       newTestSet(Options{Shared: seed%2 == 0, Wide: seed%4 > 1, Random: r.Float64}),
		}
		for _, h := range m.holders {
			m.able[h] = true
		}
		for range 300 {
			m.step()
		}
		m.finish()
	}
}
