package fleet

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

var update = flag.Bool("update", false, "write the effects into the scripts instead of comparing them")

// TestScripts runs testdata/*.txt; README.md there says how to read and write them.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { runScripts(t, path) })
	}
}

// runScripts runs the tests of one file.
func runScripts(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	head, rest, _ := strings.Cut(string(text), "\ntest ")
	whole.WriteString(head + "\n")
	for i, part := range strings.Split(rest, "\ntest ") {
		name, body, _ := strings.Cut(part, "\n")
		if i > 0 {
			whole.WriteString("\n")
		}
		fmt.Fprintf(&whole, "test %s\n", name)
		t.Run(name, func(t *testing.T) {
			got := (&script{t: t}).run(strings.TrimRight(body, "\n"))
			whole.WriteString(got)
			if want := strings.TrimRight(body, "\n") + "\n"; got != want && !*update {
				t.Errorf("%s: effects differ (-update writes them):\n%s", path, difference(want, got))
			}
		})
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(path, whole.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// difference shows two texts from the first line that differs.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-3)
	return "want\n" + strings.Join(w[from:min(len(w), i+8)], "\n") + "\ngot\n" + strings.Join(g[from:min(len(g), i+8)], "\n")
}

// script is one test.
type script struct {
	t         *testing.T
	w         *world
	consumers []wire.Consumer
	rules     []rule // of boots, the last one that fits counts
	failSpawn func(Spawn) error
	out       bytes.Buffer
}

// rule says how processes boot.
type rule struct {
	worker    string // empty: any
	release   string // an image or a digest; empty: any
	behaviour string
}

// run executes the lines and returns them with the effects that they have.
func (s *script) run(body string) string {
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "> "):
			s.out.WriteString(line + "\n")
			words := strings.Fields(line[2:])
			s.do(words[0], words[1:])
		case strings.HasPrefix(line, "#"), line == "":
			s.out.WriteString(line + "\n")
		}
	}
	return s.out.String()
}

func (s *script) do(verb string, args []string) {
	s.t.Helper()
	if slices.Contains([]string{"consumers", "start", "boot", "construct", "spawn-fails"}, verb) {
		s.prepare(verb, args)
		return
	}
	if s.forFleet(verb, args) {
		return
	}
	s.forProcess(verb, s.process(args[0]), args[1:])
}

// prepare handles lines about the world.
func (s *script) prepare(verb string, args []string) {
	s.t.Helper()
	switch verb {
	case "consumers":
		s.consumers = parseConsumers(s.t, args)
		s.w = newWorld(s.t, s.consumers...)
		s.w.observer = s.effect
		s.w.boot = func(f *fake) { s.behave(f, s.bootOf(f)) }
		s.w.spawn = func(e Spawn) error {
			if s.failSpawn == nil {
				return nil
			}
			return s.failSpawn(e)
		}
	case "start":
		s.w.start()
	case "boot":
		if len(args) == 1 {
			s.rules = nil
			args = append([]string{"all"}, args...)
		}
		worker, image, _ := strings.Cut(strings.TrimPrefix(args[0], "all"), "@")
		s.rules = append(s.rules, rule{worker, image, args[1]})
	case "construct":
		s.w.construct = func(f *fake) { s.behave(f, args[0]) }
	case "spawn-fails":
		s.failSpawn = func(e Spawn) error {
			if args[0] == "never" || len(args) > 1 && e.Image.Name != args[1] {
				return nil
			}
			return map[string]error{"EAGAIN": syscall.EAGAIN, "ENOEXEC": syscall.ENOEXEC}[args[0]]
		}
	}
}

// parseConsumers reads words like A=2, membership=dynamic and limit=1.
func parseConsumers(t *testing.T, args []string) []wire.Consumer {
	var list []wire.Consumer
	var changes []func(*config.Config)
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.Atoi(value)
		switch {
		case key == "membership":
			changes = append(changes, func(c *config.Config) { c.Membership = config.Membership(value) })
		case key == "scope":
			changes = append(changes, func(c *config.Config) { c.OutageScope = value })
		case key == "limit":
			changes = append(changes, func(c *config.Config) { c.WorkerRestartLimit = n })
		case len(key) == 1:
			list = append(list, consumerOf(key, n))
			if i := strings.IndexByte(value, ','); i >= 0 { // A=2,limit=1: of that one only
				n, _ = strconv.Atoi(value[:i])
				list[len(list)-1] = consumerOf(key, n)
				list[len(list)-1].Config.WorkerRestartLimit, _ = strconv.Atoi(strings.TrimPrefix(value[i+1:], "limit="))
			}
		default:
			t.Fatalf("consumers: %q", arg)
		}
	}
	for i := range list {
		for _, change := range changes {
			change(&list[i].Config)
		}
	}
	return list
}

