// Package consumers registers what the process tests run: consumers that write
// each processed message to their process's journal (see test/judge), and can be
// told through variables to be slow, to fail, to hang or to die.
package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/judge"
)

// Variables the consumers obey.
const (
	EnvDir         = "JOURNAL_DIR"         // where journals go; required
	EnvTopics      = "JOURNAL_TOPICS"      // comma list, or @FILE that holds one; default journal
	EnvOut         = "JOURNAL_OUT"         // topic each message is copied to; default none
	EnvDeliver     = "JOURNAL_DELIVER"     // not empty: each copy is waited for with Deliver
	EnvAside       = "JOURNAL_ASIDE"       // topic each message is copied to by the default producer; default none
	EnvDelay       = "JOURNAL_DELAY"       // what each message takes
	EnvLog         = "JOURNAL_LOG"         // not empty: a log line for each message
	EnvLeak        = "JOURNAL_LEAK"        // KiB that each message leaves behind in memory
	EnvConcurrency = "JOURNAL_CONCURRENCY" // partitions at once
	EnvBoot        = "JOURNAL_BOOT"        // "exit": the constructor exits with 9; "fail", "fatal": it returns such an error; "hang": it does not return
	// EnvTrap names messages that misbehave, "KEY=what,KEY=what": what is exit,
	// panic, fail, hang, spin, alloc, keep, chatter, fatal, slow, slower, or away, which never
	// finds what it needs.
	EnvTrap = "JOURNAL_TRAP"
	// EnvMischief is a directory: a file in it, named as in EnvTrap, makes one call
	// of one process do that, and is moved by it to done/ there, with its pid as a
	// suffix. "boot" and "nodb" are not taken away: while they are there constructors
	// exit with 9, or return an error.
	EnvMischief = "JOURNAL_MISCHIEF"
	// EnvFailing is a file: while it is there, messages with a key that is a line of it fail.
	EnvFailing = "JOURNAL_FAILING"
	// EnvEvents is a directory in which each process writes down the events it is told
	// of, while two other subscribers panic and block for ever.
	EnvEvents = "JOURNAL_EVENTS"
	// EnvBadTopic is the topic of a further consumer, BadTopic; default: there is none.
	EnvBadTopic = "JOURNAL_BAD_TOPIC"
	// EnvNeeds is a file that messages need: while it does not exist their calls return
	// racecar.Unavailable with its name after a moment, and note their beginning and end in
	// FILE.calls. TOPIC=FILE,TOPIC=FILE names one for each topic.
	EnvNeeds = "JOURNAL_NEEDS"
	// EnvMistakes, not empty, has two registrations that are wrong.
	EnvMistakes = "JOURNAL_MISTAKES"
)

func init() {
	if dir := os.Getenv(EnvEvents); dir != "" {
		racecar.Observe(func(racecar.Event) { panic("a subscriber that panics") })
		racecar.Observe(func(racecar.Event) { select {} })
		racecar.Observe(func(e racecar.Event) { record(dir, e) })
	}
	var subscriptions []racecar.Subscription
	for _, topic := range topics() {
		subscriptions = append(subscriptions, racecar.Subscription{Topic: topic})
	}
	concurrency, err := strconv.Atoi(env(EnvConcurrency, "0"))
	if err != nil {
		panic(EnvConcurrency + ": " + err.Error())
	}
	spec := racecar.Spec{Subscriptions: subscriptions, Concurrency: concurrency}
	racecar.Register(newJournal, spec)
	racecar.Register(func(rt racecar.Runtime) (*JournalBatch, error) {
		j, err := newJournal(rt)
		return &JournalBatch{j: j}, err
	}, spec)
	spec.Name, spec.Transactional = "JournalTx", true
	racecar.Register(newJournal, spec)
	registerLedger(subscriptions)
	if topic := os.Getenv(EnvBadTopic); topic != "" {
		racecar.Register(newJournal, racecar.Spec{Name: "BadTopic", Subscriptions: []racecar.Subscription{{Topic: topic}}})
	}
	if os.Getenv(EnvMistakes) != "" {
		racecar.Register(newJournal, spec)
		racecar.Register(newJournal, racecar.Spec{Name: "Other", Subscriptions: []racecar.Subscription{{}}})
	}
}

// topics of EnvTopics. A file can be changed while a supervisor runs, so that a
// process started later finds another Spec, as in a new release.
func topics() []string {
	list := env(EnvTopics, "journal")
	if file, ok := strings.CutPrefix(list, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			panic(EnvTopics + ": " + err.Error())
		}
		list = strings.TrimSpace(string(b))
	}
	return strings.Split(list, ",")
}

