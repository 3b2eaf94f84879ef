package ctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
)

// selection are the dead letters that a command takes: those of a group, or all,
// of which each is known to have been replayed or not.
type selection struct {
	k      *cluster
	topic  string
	group  string                         // empty: of all groups
	by     map[string]map[int32]*progress // by the group whose they are; "": of all
	others int                            // records seen that are another group's, or nobody's
}

func (k *cluster) selection(ctx context.Context, topic, group string) (*selection, error) {
	s := &selection{k: k, topic: topic, group: group, by: map[string]map[int32]*progress{}}
	for _, g := range []string{"", group} {
		if err := s.read(ctx, g); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *selection) read(ctx context.Context, group string) (err error) {
	if s.by[group] == nil {
		s.by[group], err = s.k.progress(ctx, s.topic, group)
	}
	return err
}

// own is the progress that this selection's replay commits.
func (s *selection) own(partition int32) *progress {
	p := s.by[s.group][partition]
	if p == nil { // the partition was added meanwhile
		p = &progress{}
		s.by[s.group][partition] = p
	}
	return p
}

// begin is where reading begins, by partition.
func (s *selection) begin() map[kafka.TopicPartition]int64 {
	from := map[kafka.TopicPartition]int64{}
	for n, p := range s.by[s.group] {
		from[kafka.TopicPartition{Topic: s.topic, Partition: n}] = p.begin()
	}
	return from
}

// takes reports whether a record is one of the selection, and whether it has been
// replayed, by a replay of its group or of all groups.
func (s *selection) takes(ctx context.Context, d deadLetter) (mine, done bool, err error) {
	if s.group != "" && d.group() != s.group {
		s.others++
		return false, false, nil
	}
	for _, g := range []string{"", s.group, d.group()} {
		if err := s.read(ctx, g); err != nil {
			return true, false, err
		}
		if p := s.by[g][d.Partition]; p != nil && p.done(d.Offset) {
			return true, true, nil
		}
	}
	return true, false, nil
}

// record names a record of a dead-letter topic, as --skip takes it.
type record struct {
	partition int32
	offset    int64
}

// String is PARTITION/OFFSET.
func (r record) String() string { return fmt.Sprintf("%d/%d", r.partition, r.offset) }

// UnmarshalText reads PARTITION/OFFSET.
func (r *record) UnmarshalText(text []byte) error {
	if _, err := fmt.Sscanf(string(text)+"\n", "%d/%d\n", &r.partition, &r.offset); err != nil || r.partition < 0 || r.offset < 0 {
		return fmt.Errorf("%q: expected PARTITION/OFFSET, as dlq list shows it", text)
	}
	return nil
}

// replayer sends dead letters back, each exactly once: the messages and the
// progress are written in one transaction, and the transactional id keeps two from
// doing so at once. A record that cannot be sent is left for the next replay.
type replayer struct {
	*selection
	subject  *subject
	to       string // empty: where each came from
	anyTopic bool
	only     string // empty: from any topic
	skip     []record
	keepTime bool
	dry      bool
	producer *producer.TxnProducer // nil: a dry run
	topics   map[string]error      // nil: the topic may be sent to; asked once
	parts    map[string][]int32

	batch     []outgoing // not sent yet: for the progress they are left
	committed map[int32]kafka.Commit
	sent      int
	dryRun    []string // the messages that would be sent
	unsent    []string // why records were left
	failed    bool     // a transaction failed: nothing more is sent
}

// outgoing is a message and the record it was.
type outgoing struct {
	record
	m producer.Message
}

// replayBatch is how many messages go into one transaction.
const replayBatch = 500

// add takes a record; when enough are there they are sent.
func (r *replayer) add(ctx context.Context, d deadLetter) error {
	at := record{d.Partition, d.Offset}
	mine, done, err := r.takes(ctx, d)
	switch {
	case err != nil:
		return err
	case !mine || done || slices.Contains(r.skip, at):
		r.own(d.Partition).pass(d.Offset)
		return nil
	case r.only != "" && d.about("topic") != r.only:
		return r.own(d.Partition).markUnsent(d.Offset)
	}
	m, err := r.message(ctx, d)
	var cannot *unsendableError
	if errors.As(err, &cannot) {
		return r.markUnsent(at, cannot)
	}
	if err != nil {
		return err
	}
	r.batch = append(r.batch, outgoing{at, m})
	if len(r.batch) < replayBatch {
		return nil
	}
	return r.flush(ctx)
}

// markUnsent notes that a record could not be sent, and why.
func (r *replayer) markUnsent(at record, why error) error {
	if err := r.own(at.partition).markUnsent(at.offset); err != nil {
		return err
	}
	r.unsent = append(r.unsent, fmt.Sprintf("%s: %v", at, why))
	return nil
}

// unsendableError says why a record cannot be replayed, while others can.
type unsendableError struct{ reason string }

func (e *unsendableError) Error() string { return e.reason }

// message returns the original message of a record, addressed to the topic it goes to.
func (r *replayer) message(ctx context.Context, d deadLetter) (producer.Message, error) {
	m := d.replayed()
	if left := d.about("truncated"); left != "" { // without its value it would be a tombstone
		return m, &unsendableError{"it was too large for the dead-letter topic, which lacks its " + left}
	}
	if r.keepTime {
		m.Timestamp = d.timestamp()
	}
	m.Topic = r.to
	from, _, ok := d.origin()
	if r.to == "" {
		if !ok {
			return m, &unsendableError{"the record does not say where it came from; use --to TOPIC"}
		}
		m.Topic = from.Topic
	}
	if err := r.mayGo(ctx, m.Topic); err != nil {
		return m, err
	}
	// To the partition it came from, so that it stays among its like; if that is
	// gone, or for another topic, as the configured partitioner says.
	if r.to == "" && slices.Contains(r.parts[m.Topic], from.Partition) {
		m.Partition = &from.Partition
	}
	if r.producer != nil {
		if err := r.producer.Check(m); err != nil {
			return m, &unsendableError{err.Error()}
		}
	}
	return m, nil
}

// mayGo is an error when nothing may be sent to a topic. Where a record came from
// is what its headers say, which anybody may have written who can produce to the
// dead-letter topic: with the rights of the operator it must not get further than
// to the consumer's own topics.
func (r *replayer) mayGo(ctx context.Context, topic string) error {
	err, known := r.topics[topic]
	if known {
		return err
	}
	switch {
	case strings.HasPrefix(topic, internalPrefix):
		err = &unsendableError{fmt.Sprintf("topic %q is internal to Kafka", topic)}
	case topic == r.topic:
		err = &unsendableError{fmt.Sprintf("topic %q is the dead-letter topic itself", topic)}
	case r.to == "" && !r.anyTopic && !r.subject.subscribes(topic):
		err = &unsendableError{fmt.Sprintf("the consumer does not subscribe to topic %q; use --any-topic or --to TOPIC", topic)}
	default:
		r.parts[topic], err = r.k.partitions(topic)
		if errors.Is(err, errNoTopic) {
			err = &unsendableError{err.Error()}
		} else if err != nil {
			return err
		}
	}
	r.topics[topic] = err
	return err
}

// internalPrefix begins the names of the topics that Kafka keeps for itself.
const internalPrefix = "__"

// flush sends the batch and commits the progress.
func (r *replayer) flush(ctx context.Context) error {
	if r.dry {
		for _, o := range r.batch {
			to := o.m.Topic
			if o.m.Partition != nil {
				to = fmt.Sprintf("%s/%d", to, *o.m.Partition)
			}
			r.dryRun = append(r.dryRun, fmt.Sprintf("%s → %s", o.record, to))
		}
		r.sent += len(r.batch)
		r.batch = r.batch[:0]
		return nil
	}
	err := r.send(ctx, slices.Clone(r.batch))
	if err == nil && !maps.Equal(r.progress(nil), r.committed) {
		_, err = r.transaction(ctx, nil)
	}
	r.failed = err != nil
	return err
}

// send sends some of the batch. When the broker refuses it as a whole, it is sent in
// halves, so that only refused records are left.
func (r *replayer) send(ctx context.Context, some []outgoing) error {
	if len(some) == 0 {
		return nil
	}
	refused, err := r.transaction(ctx, some)
	switch {
	case err == nil:
		for _, o := range some {
			r.own(o.partition).pass(o.offset)
		}
		r.sent += len(some)
	case !refused:
		return err
	case len(some) == 1:
		if err := r.markUnsent(some[0].record, err); err != nil {
			return err
		}
	default:
		half := len(some) / 2
		if err := r.send(ctx, some[:half]); err != nil {
			return err
		}
		return r.send(ctx, some[half:])
	}
	r.batch = slices.DeleteFunc(r.batch, func(o outgoing) bool { return slices.ContainsFunc(some, o.same) })
	return nil
}

func (o outgoing) same(other outgoing) bool { return o.record == other.record }

// progress returns the commits that go with some of the batch.
func (r *replayer) progress(some []outgoing) map[int32]kafka.Commit {
	all := map[int32]kafka.Commit{}
	for n, own := range r.by[r.group] {
		p := progress{next: own.next, left: slices.Clone(own.left)}
		for _, o := range r.batch {
			switch {
			case o.partition != n:
			case slices.ContainsFunc(some, o.same):
				p.pass(o.offset)
			case o.offset < p.next: // later records are done already
				p.keep(o.offset)
			}
		}
		all[n] = p.commit()
	}
	return all
}

// transaction sends some of the batch and the progress as one. refused says that
// it failed because of its messages.
func (r *replayer) transaction(ctx context.Context, some []outgoing) (refused bool, err error) {
	p := r.producer
	if err := p.Begin(ctx); err != nil {
		return false, fmt.Errorf("begin transaction: %w", err)
	}
	next := r.progress(some)
	err = r.fill(ctx, some, next)
	if err == nil {
		err = p.Commit(ctx)
	}
	if err == nil {
		r.committed = next
		return false, nil
	}
	t, ok := errors.AsType[*producer.TxnError](err)
	switch {
	case ok && t.Kind == producer.TxnFenced:
		return false, fmt.Errorf("another replay of %q has taken over: %w", r.topic, err)
	case ok && (t.Kind == producer.TxnUnknown || t.Kind == producer.TxnFatal):
		return false, fmt.Errorf("replay: %w", err)
	}
	if aerr := p.Abort(ctx); aerr != nil {
		return false, errors.Join(fmt.Errorf("replay: %w", err), aerr)
	}
	if ok && t.Refused() {
		return true, t.Err
	}
	return false, fmt.Errorf("replay: %w", err)
}

// fill puts messages and progress into the transaction.
func (r *replayer) fill(ctx context.Context, some []outgoing, next map[int32]kafka.Commit) error {
	for _, o := range some {
		if err := r.producer.Send(ctx, o.m, nil); err != nil {
			return err
		}
	}
	offsets := map[kafka.TopicPartition]kafka.Commit{}
	for n, c := range next {
		offsets[kafka.TopicPartition{Topic: r.topic, Partition: n}] = c
	}
	return r.producer.SendOffsets(replayGroup(r.topic, r.group), kafka.NoMember, offsets)
}

// subscriptionsOf are the topics that a group is known to consume because it has
// committed offsets there.
func subscriptionsOf(committed map[kafka.TopicPartition]kafka.Commit) []string {
	topics := map[string]bool{}
	for p := range committed {
		topics[p.Topic] = true
	}
	return slices.Sorted(maps.Keys(topics))
}