func (s *script) bootOf(f *fake) string {
	for _, r := range slices.Backward(s.rules) {
		if (r.worker == "" || r.worker == f.name) && (r.release == "" || r.release == f.image || r.release == f.handshake.Consumer.Digest) {
			return r.behaviour
		}
	}
	return "runs"
}

// behave makes a process do what a word says.
func (s *script) behave(f *fake, behaviour string) {
	s.t.Helper()
	word, more, _ := strings.Cut(behaviour, ",")
	for _, also := range strings.Split(more, ",") {
		f.unresponsive = f.unresponsive || also == "unresponsive"
		f.ignoresQuit = f.ignoresQuit || also == "ignores-quit"
	}
	switch word {
	case "runs":
		f.runs()
	case "silent":
		f.state = ""
	case "crashes":
		f.exits(Exit{Code: 1})
	case "fails":
		f.w.step(ExitReasonReceived{f.p.id, wire.ExitReason{Reason: "constructor of A: no database"}})
		f.exits(Exit{Code: 1})
	case "fails-permanently":
		f.w.step(ExitReasonReceived{f.p.id, wire.ExitReason{Reason: "not authorized for topic x", Permanent: true}})
		f.exits(Exit{Code: 1})
	case "permanent":
		f.exits(Exit{Code: wire.ExitPermanent})
	default:
		f.says(status.State(word))
	}
}

// process finds the active process of A[0], or the one that stands by of A[0]+.
func (s *script) process(name string) *fake {
	s.t.Helper()
	worker, standby := strings.CutSuffix(name, "+")
	for _, f := range s.w.sorted() {
		if f.name == worker && (standby && f.standsBy() || !standby && f.p.slot.active == f.p) {
			return f
		}
	}
	s.t.Fatalf("%s has no process after\n%s", name, s.out.String())
	return nil
}

// forFleet handles lines about the whole; false: it is not one.
func (s *script) forFleet(verb string, args []string) bool {
	s.t.Helper()
	w := s.w
	number := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	switch verb {
	case "scale":
		s.answer(func(ref uint64) Event { return Scale{ref, args[0], number(1)} })
	case "scale-by":
		w.step(ScaleBy(number(0)))
	case "rollout":
		s.rollout(args)
	case "pass":
		w.pass(s.duration(args[0]))
	case "suspend": // nothing that came meanwhile is read yet
		d := s.duration(args[0])
		w.now = w.now.Add(d)
		w.step(Suspended(d))
		w.step(Tick{})
	case "stop":
		e := Shutdown{Signal: true}
		for _, arg := range args {
			e.Force = e.Force || arg == "force"
			e.LeaveGroups = e.LeaveGroups || arg == "leave"
			if d, ok := strings.CutPrefix(arg, "grace="); ok {
				e.Grace = s.duration(d)
			}
		}
		w.step(e)
	case "show":
		s.show()
	case "state":
		st := s.w.state(args[0])
		fmt.Fprintf(&s.out, "%s, group %s, release %d, %d restarts, last exit: %s\n", st.State, st.Group, st.Release, st.Restarts, st.LastExit)
	case "restarts":
		fmt.Fprintln(&s.out, w.report().RestartsBy)
	case "outages":
		for _, c := range w.report().Consumers {
			for _, o := range c.Outages {
				fmt.Fprintf(&s.out, "%s %q: held %d, probes %d, %s\n", c.Name, o.Dependency, o.Held, o.Probes, o.Error)
			}
			fmt.Fprintf(&s.out, "%s in all: %v\n", c.Name, c.OutageSeconds)
		}
	case "open":
		var names []string
		for i := range w.open {
			names = append(names, i.Name)
		}
		slices.Sort(names)
		fmt.Fprintln(&s.out, strings.Join(names, " "))
	default:
		return false
	}
	return true
}

