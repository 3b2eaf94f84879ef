package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"Show the dead letters"`
	Replay dlqReplayCmd `cmd:"" help:"Send each dead letter back to its topic, once even if run repeatedly"`
}

// deadLetters are the flags that say which dead letters are meant.
type deadLetters struct {
	Consumer  string `arg:"" optional:"" help:"The consumer (default: the only one that runs)"`
	Topic     string `short:"t" placeholder:"TOPIC" help:"The dead-letter topic (default: the consumer's)"`
	Group     string `placeholder:"ID" help:"The consumer group (default: the consumer's)"`
	AllGroups bool   `help:"Include the dead letters of other groups"`
	supervisorFlags
	connection
}

// subject returns the consumer group that is meant and its dead-letter topic.
func (c *deadLetters) subject(ctx context.Context, a *app) (s *subject, topic string, err error) {
	s, err = a.subject(ctx, c.supervisorFlags, c.connection, c.Consumer, c.Group)
	if c.Topic != "" && c.Consumer == "" && c.Group == "" { // it says enough
		if err != nil {
			s = &subject{}
			var loaded *config.Loaded
			if loaded, err = a.load(c.connection, ""); err == nil {
				s.conf = &loaded.Config
			}
		}
		s.group, s.spec, s.topics, s.patterns = "", false, nil, nil
	}
	var unknown *unknownConsumerError
	if errors.As(err, &unknown) {
		err = fmt.Errorf("%w; with --group, --topic names a dead-letter topic that is not ID.dlq", err)
	}
	if err != nil {
		return nil, "", err
	}
	topic = cmp.Or(c.Topic, s.deadLetterTopic())
	if topic == "" {
		return nil, "", errors.New("no supervisor is running: name a consumer, or give --topic or --group")
	}
	return s, topic, nil
}

// choose selects the dead letters that are meant. It returns nil when the topic is
// a consumer's own and not there yet: then there are none.
func (c *deadLetters) choose(ctx context.Context, a *app, k *cluster, s *subject, topic string) (*selection, error) {
	group := s.group
	if c.AllGroups {
		group = ""
	}
	sel, err := k.selection(ctx, topic, group)
	if errors.Is(err, errNoTopic) && c.Topic == "" && s.spec {
		a.note("=> There is no topic %q: the consumer has dead-lettered nothing yet\n", topic)
		return nil, nil
	}
	if errors.Is(err, errNoTopic) && c.Topic == "" {
		err = fmt.Errorf("%w; --topic names another one", err)
	}
	return sel, err
}

// noteOthers says that the topic holds more than was taken.
func (s *selection) noteOthers(a *app) {
	if s.others > 0 {
		a.note("=> %s of other groups ignored; use --all-groups to include them\n", plural(s.others, "record"))
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

type dlqListCmd struct {
	deadLetters
	JSON  bool `help:"Print each as a line of JSON, with key, value and headers"`
	New   bool `help:"Only dead letters that were not replayed yet"`
	Limit int  `default:"0" placeholder:"N" help:"Take at most N"`
}

// deadLetterJSON is a line of dlq list --json.
type deadLetterJSON struct {
	recordJSON
	Group    string `json:"group"`
	Replayed bool   `json:"replayed"`
}

// Run lists the dead letters that are in the topic now.
func (c *dlqListCmd) Run(ctx context.Context, a *app) error {
	s, topic, err := c.subject(ctx, a)
	if err != nil {
		return err
	}
	k, err := connect(ctx, s.conf)
	if err != nil {
		return err
	}
	defer k.close()
	sel, err := c.choose(ctx, a, k, s, topic)
	if sel == nil {
		return err
	}
	ranges, err := k.ranges(topic, nil)
	if err != nil {
		return err
	}
	var rows [][]string
	n := 0
	err = k.read(ctx, ranges, func(m *racecar.Message) error {
		d := deadLetter{m}
		mine, replayed, err := sel.takes(ctx, d)
		if err != nil || !mine || replayed && c.New {
			return err
		}
		if n++; c.Limit > 0 && n > c.Limit {
			return errEnough
		}
		if c.JSON {
			return a.jsonLine(deadLetterJSON{jsonOf(m), d.group(), replayed})
		}
		rows = append(rows, row(d, replayed, a.now()))
		return nil
	})
	if err == nil && !c.JSON {
		width, _ := terminal(a.out)
		a.lines(view.Table([]view.Column{
			{Title: "RECORD", Right: true}, {Title: "FROM", Middle: true}, {Title: "GROUP", Middle: true}, {Title: "KEY", Flexible: true},
			{Title: "TRIES", Right: true}, {Title: "AGE", Right: true}, {Title: "", Optional: true}, {Title: "ERROR", Flexible: true},
		}, rows, width))
	}
	sel.noteOthers(a)
	return err
}

func row(d deadLetter, replayed bool, now time.Time) []string {
	from, key, mark := view.Unknown, view.Unknown, ""
	if p, offset, ok := d.origin(); ok {
		from = fmt.Sprintf("%s@%d", p, offset)
	}
	if d.Key != nil {
		key = string(d.Key)
	}
	switch {
	case replayed:
		mark = "replayed"
	case d.about("truncated") != "":
		mark = "truncated"
	}
	return []string{
		record{d.Partition, d.Offset}.String(), from, cmp.Or(d.group(), view.Unknown), key,
		d.about("attempts"), age(d, now), mark, d.about("error"),
	}
}

func age(d deadLetter, now time.Time) string {
	at, err := time.Parse(time.RFC3339Nano, d.about("at"))
	if err != nil {
		at = d.Timestamp
	}
	return view.Duration(now.Sub(at))
}

type dlqReplayCmd struct {
	deadLetters
	To             string   `placeholder:"TOPIC" help:"Send them there (default: where each came from)"`
	AnyTopic       bool     `help:"Allow topics that the consumer does not subscribe to"`
	Only           string   `placeholder:"TOPIC" help:"Only dead letters from this topic"`
	Skip           []record `placeholder:"PARTITION/OFFSET" help:"Skip this record for good; may be repeated"`
	KeepTimestamps bool     `help:"Keep the messages' timestamps (default: now); retention may delete them at once"`
	Limit          int      `default:"0" placeholder:"N" help:"Take at most N"`
	DryRun         bool     `help:"Only show what would be sent"`
}

// Help is shown below the flags.
func (dlqReplayCmd) Help() string {
	return "Key, value and headers are as they were; the racecar-dlq-* headers are replaced by racecar-replay-group and racecar-replay-timestamp. " +
		"Every group of the topic gets the messages. Progress is kept as the offsets of the group TOPIC.replay.GROUP, in the same transaction as the messages. " +
		"Records that cannot be sent are named; the next replay retries them."
}

// Run replays what was not replayed yet.
func (c *dlqReplayCmd) Run(ctx context.Context, a *app) error {
	s, topic, err := c.subject(ctx, a)
	switch {
	case err != nil:
		return err
	case s.group == "" && !c.AllGroups:
		return errors.New("no group: name a consumer, give --group, or include all groups with --all-groups")
	case c.To == topic:
		return fmt.Errorf("--to %s is the dead-letter topic itself", c.To)
	case strings.HasPrefix(c.To, internalPrefix):
		return fmt.Errorf("--to %s is internal to Kafka", c.To)
	}
	r := &replayer{
		subject: s, to: c.To, anyTopic: c.AnyTopic, only: c.Only, skip: c.Skip, keepTime: c.KeepTimestamps, dry: c.DryRun,
		topics: map[string]error{}, parts: map[string][]int32{},
	}
	k, err := connect(ctx, s.conf)
	if err != nil {
		return err
	}
	defer k.close()
	if !c.DryRun {
		if r.producer, err = a.takeReplay(ctx, s.conf, replayGroup(topic, "")); err != nil {
			return err
		}
		defer closeReplay(ctx, r.producer)
	}
	// After the producer has its id: what an earlier one began has ended by now.
	sel, err := c.choose(ctx, a, k, s, topic)
	if sel == nil {
		return err
	}
	r.selection = sel
	r.committed = r.progress(nil)
	if !s.spec && s.group != "" {
		committed, err := k.committed(ctx, s.group)
		if err != nil {
			return err
		}
		s.topics = subscriptionsOf(committed)
	}
	return c.replay(ctx, a, r)
}

func (c *dlqReplayCmd) replay(ctx context.Context, a *app, r *replayer) error {
	ranges, err := r.k.ranges(r.topic, r.begin())
	if err != nil {
		return err
	}
	total := count(ranges)
	if c.Limit > 0 {
		total = min(total, int64(c.Limit))
	}
	bar := a.newBar(total)
	err = r.k.read(ctx, ranges, func(m *racecar.Message) error {
		if c.Limit > 0 && r.sent+len(r.batch) >= c.Limit {
			return errEnough
		}
		bar.add(1)
		return r.add(ctx, deadLetter{m})
	})
	if !r.failed && ctx.Err() == nil { // records read before an error are sent
		err = errors.Join(err, r.flush(ctx))
	}
	bar.clear()
	if c.DryRun {
		for _, o := range r.dryRun {
			a.printf("%s\n", o)
		}
		a.printf("Nothing was sent (--dry-run)\n")
	} else if r.sent > 0 || err == nil {
		a.printf("%s\n", replayed(r.sent))
	}
	r.noteOthers(a)
	for i, why := range r.unsent {
		if i == maxNamed {
			a.note("and %d more\n", len(r.unsent)-i)
			break
		}
		a.note("%s\n", why)
	}
	if len(r.unsent) > 0 {
		err = errors.Join(err, fmt.Errorf("%s could not be replayed; the next replay retries them, --skip PARTITION/OFFSET skips a record for good", plural(len(r.unsent), "dead letter")))
	}
	return err
}

// maxNamed is how many records are named that could not be sent.
const maxNamed = 50

func replayed(n int) string {
	if n == 0 {
		return "No dead letters to replay"
	}
	return "Replayed " + plural(n, "dead letter")
}

// takeReplay takes the transactional id of a topic's replays, of which there is
// one at a time, and waits for the end of what an earlier one left open.
func (a *app) takeReplay(ctx context.Context, c *config.Config, id string) (*producer.TxnProducer, error) {
	p, err := producer.NewTxnProducer(ctx, c, producer.TxnOptions{Logger: a.log(c), ID: id})
	if err != nil {
		return nil, err
	}
	if err := p.InitTransactions(ctx); err != nil {
		closeReplay(ctx, p)
		return nil, fmt.Errorf("transactional id %q: %w", id, err)
	}
	return p, nil
}

// closeTimeout bounds the abort of a transaction that was interrupted.
const closeTimeout = 3 * time.Second // less than interruptTimeout

// closeReplay aborts what is open, also after an interrupt. An error leaves that to
// the broker, after its transaction timeout.
func closeReplay(ctx context.Context, p *producer.TxnProducer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = p.Close(ctx)
}