// journalled counts the messages journalled, as consumer code counts: with the default
// registerer.
var journalled = promauto.NewCounter(prometheus.CounterOpts{Name: "journalled_total", Help: "Messages journalled."})

// Journal writes each message to its journal, after copying it to EnvOut.
type Journal struct {
	rt      racecar.Runtime
	journal *judge.Journal
	delay   time.Duration
	out     string
	deliver bool
	log     bool
	leak    int // bytes a message
	leaked  [][]byte
	traps   map[string]string
	// mischief is looked for at most every mischiefEvery.
	mischief string
	checked  time.Time
	kept     []byte
}

const mischiefEvery = 50 * time.Millisecond

func newJournal(rt racecar.Runtime) (*Journal, error) {
	mischief := os.Getenv(EnvMischief)
	if mischief != "" {
		if _, err := os.Stat(filepath.Join(mischief, "boot")); err == nil {
			os.Exit(9)
		}
		if _, err := os.Stat(filepath.Join(mischief, "nodb")); err == nil {
			return nil, errors.New("no database")
		}
	}
	switch os.Getenv(EnvBoot) {
	case "exit":
		os.Exit(9)
	case "fail":
		return nil, errors.New("told to fail at boot")
	case "fatal":
		return nil, racecar.Fatal(errors.New("told to fail for good"))
	case "hang":
		select {}
	}
	delay, err := time.ParseDuration(env(EnvDelay, "0s"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", EnvDelay, err)
	}
	leak, err := strconv.Atoi(env(EnvLeak, "0"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", EnvLeak, err)
	}
	name := fmt.Sprintf("%s[%d]", rt.Worker.Consumer, rt.Worker.Index)
	journal, err := judge.Create(os.Getenv(EnvDir), name)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		rt: rt, journal: journal, delay: delay, out: os.Getenv(EnvOut), deliver: os.Getenv(EnvDeliver) != "", log: os.Getenv(EnvLog) != "", leak: leak << 10,
		traps: map[string]string{}, mischief: mischief,
	}
	if s := os.Getenv(EnvTrap); s != "" {
		for pair := range strings.SplitSeq(s, ",") {
			key, what, _ := strings.Cut(pair, "=")
			j.traps[key] = what
		}
	}
	return j, nil
}

// Process journals m.
func (j *Journal) Process(ctx context.Context, m *racecar.Message) error {
	start, content := time.Now(), judge.Digest(m.Key, m.Value)
	defer scribble(m)
	what := j.traps[string(m.Key)]
	if what == "" {
		what = j.requested()
	}
	if fails(m.Key) {
		what = "fail"
	}
	if err := j.needs(m, what); err != nil {
		return err
	}
	if what == "keep" {
		j.keep()
	} else if err := misbehave(ctx, what); err != nil {
		return err
	}
	if topic := os.Getenv(EnvAside); topic != "" {
		if err := racecar.ProduceAsync(ctx, racecar.ProducerMessage{Topic: topic, Key: m.Key, Value: m.Value}); err != nil {
			return err
		}
	}
	if j.delay > 0 {
		select {
		case <-time.After(j.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if j.leak > 0 {
		b := make([]byte, j.leak)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // or the page would be nobody's
		}
		j.leaked = append(j.leaked, b)
	}
	if j.log {
		j.rt.Logger.Info("processed", "key", string(m.Key), "offset", m.Offset, "partition", m.Partition)
	}
	if j.out != "" {
		if err := j.rt.Producer.Produce(ctx, racecar.ProducerMessage{
			Topic: j.out, Key: m.Key, Value: m.Value,
			Headers: []racecar.Header{{Key: "origin", Value: fmt.Appendf(nil, "%s/%d/%d", m.Topic, m.Partition, m.Offset)}},
		}); err != nil {
			return err
		}
		if j.deliver {
			if err := j.rt.Producer.Deliver(ctx); err != nil {
				return err
			}
		}
	}
	defer journalled.Inc()
	return j.journal.Write(judge.Record{
		Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: string(m.Key),
		Worker: fmt.Sprintf("%s[%d]", j.rt.Worker.Consumer, j.rt.Worker.Index), Attempt: m.Retries,
		Content: content, Start: start, End: time.Now(),
	})
}

// fails reports whether the file of EnvFailing has the key.
func fails(key []byte) bool {
	file := os.Getenv(EnvFailing)
	if file == "" {
		return false
	}
	b, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Split(strings.TrimSpace(string(b)), "\n"), string(key))
}

// scribble writes into a message and behind it, as consumer code may: no other
// message and no other attempt must see it.
func scribble(m *racecar.Message) {
	_ = append(m.Key, "scribbled"...)
	_ = append(m.Value, "scribbled"...)
	clear(m.Value)
}

// requested returns the mischief that a file in the directory requests of one call.
func (j *Journal) requested() string {
	if j.mischief == "" || time.Since(j.checked) < mischiefEvery {
		return ""
	}
	j.checked = time.Now()
	entries, err := os.ReadDir(j.mischief)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.IsDir() || e.Name() == "boot" || e.Name() == "nodb" {
			continue
		}
		if err := os.MkdirAll(filepath.Join(j.mischief, "done"), 0o700); err != nil {
			return ""
		}
		// Whoever moves it does it, so that one call does.
		done := fmt.Sprintf("%s.%d", e.Name(), os.Getpid())
		if os.Rename(filepath.Join(j.mischief, e.Name()), filepath.Join(j.mischief, "done", done)) == nil {
			return e.Name()
		}
	}
	return ""
}

// keep holds on to 300 MiB, as a leak would.
func (j *Journal) keep() {
	j.kept = make([]byte, 300<<20)
	for i := 0; i < len(j.kept); i += 4096 { // else it takes up nothing
		j.kept[i] = 1
	}
}

// needs returns an error while the file of EnvNeeds does not exist, or with what away. With
// what exit the process dies in the call.
func (j *Journal) needs(m *racecar.Message, what string) error {
	file := ""
	for pair := range strings.SplitSeq(os.Getenv(EnvNeeds), ",") {
		topic, its, each := strings.Cut(pair, "=")
		switch {
		case !each:
			file = pair
		case topic == m.Topic:
			file = its
		}
	}
	if file == "" {
		return nil
	}
	if _, err := os.Stat(file); err == nil && what != "away" {
		return nil
	}
	note := func(word string) error {
		f, err := os.OpenFile(file+".calls", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, word, j.rt.Worker.Index, os.Getpid(), m.Partition, m.Offset)
		return errors.Join(err, f.Close())
	}
	err := note("begin")
	if what == "exit" {
		os.Exit(9)
	}
	<-time.After(20 * time.Millisecond) // so that calls beside each other would be noticed
	return racecar.Unavailable(errors.Join(errors.New("the file is not there"), err, note("end")), filepath.Base(file))
}

// Teardown closes the journal.
func (j *Journal) Teardown(context.Context) error { return j.journal.Close() }

// JournalBatch is Journal over batches.
type JournalBatch struct{ j *Journal }

// ProcessBatch journals the messages one by one.
func (b *JournalBatch) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	for i, m := range messages {
		if err := b.j.Process(ctx, m); err != nil {
			return racecar.FailedAt(i, err)
		}
	}
	return nil
}

