package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/process"
)

// A roll replaces the processes of slots one by one. Each new process is started
// beforehand, constructs its consumer and waits for its turn (it "stands by"), so
// that a consumer that cannot be constructed costs nothing, and a slot's partitions
// stand still only from the old one's last commit to the new one's join. One that
// does not come to run takes its slot back to what ran before, and the roll ends
// there; slots that were rolled stay.
type roll struct {
	targets map[*consumer]*release
	queue   []*slot
	revives map[*slot]bool // given up before: they get another chance when it is their turn
	cur     *slot
	// was is what the slot ran; wasRunning says that its process did, or was about
	// to: it was not waiting for a broker.
	was        *release
	wasRunning bool
	by         time.Time // when cur's new process must run; zero: it has not taken over
	latest     time.Time // by does not move beyond
	failed     string    // cur goes back, then the roll ends with this
	done       int
	total      int
}

// rollOrder says what is to be rolled.
type rollOrder struct {
	only      string // a consumer; empty: all
	ifChanged bool   // nothing that is as it was; with nothing else it is refused
	newGroup  bool   // also to another group
}

// errNothingChanged refuses a roll that was to happen only on a change.
var errNothingChanged = errors.New("neither image nor configuration changed")

// rollTo begins a roll to what a plan says.
func (r *registry) rollTo(now time.Time, plan wire.Plan, image process.Image, o rollOrder) error {
	r.now = now
	switch {
	case r.ending != nil:
		return errStopping
	case r.roll != nil:
		return errRolling
	}
	ro := &roll{targets: map[*consumer]*release{}, revives: map[*slot]bool{}}
	var added []wire.Consumer
	for _, wc := range plan.Consumers {
		if o.only != "" && wc.Name != o.only {
			continue
		}
		c := r.consumer(wc.Name)
		if c == nil { // `--all`, and the new program has one more
			added = append(added, wc)
			continue
		}
		if was, is := c.rel.config().GroupID, wc.Config.GroupID; was != is && !o.newGroup {
			return fmt.Errorf("%s would change its group from %s to %s, and process again (or skip) whatever %s has no position for: "+
				"racecarctl restart --new-group does it", c.name, was, is, is)
		}
		if o.ifChanged && c.fatal == "" && c.runs(image, wc) {
			continue
		}
		ro.targets[c] = r.numbered(c, image, wc)
	}
	for _, c := range r.consumers {
		if ro.targets[c] == nil && (o.only == "" || o.only == c.name) && !o.ifChanged {
			return fmt.Errorf("the new program has no consumer %s", c.name)
		}
	}
	if len(ro.targets) == 0 && len(added) == 0 {
		return errNothingChanged
	}
	for _, wc := range added {
		c := newConsumer(now, &release{number: r.releases + 1, image: image, consumer: wc})
		r.consumers = append(r.consumers, c)
		ro.targets[c] = c.rel
	}
	r.roll = ro
	for _, c := range r.consumers {
		rel := ro.targets[c]
		if rel == nil {
			continue
		}
		r.releases = max(r.releases, rel.number)
		n := c.places()
		c.fatal = ""
		// A count changed by an operator stays, unless the configuration's changed.
		if was, is := c.rel.config().ParallelWorkers, rel.config().ParallelWorkers; was != is {
			n = max(1, is)
		}
		for i, s := range c.slots {
			if i >= n {
				s.wanted = false
				if s.cur != nil {
					r.stopProc(s.cur, stopScale, true)
				} else {
					r.leaveFor(s)
					r.retire(s)
				}
				continue
			}
			if o.ifChanged && s.wanted && s.rel != rel && s.rel.same(image, rel.consumer) {
				continue // it runs it already, from a roll that was stopped later
			}
			ro.revives[s] = !s.wanted
			ro.queue = append(ro.queue, s)
		}
		for len(c.slots) < n {
			s := c.grow(now)
			s.rel = c.rel
			ro.queue = append(ro.queue, s)
		}
	}
	r.prune()
	ro.total = len(ro.queue)
	r.do(doLog{logrus.InfoLevel, "rolling restart begins", logrus.Fields{"workers": ro.total, "image": image.String()}})
	r.rollNext()
	return nil
}