func (s *script) duration(text string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// answer hands in a request; its answer is an effect.
func (s *script) answer(event func(ref uint64) Event) { _ = s.w.request(event) }

// rollout reads an image and changes: A=4, A.digest=2, A.group=x, -B, +C=2, only=A,
// if-changed, new-group.
func (s *script) rollout(args []string) {
	s.t.Helper()
	e := Rollout{}
	consumers := slices.Clone(s.consumers)
	change := func(name string, f func(*wire.Consumer)) {
		for i := range consumers {
			if consumers[i].Name == name {
				f(&consumers[i])
			}
		}
	}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		name, field, _ := strings.Cut(key, ".")
		n, _ := strconv.Atoi(value)
		switch {
		case arg == "if-changed":
			e.IfChanged = true
		case arg == "new-group":
			e.NewGroup = true
		case key == "only":
			e.Only = value
		case key[0] == '-':
			consumers = slices.DeleteFunc(consumers, func(c wire.Consumer) bool { return c.Name == key[1:] })
		case key[0] == '+':
			consumers = append(consumers, consumerOf(key[1:], n))
		case field == "digest":
			change(name, func(c *wire.Consumer) { c.Digest = value })
		case field == "group":
			change(name, func(c *wire.Consumer) { c.Config.GroupID = value })
		default:
			change(name, func(c *wire.Consumer) { c.Config.ParallelWorkers = n; c.Digest += "," + value })
		}
	}
	e.Plan, e.Image = wire.Plan{Consumers: consumers}, s.w.image(args[0])
	s.answer(func(ref uint64) Event { e.Ref = ref; return e })
}

// forProcess handles lines about a process.
func (s *script) forProcess(verb string, f *fake, args []string) {
	s.t.Helper()
	switch verb {
	case "unresponsive":
		f.unresponsive = true
	case "lingers":
		f.lingers, f.unresponsive = true, true
	case "hangs-at-exit":
		f.hangsAtExit = true
	case "ignores-quit":
		f.ignoresQuit = true
	case "takes":
		f.inHand = append(f.inHand, parseCall(args))
	case "exits":
		e := Exited{Exit: exitOf(args)}
		if len(args) > 1 {
			e.Headline = strings.Join(args[1:], " ")
		}
		f.dies(e)
	case "returns":
		f.inHand = nil
	case "is-past":
		topic, partition, offset := parseOffset(args[0])
		f.w.step(ReportReceived{f.p.id, status.Report{Partitions: []status.Partition{{Topic: topic, Partition: partition, Position: offset + 1}}}})
	case "silent":
		f.state, f.ignoresQuit = "", true
	case "unavailable", "holds", "probed":
		s.outage(verb, f, args)
	default:
		s.behave(f, verb)
	}
}

// outage handles lines about a dependency: what a process holds, and how its probe ended.
func (s *script) outage(verb string, f *fake, args []string) {
	s.t.Helper()
	dependency := strings.Trim(args[0], "-")
	held, pause, result := 1, time.Duration(0), wire.ProbeResult("")
	f.paused = false
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "held":
			held, _ = strconv.Atoi(value)
		case "pause":
			pause = s.duration(value)
		case "paused":
			f.paused = true
		default:
			result = wire.ProbeResult(arg)
		}
	}
	if verb == "probed" {
		f.probed(dependency, result, pause)
		return
	}
	f.reports(dependency, held, verb == "unavailable", pause)
}

func exitOf(args []string) Exit {
	if len(args) == 0 {
		return Exit{}
	}
	if args[0] == "killed" {
		return killed
	}
	code, _ := strconv.Atoi(args[0])
	return Exit{Code: code}
}

// parseCall reads t/0@7-9 alone.
func parseCall(args []string) scoreboard.Call {
	text, last, batch := strings.Cut(args[0], "-")
	topic, partition, first := parseOffset(text)
	c := scoreboard.Call{Topic: topic, Partition: partition, FirstOffset: first, LastOffset: first, Alone: len(args) > 1}
	if batch {
		c.LastOffset, _ = strconv.ParseInt(last, 10, 64)
	}
	return c
}

func parseOffset(text string) (topic string, partition int32, offset int64) {
	place, at, _ := strings.Cut(text, "@")
	topic, number, _ := strings.Cut(place, "/")
	n, _ := strconv.Atoi(number)
	offset, _ = strconv.ParseInt(at, 10, 64)
	return topic, int32(n), offset
}

// show prints all slots.
func (s *script) show() {
	for slot := range s.w.f.slots() {
		line := slot.name() + " " + string(slot.state())
		if p := slot.active; p != nil {
			line += " " + p.release.image.Name
		}
		if p := slot.standby; p != nil {
			line += ", and " + string(p.frame.State) + " " + p.release.image.Name
			if p.stopping != "" {
				line += " that stops"
			}
		}
		fmt.Fprintln(&s.out, line)
	}
}

