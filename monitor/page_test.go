package monitor

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// stage is a supervisor whose workers make progress with time.
type stage struct {
	mu      sync.Mutex
	workers int
	each    int // partitions of a worker
	calm    bool
	twin    bool // a second consumer reads the same topic
	begun   time.Time
	ago     time.Duration // the scene of so long ago is played
	asked   []string
	gone    error
}

func newStage(workers, each int) *stage {
	return &stage{workers: workers, each: each, begun: time.Now().Add(-10 * time.Minute)}
}

func (s *stage) note(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, strings.TrimSpace(fmt.Sprintf(format, args...)))
	return nil
}

func (s *stage) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *stage) Status(context.Context) (status.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return status.Status{}, s.gone
	}
	t := (time.Since(s.begun) - s.ago).Seconds()
	up, wup := s.begun.Add(-3*time.Hour), s.begun.Add(-59*time.Minute)
	times := status.Histogram{Bounds: []float64{0.001, 0.01}, Counts: []uint64{800, 200, 10}, Sum: 2.3}
	totals := map[string]uint64{"messages": uint64(1e6 + t*3100), "errors": 37, "dead_letters": 2, "skipped": 1}
	st := status.Status{
		Version: 1, PID: 4211, State: status.Running, StartedAt: up, RSS: 11 << 20, Totals: totals,
		RestartsBy: map[string]uint64{"crash": 3, "memory": 1},
		Consumers:  []status.Consumer{{Name: "UserBanConsumer", Group: "user-ban-consumer", Workers: s.workers, State: status.Running, Totals: totals, Times: times}},
	}
	for i := range s.workers {
		w := status.Worker{
			Consumer: "UserBanConsumer", Index: i, PID: 4300 + i, State: status.Running, Since: wup, StartedAt: &wup, Group: "user-ban-consumer", Live: true,
			Processed: uint64(t * 400), Members: []status.Member{{Group: "user-ban-consumer", InstanceID: fmt.Sprintf("racecar-x7f3-UserBanConsumer-%d", i)}},
			Report: &status.Report{At: time.Now(), RSS: int64(41+i%7) << 20, CPU: t / 9, Live: true},
		}
		for p := range s.each {
			n := i*s.each + p
			lag := int64(400 + 300*math.Sin(t/30+float64(n)))
			w.Report.Partitions = append(w.Report.Partitions, status.Partition{
				Topic: "user-bans", Partition: int32(n), State: status.PartitionRunning, Position: int64(t * 100), Committed: int64(t * 90),
				End: int64(t*100) + lag, Lag: lag, LagSeconds: float64(lag) / 100, Rate: 150 + 50*math.Sin(t/7+float64(n)), Processed: uint64(t * 90),
			})
		}
		st.Workers = append(st.Workers, w)
	}
	if !s.calm {
		s.problems(&st)
	}
	if s.twin { // reads the same topic, in a group of its own
		twin := st.Consumers[0]
		twin.Name, twin.Group = "AuditConsumer", "audit-consumer"
		st.Consumers = append(st.Consumers, twin)
		for _, w := range slices.Clone(st.Workers) {
			r := *w.Report
			r.Partitions = slices.Clone(r.Partitions)
			for i := range r.Partitions {
				r.Partitions[i].Lag = 7
			}
			w.Consumer, w.Group, w.PID, w.Report = twin.Name, twin.Group, w.PID+100, &r
			st.Workers = append(st.Workers, w)
		}
	}
	return st, nil
}

