package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/kafka"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"Show the dead letters"`
	Replay dlqReplayCmd `cmd:"" help:"Send dead letters back to where they came from, each once however often it is run"`
}

// letters are the flags that say which dead-letter topic is meant.
type letters struct {
	Consumer string `arg:"" optional:"" help:"The consumer whose dead letters they are"`
	Topic    string `short:"t" placeholder:"TOPIC" help:"The dead-letter topic (default: the consumer's)"`
	Group    string `placeholder:"ID" help:"The group whose dead-letter topic it is"`
	where
	connection
}

func (c *letters) open(ctx context.Context, a *app) (k *cluster, conf *config.Config, topic string, err error) {
	s, err := a.subject(ctx, c.where, c.connection, c.Consumer, c.Group)
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
	if err != nil {
		return nil, nil, "", err
	}
	topic = cmp.Or(c.Topic, s.deadLetterTopic())
	if topic == "" {
		return nil, nil, "", errors.New("nothing runs here to be asked: name a consumer, or give --topic or --group")
	}
	k, err = connect(ctx, s.conf)
	return k, s.conf, topic, err
}

// replayGroup keeps how far a dead-letter topic has been replayed.
func replayGroup(topic string) string { return topic + ".replay" }

type dlqListCmd struct {
	letters
	JSON  bool `help:"Print each as a line of JSON, with key, value and headers"`
	New   bool `help:"Only those that were not replayed yet"`
	Limit int  `default:"0" placeholder:"N" help:"At most so many"`
}

// letterJSON is a line of dlq list --json. Bytes that are no text come as base64.
type letterJSON struct {
	Partition int32        `json:"partition"` // of the dead-letter topic
	Offset    int64        `json:"offset"`
	Timestamp time.Time    `json:"timestamp"`
	Key       *string      `json:"key"` // null: none, or no text
	KeyBytes  []byte       `json:"key_base64,omitempty"`
	Value     *string      `json:"value"`
	Bytes     []byte       `json:"value_base64,omitempty"`
	Headers   []headerJSON `json:"headers"`
	Replayed  bool         `json:"replayed"`
}

type headerJSON struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
	Bytes []byte  `json:"value_base64,omitempty"`
}

// Run lists the letters that are in the topic now.
func (c *dlqListCmd) Run(ctx context.Context, a *app) error {
	k, _, topic, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer k.close()
	done, err := k.committed(replayGroup(topic))
	if err != nil {
		return err
	}
	from := done
	if !c.New {
		from = nil
	}
	var rows [][]string
	n := 0
	err = k.read(ctx, topic, from, func(l letter) error {
		if n++; c.Limit > 0 && n > c.Limit {
			return errEnough
		}
		replayed := done[kafka.TopicPartition{Topic: topic, Partition: l.Partition}].Offset > l.Offset
		if c.JSON {
			return a.jsonLine(jsonOf(l, replayed))
		}
		mark := ""
		if replayed {
			mark = "replayed"
		}
		rows = append(rows, []string{
			fmt.Sprintf("%d/%d", l.Partition, l.Offset), fromText(l), view.Line(string(l.Key)), l.about("attempts"),
			age(l, a.now()), mark, view.Line(l.about("error")),
		})
		return nil
	})
	if err != nil || c.JSON {
		return err
	}
	width, _ := terminal(a.out)
	a.lines(view.Table([]view.Column{
		{Title: "AT", Right: true}, {Title: "FROM", Middle: true}, {Title: "KEY", Flexible: true}, {Title: "TRIES", Right: true},
		{Title: "AGE", Right: true}, {Title: "", Optional: true}, {Title: "ERROR", Flexible: true},
	}, rows, width))
	return nil
}