// Teardown closes the journal.
func (b *JournalBatch) Teardown(ctx context.Context) error { return b.j.Teardown(ctx) }

// misbehave does what a trap says; an error fails the message.
func misbehave(ctx context.Context, what string) error {
	switch what {
	case "exit":
		os.Exit(9)
	case "panic":
		panic("told to panic")
	case "fail":
		return errors.New("told to fail")
	case "orphan": // a process whose parent is gone, in a session of its own
		return exec.Command("sh", "-c", "setsid sleep 0.1 &").Run()
	case "hang": // heeds its ctx
		<-ctx.Done()
		return ctx.Err()
	case "spin": // heeds nothing
		for { //nolint:staticcheck // to spin is what it was told
		}
	case "alloc":
		var keep [][]byte
		for {
			b := make([]byte, 64<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
			if len(keep) == 32 {
				return fmt.Errorf("%d MiB and still alive", len(keep)*64)
			}
		}
	case "chatter":
		line := strings.Repeat("chatter ", 16) + "\n"
		for range 8192 { // 1 MiB
			fmt.Fprint(os.Stderr, line)
		}
	case "slog":
		slog.InfoContext(ctx, "by the package function", "k", 1)
	case "fatal":
		runtimeFatal()
	case "slow", "slower":
		d := time.Second
		if what == "slower" {
			d = 3 * time.Second
		}
		fmt.Fprintln(os.Stderr, "slow: begun") // for whoever wants to do something meanwhile
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