// problems is a status with one problem of each kind.
func (s *stage) problems(st *status.Status) {
	until := time.Now().Add(8500 * time.Millisecond)
	p := st.Workers[0].Report.Partitions
	p[0].State, p[0].Until, p[0].Retries, p[0].LastError, p[0].Rate, p[0].Errors = status.PartitionBackoff, &until, 3, "dial tcp 10.0.0.7:5432: connect: connection refused", 0, 3
	p[1].State, p[1].Reason, p[1].Rate = status.PartitionPoisoned, "the message at offset 1700 killed 3 processes: out of memory", 0
	p[2].State, p[2].Reason, p[2].Rate = status.PartitionPaused, "paused by an operator", 0
	p[3].Stalled, p[3].Rate = true, 0
	if len(st.Workers) > 2 { // a test scales them down
		s.byKey(st.Workers[2].Report)
	}
	st.LogProblem = "the log is not being read since 12:03:04"
	st.Workers[0].Report.Problems = []status.Problem{{At: s.begun, Topic: "user-bans", Partition: 0, Offset: 17, Error: "dial tcp 10.0.0.7:5432: connect: <b>connection</b> refused"}}
	c := &st.Consumers[0]
	c.Outages = []status.Outage{{Dependency: "billing", Since: time.Now().Add(-90 * time.Minute), Held: 3, Probes: 5, Pause: 30, Prober: "UserBanConsumer[0]", Error: "503 <b>Service</b> Unavailable"}}
	c.OutageSeconds = map[string]float64{"billing": 5400}
	st.Workers[0].Outages = []string{"billing"}
	w := &st.Workers[1]
	w.State, w.PID, w.Live, w.Report, w.Restarts = status.Backoff, 0, false, nil, 4
	w.LastExit = "exit status 2: panic: assignment to entry in nil map"
	w.LastStderr = "panic: assignment to entry in nil map\n\ngoroutine 51 [running]:\nmain.(*UserBanConsumer).Process(...)\n\t/app/consumers/user_ban.go:42 +0x1bd\n"
	w.Detail = "starts again in 4 s"
}

// byKey is a worker that processes by key, with keys that wait and a full window.
func (s *stage) byKey(r *status.Report) {
	r.Ordering, r.InHand, r.Concurrency = "key", 37, 50
	until := time.Now().Add(8500 * time.Millisecond)
	order := status.WaitingKey{Key: "order <17>", Offset: 1700, Attempts: 4, Since: time.Now().Add(-12*time.Minute - 30*time.Second), Until: &until}
	poisoned := status.WaitingKey{Key: "0x00ff", Offset: 1803, Attempts: 1, Since: time.Now().Add(-41 * time.Second)}
	r.Partitions[0].Beyond, r.Partitions[0].InHand = 812, 20
	r.Partitions[0].WaitingKeys, r.Partitions[0].OldestWaiting = 12, []status.WaitingKey{order, poisoned}
	r.Partitions[1].WaitingKeys, r.Partitions[1].OldestWaiting, r.Partitions[1].WindowFull = 1, []status.WaitingKey{order}, &order
	r.Partitions[1].LastError, r.Partitions[1].Beyond = "503 Service Unavailable", 24000
}

func (*stage) Settings(context.Context, string) (ctl.Settings, error) { return ctl.Settings{}, nil }

func (s *stage) Config(context.Context) ([]ctl.ConsumerConfig, error) {
	return []ctl.ConsumerConfig{{Consumer: "UserBanConsumer", Keys: []config.Setting{
		{Key: "brokers", Written: `["k1:9092", "k2:9092"]`, Source: "RACECAR_BROKERS"}, {Key: "client_id", Written: `"racecar"`, Source: "default"},
		{Key: "sasl_password", Written: `"[hidden]"`, Source: "config/racecar.yml:12"},
	}}}, nil
}

func (s *stage) Stop(context.Context, ctl.StopOptions, func(ctl.Progress)) error {
	return s.note("stop")
}

func (s *stage) Restart(_ context.Context, o ctl.RestartOptions, progress func(ctl.Progress)) error {
	progress(ctl.Progress{Worker: "UserBanConsumer[0]", Message: "restarted"})
	return s.note("restart %s", o.Consumer)
}

func (s *stage) Scale(_ context.Context, consumer string, n int, _ func(ctl.Progress)) error {
	s.mu.Lock()
	s.workers = n
	s.mu.Unlock()
	return s.note("scale %s %d", consumer, n)
}

func (s *stage) Pause(_ context.Context, consumer, topic string, p int32) error {
	return s.note("pause %s %s/%d", consumer, topic, p)
}

func (s *stage) Resume(_ context.Context, consumer, topic string, p int32) error {
	return s.note("resume %s %s/%d", consumer, topic, p)
}
func (s *stage) Quiet(_ context.Context, consumer string) error { return s.note("quiet %s", consumer) }
func (s *stage) Continue(_ context.Context, consumer string) error {
	return s.note("continue %s", consumer)
}
func (s *stage) SkipBatch(_ context.Context, consumer, topic string, partition int32) error {
	return s.note("skip-batch %s %s/%d", consumer, topic, partition)
}
func (s *stage) SetLogLevel(context.Context, string) error { return s.note("log-level") }
func (s *stage) Dump(context.Context) error                { return s.note("dump") }