// runs says that c is and all its workers are what a plan found: those that a roll
// reached before it was stopped differ from the others.
func (c *consumer) runs(image process.Image, wc wire.Consumer) bool {
	return c.rel.same(image, wc) && !slices.ContainsFunc(c.slots, func(s *slot) bool { return !s.rel.same(image, wc) })
}

// numbered makes the release of c that a plan found. It has the number of one that is
// the same.
func (r *registry) numbered(c *consumer, image process.Image, wc wire.Consumer) *release {
	rel := &release{number: r.releases + 1, image: image, consumer: wc}
	known := []*release{c.rel}
	for _, s := range c.slots {
		known = append(known, s.rel)
	}
	for _, k := range known {
		if k.same(image, wc) {
			rel.number = k.number
		}
	}
	return rel
}

// places is the number of slots that c is to have: all but those that are being
// scaled away, whose processes may still be there. Those given up count.
func (c *consumer) places() int {
	n := len(c.slots)
	for n > 0 && c.slots[n-1].scaledAway() {
		n--
	}
	return n
}

// scaledAway says that s is to have no process any more, or has none, because there are
// to be fewer; not that it was given up.
func (s *slot) scaledAway() bool {
	switch {
	case s.wanted:
		return false
	case s.cur != nil:
		return s.cur.stopping == stopScale
	}
	return s.idle == status.Exited
}

// rollNext takes the next slot, or ends the roll.
func (r *registry) rollNext() {
	ro := r.roll
	ro.cur, ro.was, ro.by = nil, nil, time.Time{}
	for len(ro.queue) > 0 {
		s := ro.queue[0]
		// One with status Fatal was given up since. What is started in a slot that its
		// consumer does not have any more nobody would know of.
		if slices.Contains(s.consumer.slots, s) && (s.wanted || ro.revives[s] || s.idle == status.Fatal) {
			break
		}
		ro.queue = ro.queue[1:] // scaled away since
		ro.total--
	}
	if len(ro.queue) == 0 {
		for c, rel := range ro.targets {
			c.rel = rel
		}
		r.roll = nil
		r.log(logrus.InfoLevel, "rolling restart is done", nil, logrus.Fields{"workers": ro.total})
		r.do(doRollEnd{})
		return
	}
	s := ro.queue[0]
	ro.queue = ro.queue[1:]
	ro.cur, ro.was = s, s.rel
	s.wanted = true
	r.progress(s, "restarting", fmt.Sprintf("%d of %d", ro.total-len(ro.queue), ro.total))
	rel := ro.targets[s.consumer]
	if s.cur == nil {
		r.rollStart(s)
		return
	}
	// The roll of the slot before may have made the group rebalance, so that this
	// one is joining. That a successor waits is good enough only where it waited.
	ro.wasRunning = s.cur.frame.State != status.Waiting
	if s.next != nil { // of an earlier roll, and on its way out: nobody would know of it any more
		r.put(s.next, overdue, string(stopSpare), killRung)
	}
	s.next = r.newProc(s, rel)
	r.do(doSpawn{s.next})
}

// standsBy says that the new process of the slot in turn has constructed its
// consumer: now the old one may go.
func (r *registry) standsBy(p *proc) {
	s := p.slot
	if r.roll == nil || r.roll.cur != s || s.next != p {
		return
	}
	if s.cur == nil { // died by itself meanwhile
		r.takeOver(s)
		return
	}
	// A dynamic member leaves, so that the group does not wait for it; the others'
	// places are taken over.
	r.stopProc(s.cur, stopRoll, s.cur.rel.dynamic())
}

// rollStart starts the new process of an empty slot.
func (r *registry) rollStart(s *slot) {
	ro := r.roll
	ro.wasRunning = true
	s.record = crashes{}
	r.start(s, ro.targets[s.consumer])
	r.rollDeadline()
}

// rollStopped says that the old process of the slot in turn is gone.
func (r *registry) rollStopped(s *slot) {
	s.restarts++
	r.restartsBy[string(stopRoll)]++
	switch ro := r.roll; {
	case ro == nil || ro.cur != s:
		r.start(s, s.rel) // the roll came to an end meanwhile
	case ro.failed != "":
		r.rollBack(s, ro.failed)
	case s.next == nil || s.next.stopping != "":
		r.rollStart(s) // scaled away meanwhile, and wanted again
	default:
		r.takeOver(s)
	}
}

