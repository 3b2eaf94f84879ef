package worker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// deadLetters are messages on their way to the dead-letter topic. Their partition
// stays where it is until all of them are acknowledged.
type deadLetters struct {
	w        *worker
	p        *partition
	call     span
	topic    string
	cause    error // why they go there
	attempts int
	records  []*deadLetter
	out      []*outMessage // what their call produced for a transaction: it is committed with them
	slow     stopper       // reports after a while that they are still on their way; nil: not sent yet

	left    int  // records on their way; guarded by scheduler.mu
	waiting bool // they are sent again once the partition's pause is over; guarded by scheduler.mu
}

// deadLetter is one of them.
type deadLetter struct {
	message   *racecar.Message
	truncated bool // it goes without what makes it too large
	keyed     bool // it goes with a key that its message has not

	// Guarded by scheduler.mu.
	acknowledged bool
	err          error
}

// deadLetter sends messages to the dead-letter topic; the partition goes on
// behind them once all are acknowledged. The executor owns p.
func (w *worker) deadLetter(p *partition, call span, err error, attempts int, out []*outMessage) {
	d := &deadLetters{w: w, p: p, call: call, topic: w.cfg.DeadLetterTopic, cause: err, attempts: attempts, out: out}
	d.begin()
}

// begin sends the messages as they were received: if consumer code has changed them, once
// they were fetched again. The executor owns the partition.
func (d *deadLetters) begin() {
	w, p := d.w, d.p
	messages, ok := p.cursor.messages(d.call)
	if !ok {
		if p.undisposed == d { // not all of them have come yet
			w.scheduler.holdFor(p, retryFloor, heldBy{hold: holdBackoff, reason: "fetching what goes to the dead-letter topic again"})
		}
		p.undisposed = d
		return
	}
	p.undisposed = nil
	for i := range messages {
		m := &messages[i]
		if w.liesThere(p, m) {
			continue
		}
		d.records = append(d.records, &deadLetter{message: m, keyed: m.Key == nil && w.compacted.Load()})
	}
	if len(d.records) == 0 {
		p.advance(d.call, d.out)
		return
	}
	p.deadLetters = d
	d.send()
}

// liesThere reports whether a message lies in a dead-letter topic already, and is skipped:
// a copy in another one would come back to whoever consumes by pattern, and multiply.
func (w *worker) liesThere(p *partition, m *racecar.Message) bool {
	if !p.m.bringsIn(m.Topic) || !isDeadLetter(m) {
		return false
	}
	w.stats.Add(scoreboard.Skipped, 1)
	if _, logged := w.deadLettersMet.LoadOrStore(m.Topic, true); !logged {
		w.partLog(p).WithField("offset", m.Offset).Warn("the pattern of a subscription matches a dead-letter topic: what fails of it is skipped, since it lies there already")
	}
	return true
}

// isDeadLetter reports whether a message says that it was dead-lettered elsewhere.
func isDeadLetter(m *racecar.Message) bool {
	topic, ok := m.Header(headerPrefix + "topic")
	return ok && string(topic) != m.Topic
}

// headerPrefix begins the names of what a worker adds to a dead-letter record.
const headerPrefix = "racecar-dlq-"

// send sends what is not acknowledged yet. The executor owns the partition.
func (d *deadLetters) send() {
	p := d.p
	var left []*deadLetter
	for _, r := range d.records {
		if !r.acknowledged {
			r.err = nil
			left = append(left, r)
		}
	}
	p.inst.delivery.sendDeadLetters(d, left)
}

// awaited is what d's partition waits for, as the status has it.
func (d *deadLetters) awaited() string { return "waiting for the dead-letter topic " + d.topic }

// deadLetterSlow is after how long undelivered dead letters are logged.
const deadLetterSlow = 5 * time.Second

// recordDone notes what became of a record; after the last the executor looks at them.
func (d *deadLetters) recordDone(r *deadLetter, err error) {
	p := d.p
	d.w.scheduler.change(func() {
		r.acknowledged, r.err = err == nil, err
		d.left--
		if d.left > 0 {
			return
		}
		d.w.scheduler.unhold(p, holdDeadLetters)
		poke(p.settled)
	})
}

// deadLettersEnded is called by the executor, which owns p again, and at the end of p.
func (w *worker) deadLettersEnded(p *partition) {
	d := p.deadLetters
	d.slow.Stop()
	if d.failed() {
		return
	}
	p.deadLetters = nil
	d.report()
	p.advance(d.call, nil)
	p.inst.delivery.commitAsync(p)
}