// show serves the page of a stage that has been running for a while.
func show(t *testing.T, s *stage, token string) string {
	t.Helper()
	log, _ := logtest.NewNullLogger()
	server, err := NewServer(ServerOptions{
		Addr: "127.0.0.1:0", Token: token, Status: s.Status, Brief: s.Status, Control: ctl.NewServer(s, log).Handler(), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range samples {
		s.ago = time.Duration(samples-i) * sampleEvery
		st, err := s.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		server.history.take(st)
	}
	s.ago = 0
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + server.Addr()
}

// clean fails the test if the page has written to its console.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.console {
		b.t.Errorf("the page's console: %s", c)
	}
}

func TestPageShowsProblems(t *testing.T) {
	for _, dark := range []bool{false, true} {
		b := openBrowser(t, 1400, 1250, dark)
		b.open(show(t, newStage(5, 4), ""))
		b.until("document.querySelectorAll('#partitions tbody tr.row').length === 16")
		text := eval[string](b, "document.body.innerText")
		for _, want := range []string{
			"up 3 h", "UserBanConsumer[1]\tbackoff", "starts again in 4 s", "user-bans/0\tUserBanConsumer[0]\tbackoff",
			"after 3 failures at offset", "connection refused", "user-bans/1\tUserBanConsumer[0]\tpoisoned", "killed 3 processes",
			"user-bans/2\tUserBanConsumer[0]\tpaused", "user-bans/3\tUserBanConsumer[0]\tstalled", "3 crash, 1 memory", "37\n\nof 1,010 calls",
			"the log is not being read since 12:03:04", "<b>connection</b> refused", // what comes from outside is text
			"37 of 50", "user-bans/8\tUserBanConsumer[2]\trunning", "12 waiting keys, the oldest: offset 1,700, key order <17>, 4 failures in 12 m",
			"user-bans/9\tUserBanConsumer[2]\twindow full", "503 Service Unavailable",
			"UserBanConsumer[0]\trunning", "outage of billing", "billing is unavailable for 1 h 30 m, 3 held, 5 probes, UserBanConsumer[0] probes now: 503 <b>Service</b> Unavailable",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("dark %t: no %q in\n%s", dark, want, text)
			}
		}
		if got := eval[[]string](b, "[...document.querySelectorAll('#problems li .pill')].map(e => e.textContent)"); !slices.Equal(got, []string{"poisoned", "outage", "log", "backoff", "waiting keys", "backoff", "stalled", "window full"}) {
			t.Errorf("needs attention: %q", got)
		}
		if got := eval[bool](b, "document.documentElement.classList.contains('dark')"); got != dark {
			t.Errorf("dark is %t, want %t", got, dark)
		}
		if eval[bool](b, "document.documentElement.scrollWidth > innerWidth") {
			t.Error("wider than the window")
		}
		b.until("document.querySelector('#f-rate').textContent !== '0'")
		b.screenshot(map[bool]string{false: "status-page", true: "status-page-dark"}[dark])
		b.clean()
	}
}

func TestPageFollowsTheSupervisor(t *testing.T) {
	s := newStage(3, 4)
	s.calm = true
	b := openBrowser(t, 900, 800, false)
	b.open(show(t, s, ""))
	b.until("document.querySelectorAll('#workers tbody tr.row').length === 3")
	if eval[bool](b, "!document.querySelector('#problems').hidden") {
		t.Error("a problem is shown though there is none")
	}
	before := eval[string](b, "document.querySelector('#partitions tbody tr.row td:nth-child(4)').textContent")
	b.until("document.querySelector('#partitions tbody tr.row td:nth-child(4)').textContent !== " + fmt.Sprintf("%q", before))
	s.mu.Lock()
	s.workers, s.calm = 2, false
	s.mu.Unlock()
	b.until("document.querySelectorAll('#workers tbody tr.row').length === 2 && !document.querySelector('#problems').hidden")
	s.mu.Lock()
	s.gone = fmt.Errorf("racecar has stopped")
	s.mu.Unlock()
	b.until("!document.querySelector('#lost').hidden && document.querySelector('#lost').textContent.includes('racecar has stopped')")
	s.mu.Lock()
	s.gone = nil
	s.mu.Unlock()
	b.until("document.querySelector('#lost').hidden")
}