func jsonOf(l letter, replayed bool) letterJSON {
	j := letterJSON{Partition: l.Partition, Offset: l.Offset, Timestamp: l.Timestamp, Headers: []headerJSON{}, Replayed: replayed}
	j.Key, j.KeyBytes = textOrBytes(l.Key)
	j.Value, j.Bytes = textOrBytes(l.Value)
	for _, h := range l.Headers {
		jh := headerJSON{Key: string(h.Key)}
		jh.Value, jh.Bytes = textOrBytes(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	return j
}

// textOrBytes returns b in the one of two forms in which it can be shown.
func textOrBytes(b []byte) (*string, []byte) {
	if b == nil || !utf8.Valid(b) {
		return nil, b
	}
	text := string(b)
	return &text, nil
}

func fromText(l letter) string {
	if p, offset, ok := l.origin(); ok {
		return fmt.Sprintf("%s@%d", p, offset)
	}
	return view.Unknown
}

func age(l letter, now time.Time) string {
	at, err := time.Parse(time.RFC3339Nano, l.about("at"))
	if err != nil {
		at = l.Timestamp
	}
	return view.Duration(now.Sub(at))
}

type dlqReplayCmd struct {
	letters
	To     string `placeholder:"TOPIC" help:"Send them there (default: where each came from)"`
	Limit  int    `default:"0" placeholder:"N" help:"At most so many"`
	DryRun bool   `help:"Only show what would be sent"`
}

// Help is shown below the flags.
func (dlqReplayCmd) Help() string {
	return "Key, value and headers are as they were; the racecar-dlq-* headers are taken off. Progress is kept as the offsets of the group TOPIC.replay, in the same transaction as the messages."
}

// Run replays what was not replayed yet.
func (c *dlqReplayCmd) Run(ctx context.Context, a *app) error {
	k, conf, topic, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer k.close()
	if c.To == topic {
		return fmt.Errorf("--to %s is the dead-letter topic itself", c.To)
	}
	r, err := newReplayer(ctx, conf, topic, c.To, c.DryRun)
	if err != nil {
		return err
	}
	defer r.close()
	// After the producer has its id: what an earlier one began has ended by now.
	from, err := k.committed(r.group)
	if err != nil {
		return err
	}
	total, err := k.count(topic, from)
	if err != nil {
		return err
	}
	if c.Limit > 0 {
		total = min(total, int64(c.Limit))
	}
	bar := a.newBar(total)
	n := 0
	err = k.read(ctx, topic, from, func(l letter) error {
		if c.Limit > 0 && n >= c.Limit {
			return errEnough
		}
		n++
		if c.DryRun {
			m, err := r.message(l)
			if err == nil {
				a.printf("%d/%d → %s/%d\n", l.Partition, l.Offset, m.Topic, m.Partition)
			}
			return err
		}
		bar.add(1)
		return r.add(l)
	})
	if err == nil && !c.DryRun {
		err = r.flush()
	}
	bar.clear()
	switch {
	case err != nil:
		return err
	case c.DryRun:
		a.printf("Nothing was sent (--dry-run)\n")
	case n == 0:
		a.printf("No dead letters to replay\n")
	case n == 1:
		a.printf("Replayed 1 dead letter\n")
	default:
		a.printf("Replayed %d dead letters\n", n)
	}
	return nil
}

// count is how many offsets there are after what was replayed.
func (k *cluster) count(topic string, from map[kafka.TopicPartition]kafka.Commit) (int64, error) {
	partitions, err := k.partitions(topic)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, p := range partitions {
		tp := kafka.TopicPartition{Topic: topic, Partition: p}
		begin, err := k.GetOffset(topic, p, sarama.OffsetOldest)
		if err != nil {
			return 0, errorAbout(tp, err)
		}
		end, err := k.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return 0, errorAbout(tp, err)
		}
		n += max(0, end-max(begin, from[tp].Offset))
	}
	return n, nil
}

func newReplayer(ctx context.Context, c *config.Config, topic, to string, dry bool) (r *replayer, err error) {
	r = &replayer{group: replayGroup(topic), topic: topic, to: to, next: map[int32]int64{}, topics: map[string][]int32{}}
	if r.choose, err = kafka.PartitionerByName(c.Partitioner); err != nil {
		return nil, err
	}
	conf, err := kafka.ProducerConfig(c)
	if err != nil {
		return nil, err
	}
	conf.Producer.Transaction.ID = r.group
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Metadata.AllowAutoTopicCreation = false // a mistyped --to is to be an error
	if r.client, err = kafka.NewClient(ctx, c, conf); err != nil {
		return nil, err
	}
	if dry {
		return r, nil
	}
	if r.producer, err = sarama.NewSyncProducerFromClient(r.client); err != nil {
		return nil, errors.Join(fmt.Errorf("transactional producer %q: %w", r.group, err), r.client.Close())
	}
	return r, nil
}

func (r *replayer) close() {
	if r.producer != nil {
		_ = r.producer.Close() // all it was given has ended
	}
	_ = r.client.Close()
}