// failed deals with the records that were not acknowledged, and is false when there are
// none. They are sent again, after a pause or changed so that their topic takes them.
func (d *deadLetters) failed() bool {
	var worst action
	for _, r := range d.records {
		if r.err == nil {
			continue
		}
		a := decide(d.outcome(r), d.attempts, &d.w.cfg)
		switch {
		case a.step == stepTruncate:
			r.truncated = true
		case a.step == stepKey:
			r.keyed = true
		}
		if worst.step < a.step {
			worst = a
		}
	}
	switch worst.step {
	case stepDone:
		return false
	case stepTruncate, stepKey:
		d.w.partLog(d.p).WithError(bounded(worst.err)).WithField("offset", d.call.first).
			Warn("the dead-letter topic does not take the record as it is: it is sent without its value, or with a key")
		d.send()
	default:
		d.wait(worst)
	}
	return true
}

// outcome is what a record's failure is to decide.
func (d *deadLetters) outcome(r *deadLetter) outcome {
	o := outcome{event: eventDeadLetterUndelivered, err: r.err, messages: 1, truncated: r.truncated, keyed: r.keyed || r.message.Key != nil}
	switch {
	case !refusedDelivery(r.err):
	case errors.Is(r.err, sarama.ErrMessageSizeTooLarge), errors.Is(r.err, sarama.ErrMessageSetSizeTooLarge):
		o.event = eventDeadLetterTooLarge
	case errors.Is(r.err, sarama.ErrInvalidRecord):
		o.event = eventDeadLetterInvalid
	default:
		o.event = eventDeadLetterRefused
	}
	return o
}

// blockedPause is how often a record is sent again that its topic has refused.
const blockedPause = time.Minute

// wait pauses the partition before the records are sent again.
func (d *deadLetters) wait(a action) {
	w, p := d.w, d.p
	pause, kind := max(time.Second, pauseFor(&w.cfg, 1, func() float64 { return 0.5 })), holdBackoff
	if a.step == stepBlock {
		pause, kind = blockedPause, holdRefused
	}
	reason := fmt.Errorf("the dead-letter topic %s does not take the message: %w", d.topic, a.err)
	w.partLog(p).WithError(bounded(reason)).WithField("offset", d.call.first).WithField("pause", pauseText(pause)).
		Error("dead letter not delivered, to be sent again after the pause, or when its partition is resumed")
	w.problem(p.topicPartition, d.call.first, reason)
	w.scheduler.change(func() { d.waiting = true })
	w.pause(p, kind, pause, reason)
}

// report says that they are in the dead-letter topic.
func (d *deadLetters) report() {
	w := d.w
	w.stats.Add(scoreboard.DeadLetters, uint64(len(d.records)))
	w.partLog(d.p).WithField("offset", d.call.first).WithField("messages", len(d.records)).Warn("dead-lettered")
	for _, r := range d.records {
		w.emit(event.DeadLetter{Consumer: w.reg.Name(), Group: w.group, Message: r.message, DeadLetterTopic: d.topic, Attempts: d.attempts, Err: d.cause})
	}
}

// refusedInTransaction deals with the abort of a transaction that held d and nothing
// else: one of the messages was refused. Which of several records of a batch is
// too large the broker does not tell: the largest is truncated.
func (d *deadLetters) refusedInTransaction(refused []*outMessage, err error) {
	var largest *deadLetter
	for _, o := range refused {
		r := o.deadLetter
		if r == nil {
			continue
		}
		if r.err = err; largest == nil || len(r.message.Value) > len(largest.message.Value) {
			largest = r
		}
	}
	if d.outcome(largest).event == eventDeadLetterTooLarge {
		for _, r := range d.records {
			if r != largest {
				r.err = nil
			}
		}
	}
	d.p.deadLetters = d
	d.failed()
}