// takeOver gives the slot to the process that stands by.
func (r *registry) takeOver(s *slot) {
	p := s.next
	s.cur, s.next = p, nil
	p.greeted, p.heard, p.since = r.now, r.now, r.now
	p.frame.State = status.Starting
	r.do(doGreet{p})
	r.rollDeadline()
}

func (r *registry) rollDeadline() {
	ro := r.roll
	rel := ro.targets[ro.cur.consumer]
	ro.by = r.now.Add(rel.config().WorkerBootTimeout)
	ro.latest = ro.by.Add(rel.joinLimit())
}

// rollFrame sees whether the new process has come to run.
func (r *registry) rollFrame(p *proc) {
	ro := r.roll
	if ro == nil || ro.cur != p.slot || p.slot.cur != p || ro.by.IsZero() || ro.failed != "" {
		return
	}
	switch p.frame.State {
	case status.Running, status.Quiet:
	case status.Waiting:
		if ro.wasRunning {
			return
		}
	case status.Joining:
		// The broker lets a join last until the others have come.
		if by := p.since.Add(p.rel.joinLimit()); by.After(ro.by) {
			ro.by = by
		}
		if ro.by.After(ro.latest) {
			ro.by = ro.latest
		}
		return
	default:
		return
	}
	p.slot.rel = p.rel
	ro.done++
	r.progress(p.slot, "restarted", fmt.Sprintf("%d of %d", ro.done, ro.total))
	r.rollNext()
}

// rollOverdue takes back a slot whose new process does not come to run.
func (r *registry) rollOverdue() {
	ro := r.roll
	if ro == nil || ro.by.IsZero() || r.now.Before(ro.by) || ro.failed != "" {
		return
	}
	p := ro.cur.cur
	if p == nil || !ro.cur.wanted { // scaled away: its end goes on with the roll
		return
	}
	ro.failed = fmt.Sprintf("%s did not come to run: it is %s", ro.cur.name(), p.frame.State)
	if p.frame.Detail != "" {
		ro.failed += " (" + p.frame.Detail + ")"
	}
	r.stopProc(p, stopRoll, p.rel.dynamic())
	p.killAt = r.now.Add(afterQuit)
}

// rollCrash says that a process died unasked. In the slot whose turn it is that
// ends the roll, unless it was the old one; then true is returned and the slot
// is taken care of.
func (r *registry) rollCrash(s *slot, p *proc, text string) bool {
	ro := r.roll
	if ro == nil || ro.cur != s {
		return false
	}
	if p.rel != ro.targets[s.consumer] {
		switch {
		case !s.wanted:
			return false
		case s.next == nil || s.next.stopping != "": // scaled away meanwhile, and wanted again
			r.rollStart(s)
		default: // the old one died while the new one stands by
			r.takeOver(s)
		}
		return true
	}
	r.rollBack(s, fmt.Sprintf("%s died: %s", s.name(), text))
	return true
}

// rollFailed says that the process that was to take over is not there.
func (r *registry) rollFailed(s *slot, why string) {
	if r.roll == nil || r.roll.cur != s {
		return
	}
	if s.cur == nil {
		r.rollBack(s, why)
		return
	}
	r.endRoll(fmt.Errorf("%s: %s; %w", s.name(), why, errRolledBack))
}

var errRolledBack = errors.New("the rolling restart was stopped, and this worker goes on with what ran before")

// rollBack starts in a slot what it ran before, and ends the roll.
func (r *registry) rollBack(s *slot, why string) {
	was := r.roll.was
	s.rel = was
	r.start(s, was)
	r.endRoll(fmt.Errorf("%s; %w", why, errRolledBack))
}

// abortRoll ends a roll for an outer reason.
func (r *registry) abortRoll(err error) {
	if r.roll != nil {
		r.endRoll(err)
	}
}

func (r *registry) endRoll(err error) {
	if s := r.roll.cur; s != nil {
		r.dropNext(s) // nobody would ever hand the slot over to it
	}
	r.roll = nil
	r.do(doLog{logrus.ErrorLevel, "rolling restart was stopped", logrus.Fields{"reason": err.Error()}})
	r.do(doRollEnd{err})
	for _, c := range r.consumers { // one that was given up before and not revived still is
		if c.fatal == "" && r.ending == nil && !slices.ContainsFunc(c.slots, func(s *slot) bool { return s.wanted }) {
			c.fatal = err.Error()
		}
	}
}
