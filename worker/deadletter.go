package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
)

// deadLetter sends messages to the dead-letter topic; the partition goes on
// behind them once all are acknowledged, and stays where it is until then. The
// executor owns p.
func (w *worker) deadLetter(p *partition, messages []*sarama.ConsumerMessage, err error, attempts int) {
	topic := w.cfg.DeadLetterTopic
	if topic == "" {
		w.partLog(p).WithField("offset", messages[0].Offset).
			Error("the message is to be dead-lettered, but no dead_letter_topic is configured: it is retried instead")
		w.pause(p, pauseFor(&w.cfg, attempts, func() float64 { return 0.5 }), err)
		p.m.commits.soon(p)
		return
	}
	if p.inst.txn != nil {
		w.deadLetterInTransaction(p, messages, topic, err, attempts)
		return
	}
	d := &deadLetters{w: w, p: p, left: len(messages), messages: messages, topic: topic, cause: err, attempts: attempts}
	p.letters = d
	d.slow = w.turns.clock.after(letterSlow, func() {
		if d.under(w.turns) {
			w.partLog(p).WithField("offset", messages[0].Offset).WithField("dead_letter_topic", topic).
				Warn("the dead-letter topic does not take the message: the partition waits for it")
		}
	})
	w.turns.change(func() {
		p.state, p.reason, p.blocked = status.PartitionBlocked, "waiting for the dead-letter topic "+topic, true
	})
	t, terr := w.transport()
	if terr != nil {
		d.left = 1
		d.ended(terr)
		return
	}
	go func() { // Send may wait for room; the executor may not
		for _, m := range messages {
			out := kafka.ProducerMessage{Topic: topic, Key: m.Key, Value: m.Value, Headers: w.letterHeaders(m, err, attempts)}
			if serr := t.Send(context.Background(), out, func(_ int32, _ int64, err error) { d.ended(err) }); serr != nil {
				d.ended(serr)
			}
		}
	}()
}

// letterSlow is after how long dead letters on their way are worth a word.
const letterSlow = 5 * time.Second

// deadLetters are messages on their way to the dead-letter topic.
type deadLetters struct {
	w        *worker
	p        *partition
	messages []*sarama.ConsumerMessage
	topic    string
	cause    error // why they go there
	attempts int
	slow     stopper // says after a while that they are still on their way
	left     int     // guarded by turns.mu
	err      error   // the first failure; guarded by turns.mu
}

// ended counts one down; with the last the partition goes on, or tries again.
func (d *deadLetters) ended(err error) {
	p := d.p
	d.w.turns.change(func() {
		if err != nil && d.err == nil {
			d.err = err
		}
		d.left--
		if d.left > 0 {
			return
		}
		p.blocked = false
		p.signal(attentionLetters)
		poke(p.settled)
	})
}

// lettersEnded is called by the executor, which owns p again.
func (w *worker) lettersEnded(p *partition) {
	d := p.letters
	p.letters = nil
	d.slow.Stop()
	p.unsignal(attentionLetters)
	if d.err != nil {
		w.partLog(p).WithError(d.err).WithField("offset", d.messages[0].Offset).Error("dead letter not delivered, to be tried again")
		w.problem(p.tp, d.messages[0].Offset, d.err)
		w.pause(p, max(time.Second, pauseFor(&w.cfg, 1, func() float64 { return 0.5 })), d.err)
		return
	}
	d.tell()
	p.advance(d.messages)
	p.m.commits.soon(p)
}

// tell says that they are in the dead-letter topic.
func (d *deadLetters) tell() {
	w := d.w
	w.stats.add(statDeadLetters, uint64(len(d.messages)))
	w.partLog(d.p).WithField("offset", d.messages[0].Offset).WithField("messages", len(d.messages)).Warn("dead-lettered")
	for _, m := range convertAll(d.messages) {
		w.emit(racecar.DeadLetterEvent{Consumer: w.reg.Name(), Group: w.group, Message: &m, DeadLetterTopic: d.topic, Attempts: d.attempts, Err: d.cause})
	}
}

// deadLetterInTransaction is deadLetter for transactional consumers: the letters
// and the offset after their messages go into one transaction.
func (w *worker) deadLetterInTransaction(p *partition, messages []*sarama.ConsumerMessage, topic string, err error, attempts int) {
	d := &deadLetters{w: w, p: p, messages: messages, topic: topic, cause: err, attempts: attempts}
	letters := make([]kafka.ProducerMessage, len(messages))
	for i, m := range messages {
		letters[i] = kafka.ProducerMessage{Topic: topic, Key: m.Key, Value: m.Value, Headers: w.letterHeaders(m, err, attempts)}
	}
	w.turns.change(func() {
		p.state, p.reason = status.PartitionBlocked, "waiting for the dead-letter topic "+topic
	})
	p.inst.txn.deadLetter(p, messages, letters, d.tell)
	p.moveOver(messages)
}

// letterBox sees to it that the dead-letter topic is there before anything is
// consumed: when it is needed it is too late to find out that it is not. nil where
// none is configured.
func (m *membership) letterBox() error {
	topic := m.w.cfg.DeadLetterTopic
	if topic == "" || m.w.letterBox.Load() {
		return nil
	}
	created, err := m.client.EnsureTopic(topic)
	if refused, ok := errors.AsType[*kafka.TopicError](err); ok {
		return &kafka.ConfigError{
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
	m.w.letterBox.Store(true)
	return nil
}

// letterHeaders are the message's own, and ours.
func (w *worker) letterHeaders(m *sarama.ConsumerMessage, err error, attempts int) []kafka.Header {
	hs := make([]kafka.Header, 0, len(m.Headers)+8)
	for _, h := range m.Headers {
		hs = append(hs, kafka.Header{Key: string(h.Key), Value: h.Value})
	}
	add := func(name, value string) {
		hs = append(hs, kafka.Header{Key: "racecar-dlq-" + name, Value: []byte(value)})
	}
	add("topic", m.Topic)
	add("partition", strconv.Itoa(int(m.Partition)))
	add("offset", strconv.FormatInt(m.Offset, 10))
	add("timestamp", m.Timestamp.UTC().Format(time.RFC3339Nano))
	add("group", w.group)
	add("error", err.Error())
	add("attempts", strconv.Itoa(attempts))
	add("at", time.Now().UTC().Format(time.RFC3339Nano))
	return hs
}

// lettersOf returns what is on its way for a partition that no executor owns.
func (t *turns) lettersOf(p *partition) *deadLetters {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.letters
}

// under reports whether some are still on their way.
func (d *deadLetters) under(t *turns) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return d.left > 0
}