// ensureDeadLetterTopic ensures that the dead-letter topic exists before anything is
// consumed: at the first dead letter it would be too late to find out. nil where none is
// configured.
func (m *membership) ensureDeadLetterTopic() error {
	topic := m.w.cfg.DeadLetterTopic
	if topic == "" || m.w.deadLetterTopic.Load() {
		return nil
	}
	created, err := m.client.EnsureTopic(topic)
	if refused, ok := errors.AsType[*kafka.TopicError](err); ok {
		return &access.ConfigError{
			Key:     "dead_letter_topic",
			Problem: "the " + refused.Error() + "; create it, have the ACL operations Create and Write allowed on it, or name another one",
		}
	}
	if err != nil {
		return fmt.Errorf("dead-letter topic: %w", err)
	}
	if created {
		m.log.WithField("topic", topic).Info("dead-letter topic created")
	}
	if compacted, err := m.client.Compacted(topic); err != nil {
		m.log.WithError(err).Debug("looking whether the dead-letter topic is compacted")
	} else if compacted {
		m.w.compacted.Store(true)
		m.log.WithField("topic", topic).Warn("the dead-letter topic is compacted: of dead letters with the same key it keeps the last; set cleanup.policy=delete for it")
	}
	m.w.deadLetterTopic.Store(true)
	return nil
}

// record is r as it is sent: the message's key, value and headers, and ours. Those of
// an earlier time in a dead-letter topic are replaced, but for where the message first
// came from; a message that came from elsewhere may say what it likes.
func (w *worker) record(d *deadLetters, r *deadLetter) producer.Message {
	m := r.message
	out := producer.Message{Topic: d.topic, Key: m.Key, Value: m.Value, AnySize: true}
	earlier := map[string]string{}
	for _, h := range m.Headers {
		if name, ours := strings.CutPrefix(h.Key, headerPrefix); ours {
			earlier[name] = string(h.Value)
		} else {
			out.Headers = append(out.Headers, producer.Header{Key: h.Key, Value: h.Value})
		}
	}
	own := len(out.Headers)
	add := func(name, value string) {
		out.Headers = append(out.Headers, producer.Header{Key: headerPrefix + name, Value: []byte(value)})
	}
	keep := func(name, value string) { add(name, value) }
	if earlier["topic"] != "" && w.isDeadLetterTopic(m.Topic) {
		keep = func(name, _ string) { add(name, earlier[name]) }
	} else {
		clear(earlier)
	}
	keep("topic", m.Topic)
	keep("partition", strconv.Itoa(int(m.Partition)))
	keep("offset", strconv.FormatInt(m.Offset, 10))
	keep("timestamp", m.Timestamp.UTC().Format(time.RFC3339Nano))
	add("group", w.group)
	add("error", errorText(d.cause))
	add("attempts", strconv.Itoa(d.attempts))
	add("at", time.Now().UTC().Format(time.RFC3339Nano))
	switch {
	case r.keyed:
		out.Key = fmt.Appendf(nil, "%s/%d/%d", m.Topic, m.Partition, m.Offset)
		add("no-key", "true")
	case earlier["no-key"] != "":
		add("no-key", "true")
	}
	left := earlier["truncated"]
	if r.truncated {
		left = truncate(&out, own)
	}
	if left != "" {
		add("truncated", left)
	}
	return out
}

// keptWhenTruncated bounds each part that a truncated record keeps.
const keptWhenTruncated = 64 << 10

// truncate takes from a record what can make it too large: the value, and of its
// message's own headers and key what is large as well. It says what was left out.
func truncate(m *producer.Message, own int) string {
	left := []string{"value"}
	m.Value = nil
	size := 0
	for _, h := range m.Headers[:own] {
		size += len(h.Key) + len(h.Value)
	}
	if size > keptWhenTruncated {
		left = append(left, "headers")
		m.Headers = m.Headers[own:]
	}
	if len(m.Key) > keptWhenTruncated {
		left = append(left, "key")
		m.Key = nil
	}
	return strings.Join(left, ",")
}

// maxErrorText bounds the text of an error that came from consumer code, which may
// hold a whole message.
const maxErrorText = 4 << 10

// bounded is err as logs have it.
func bounded(err error) error {
	if text := err.Error(); len(text) > maxErrorText {
		return errors.New(errorText(err))
	}
	return err
}

// errorText is err as dead-letter records have it.
func errorText(err error) string {
	s := err.Error()
	if len(s) <= maxErrorText {
		return s
	}
	n := maxErrorText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (cut, %d bytes)", s[:n], len(s))
}

// deadLettersOf returns what is on its way, or was, for a partition that no executor owns.
func (t *scheduler) deadLettersOf(p *partition) *deadLetters {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.deadLetters == nil || p.deadLetters.waiting {
		return nil
	}
	return p.deadLetters
}

// under reports whether some are still on their way.
func (d *deadLetters) under(t *scheduler) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return d.left > 0
}

// ended reports whether an executor has to look at what became of them. Called with
// scheduler.mu held.
func (d *deadLetters) ended() bool { return d.left == 0 && !d.waiting }