// effect prints an effect. What is logged, and steps of progress, are left out.
func (s *script) effect(effect Effect) {
	switch e := effect.(type) {
	case Spawn:
		fmt.Fprintf(&s.out, "spawn %s from %s%s\n", e.Worker, e.Image.Name, handshakeText(e.Handshake))
	case Handshake:
		fmt.Fprintf(&s.out, "give the slot to %s%s\n", s.name(e.Proc), handshakeText(e.Handshake))
	case Command:
		s.command(e)
	case Lease:
		fmt.Fprintf(&s.out, "lease %q to %s for %v\n", e.Lease.Dependency, s.name(e.Proc), e.Lease.Within)
	case OutageState:
		fmt.Fprintf(&s.out, "tell %s: %s\n", s.name(e.Proc), outageText(e.State))
	case Signal:
		fmt.Fprintf(&s.out, "signal %s: %v\n", s.name(e.Proc), e.Signal)
	case RemoveMembers:
		var ids []string
		for _, m := range e.Members {
			ids = append(ids, m.InstanceID)
		}
		fmt.Fprintf(&s.out, "remove members of %s with %s: %s\n", e.Consumer.Name, e.Image.Name, strings.Join(ids, " "))
	case CloseImage:
		fmt.Fprintf(&s.out, "close %s\n", e.Image.Name)
	case Answer:
		if e.Err != nil {
			fmt.Fprintf(&s.out, "answer: %v\n", e.Err)
			return
		}
		fmt.Fprintln(&s.out, "answer: ok")
	case WorkerEvent:
		s.event(e)
	case Ready:
		fmt.Fprintln(&s.out, "ready")
	case Finished:
		fmt.Fprintf(&s.out, "finished with %d %v\n", e.Code, e.Err)
	}
}

func outageText(o wire.OutageState) string {
	text := fmt.Sprintf("outage %q", o.Dependency)
	switch {
	case o.Ended:
		text += " ended"
	case o.Prober != "":
		text += ", " + o.Prober + " probes"
	default:
		text += ", probe in " + o.Next.String()
	}
	return fmt.Sprintf("%s, pause %v, probes %d, since %s", text, o.Pause, o.Probes, o.Since.Format("04:05"))
}

func handshakeText(h wire.Handshake) string {
	text := ""
	if h.Standby {
		text += ", standby"
	}
	for _, m := range h.Predecessors {
		text += ", follows " + m.InstanceID
	}
	return text + suspectsText(h.Suspects)
}

func suspectsText(list []wire.Suspect) string {
	text := ""
	for _, x := range list {
		text += fmt.Sprintf(", suspect %s/%d@%d-%d: %d deaths", x.Topic, x.Partition, x.FirstOffset, x.LastOffset, x.Deaths)
	}
	return text
}

func (s *script) name(id ProcID) string {
	if p := s.w.f.procs[id]; p != nil {
		return p.name()
	}
	return "a process that has exited"
}

func (s *script) command(e Command) {
	text := ""
	switch e.Command.Kind {
	case wire.CommandStatus:
		return
	case wire.CommandStop:
		text = ", grace " + e.Command.Grace.String()
		if e.Command.Leave {
			text += ", leave"
		}
		if e.Command.Stay {
			text += ", stay"
		}
	case wire.CommandSuspects:
		text = suspectsText(e.Command.Suspects)
	}
	fmt.Fprintf(&s.out, "command %s: %s%s\n", s.name(e.Proc), e.Command.Kind, text)
}

func (s *script) event(e WorkerEvent) {
	worker := status.Name(e.Consumer, e.Index)
	switch {
	case e.Kind == WorkerStarted:
	case e.Kind == WorkerExited && e.Graceful:
		fmt.Fprintf(&s.out, "%s stopped: %s\n", worker, e.Reason)
	case e.Kind == WorkerExited:
		fmt.Fprintf(&s.out, "%s died: %s: %s\n", worker, e.Reason, e.Detail)
	case e.Index < 0:
		fmt.Fprintf(&s.out, "%s stopped permanently: %s\n", e.Consumer, e.Detail)
	default:
		fmt.Fprintf(&s.out, "%s stopped permanently: %s\n", worker, e.Detail)
	}
}