// Consumers of the same topic have separate rows for its partitions, with separate graphs.
func TestPageSeparatesConsumersOfATopic(t *testing.T) {
	s := newStage(2, 2)
	s.calm, s.twin = true, true
	b := openBrowser(t, 1400, 1000, false)
	b.open(show(t, s, ""))
	b.until("document.querySelectorAll('#partitions tbody tr.row').length === 8")
	h := newHistory()
	st, _ := s.Status(t.Context())
	h.take(st)
	past := h.json().Partitions
	if theirs, ours := past["AuditConsumer user-bans/0"], past["UserBanConsumer user-bans/0"]; len(past) != 8 || theirs[len(theirs)-1] != 7 || ours[len(ours)-1] == 7 {
		t.Errorf("history %v", past)
	}
}

func TestPageByKeyboard(t *testing.T) {
	b := openBrowser(t, 1400, 900, false)
	b.open(show(t, newStage(5, 4), ""))
	b.until("document.querySelectorAll('#partitions tbody tr.row').length === 16")
	b.press("/")
	b.until("document.activeElement.id === 'filter'")
	b.press("b", "a", "n", "s", "/", "1", " ", "r", "u", "n")
	b.until("document.querySelector('#partitions .count').textContent === '10 of 16'") // 10 to 19; 1 is poisoned
	b.press("Enter", "ArrowDown", "ArrowDown", "Enter")
	b.until("document.querySelector('#d-detail').open && document.querySelector('#t-detail').textContent === 'user-bans/11'")
	b.press("Escape")
	b.until("!document.querySelector('dialog[open]')")
	b.press("w", "ArrowDown", "ArrowDown", "Enter")
	b.until("document.querySelector('#d-detail').open && document.querySelector('#d-detail pre').textContent.includes('user_ban.go:42')")
	b.screenshot("status-page-worker")
	b.press("Escape", "t")
	b.until("document.documentElement.classList.contains('dark')")
	b.press("?")
	b.until("document.querySelector('#d-help').open")
	b.press("Escape")
	// Sorting by lag, the highest first.
	eval[any](b, "[...document.querySelectorAll('#partitions th button')].find(e => e.textContent === 'Lag').click()")
	eval[any](b, "document.querySelector('#filter').value = ''; document.querySelector('#filter').dispatchEvent(new Event('input'))")
	lags := eval[[]float64](b, "[...document.querySelectorAll('#partitions tbody tr.row td:nth-child(7)')].map(e => +e.textContent.replace(/,/g, ''))")
	if len(lags) != 16 || !slices.IsSortedFunc(lags, func(a, b float64) int { return int(b - a) }) {
		t.Errorf("by lag: %v", lags)
	}
	eval[any](b, "document.querySelector('#config summary').click()")
	b.until("document.querySelectorAll('#config tbody tr').length === 2") // the default is left out
	b.clean()
}

func TestPageIsFast(t *testing.T) {
	s := newStage(64, 16)
	s.calm = true
	b := openBrowser(t, 1400, 1000, false)
	b.open(show(t, s, ""))
	b.until("document.querySelector('#partitions .count').textContent === '1024'")
	// The cost of a status, and of scrolling through all partitions, in the page's own CPU
	// time.
	b.call(b.session, "Performance.enable", map[string]any{"timeDomain": "threadTicks"}, nil)
	const statuses = 20
	before := b.work()
	eval[any](b, fmt.Sprintf(`(async () => {
		const raw = await (await fetch('v1/status')).text();
		for (let i = 0; i < %d; i++) { take(JSON.parse(raw)); document.body.offsetHeight; }
	})()`, statuses))
	took := (b.work() - before) / statuses
	rows := eval[int](b, "document.querySelectorAll('#partitions tbody tr').length")
	before = b.work()
	steps := eval[int](b, `(async () => {
		const e = document.querySelector('#partitions .scroll');
		let steps = 0;
		for (let y = 0; y < e.scrollHeight; y += 1500, steps++) {
			e.scrollTop = y;
			await new Promise(requestAnimationFrame);
			partitions.draw();
			document.body.offsetHeight;
		}
		return steps;
	})()`)
	scroll := (b.work() - before) / float64(steps)
	last := eval[string](b, "[...document.querySelectorAll('#partitions tbody tr.row')].at(-1).textContent")
	t.Logf("a status takes %.1f ms, a step of scrolling %.1f ms, %d rows in the document", took, scroll, rows)
	if took > 100 || scroll > 80 || rows > 80 {
		t.Errorf("a status takes %.1f ms, a step of scrolling %.1f ms, %d rows", took, scroll, rows)
	}
	if !strings.HasPrefix(last, "user-bans/1023") {
		t.Errorf("the last row is %q", last)
	}
	b.screenshot("status-page-1024")
	b.clean()
}

// On a phone the dialog for the token fits the screen. Meanwhile the page shows that it waits
// for the token, not that there is no answer.
func TestPageAsksForTheTokenOnAPhone(t *testing.T) {
	s := newStage(3, 4)
	b := openBrowser(t, 390, 700, false)
	b.open(show(t, s, "sesame"))
	b.until("document.querySelector('#d-token').open && document.querySelector('#state').textContent !== 'connecting'")
	if got := eval[string](b, "document.querySelector('#state').textContent"); got != "token required" {
		t.Errorf("the state is %q", got)
	}
	if out := eval[[]string](b, `[...document.querySelectorAll('#d-token, #d-token *')].filter((e) => {
		const r = e.getBoundingClientRect();
		return r.left < 0 || r.right > innerWidth || r.top < 0 || r.bottom > innerHeight || e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0;
	}).map((e) => e.tagName + ' ' + e.id)`); len(out) > 0 {
		t.Errorf("outside of the screen or cut off: %q", out)
	}
	b.screenshot("status-page-token-390")
	b.press("s", "e", "s", "a", "m", "e", "Enter")
	b.until("document.querySelector('#state').textContent === 'running'")
	if eval[bool](b, "document.documentElement.scrollWidth > innerWidth") {
		t.Error("wider than the window")
	}
	b.screenshot("status-page-390")
}

func TestPageActions(t *testing.T) {
	s := newStage(3, 4)
	b := openBrowser(t, 1400, 1000, false)
	b.open(show(t, s, "sesame"))
	b.until("document.querySelector('#d-token').open")
	b.press("w", "r", "o", "n", "g", "Enter")
	b.until("document.querySelector('#d-token').open && document.querySelector('#token-why').textContent.includes('not accepted')")
	b.press("s", "e", "s", "a", "m", "e", "Enter")
	b.until("document.querySelectorAll('#consumers tbody button').length === 4")
	click := func(label string) {
		t.Helper()
		eval[any](b, fmt.Sprintf("[...document.querySelectorAll('#consumers tbody button')].find(e => e.textContent === %q).click()", label))
	}
	click("Restart")
	b.until("document.querySelector('#d-ask').open")
	b.press("Escape")
	b.until("!document.querySelector('#d-ask').open")
	click("+")
	b.until("document.querySelector('#d-ask').open && document.querySelector('#t-ask').textContent === 'Scale UserBanConsumer from 3 to 4 workers?'")
	b.screenshot("status-page-scale")
	b.press("Enter")
	b.until("document.querySelectorAll('#workers tbody tr.row').length === 4")
	click("Restart")
	b.until("document.querySelector('#d-ask').open")
	b.press("Enter")
	b.until("[...document.querySelectorAll('.toast')].some(e => e.textContent === 'restart: done')")
	eval[any](b, "document.querySelectorAll('#partitions tbody tr.row')[0].click()") // in backoff
	b.until("document.querySelector('#d-detail').open")
	eval[any](b, "document.querySelector('#d-detail .actions button').click()")
	b.until("document.querySelector('#d-ask').open")
	b.press("Enter")
	b.until("[...document.querySelectorAll('.toast')].some(e => e.textContent === 'resume: done')")
	want := []string{"scale UserBanConsumer 4", "restart UserBanConsumer", "resume UserBanConsumer user-bans/0"}
	if got := s.received(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}
