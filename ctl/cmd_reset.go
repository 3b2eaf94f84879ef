package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/kafka"
)

type resetOffsetsCmd struct {
	Consumer string   `arg:"" optional:"" help:"The consumer whose group it is"`
	Group    string   `placeholder:"ID" help:"The group, when it is not the consumer's own"`
	Topic    []string `short:"t" placeholder:"TOPIC[/PARTITION]" help:"Only this topic or partition; may be repeated (default: all of the group)"`
	To       string   `required:"" placeholder:"WHERE" help:"earliest, latest, an offset, or a time: 2026-11-23T09:00:00Z, 2026-11-23 09:00 (UTC), or 2h (ago)"`
	DryRun   bool     `help:"Only show what would be done"`
	JSON     bool     `help:"Print it as JSON"`
	supervisorFlags
	connection
}

// Help is shown below the flags.
func (resetOffsetsCmd) Help() string {
	return "Refuses while the group has members. The attempts counted for failing messages are reset.\n\n" +
		"Example: racecarctl reset-offsets UserBanConsumer --to earliest --dry-run"
}

// Run moves the group's committed offsets.
func (c *resetOffsetsCmd) Run(ctx context.Context, a *app) error {
	to, err := parseStart("--to", c.To, a.now())
	if err != nil {
		return err
	}
	s, err := a.subject(ctx, c.supervisorFlags, c.connection, c.Consumer, c.Group)
	if err != nil {
		return err
	}
	if s.group == "" {
		return errNobodyToAsk
	}
	group := s.group
	k, err := connect(ctx, s.conf)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.noMembers(group); err != nil {
		return err
	}
	from, err := k.committed(ctx, group)
	if err != nil {
		return err
	}
	partitions, err := c.chosen(k, s, from)
	if err != nil {
		return err
	}
	result := resetJSON{Group: group, To: c.To, Time: to.instant(), DryRun: c.DryRun}
	moves := map[kafka.TopicPartition]kafka.Commit{}
	for _, p := range partitions {
		offset, err := k.resolve(p, to)
		if err != nil {
			return errorAbout(p, err)
		}
		move := moveJSON{Topic: p.Topic, Partition: p.Partition, To: offset}
		if at, ok := from[p]; ok {
			move.From = &at.Offset
		}
		moves[p] = kafka.Commit{Offset: offset}
		result.Partitions = append(result.Partitions, move)
	}
	if !c.JSON {
		result.print(a)
	}
	if !c.DryRun {
		if err := commit(ctx, k, group, moves); err != nil {
			return err
		}
	}
	switch {
	case c.JSON:
		return a.json(result)
	case c.DryRun:
		a.printf("Nothing was changed (--dry-run)\n")
	default:
		a.printf("Reset %s of group %s\n", plural(len(moves), "partition"), group)
	}
	return nil
}

// resetJSON is what reset-offsets does.
type resetJSON struct {
	Group      string     `json:"group"`
	To         string     `json:"to"`
	Time       *time.Time `json:"time,omitempty"` // what To means, when it is a time
	DryRun     bool       `json:"dry_run"`
	Partitions []moveJSON `json:"partitions"`
}

type moveJSON struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"` // null: nothing was committed
	To        int64  `json:"to"`
}

func (r resetJSON) print(a *app) {
	if r.Time != nil {
		a.printf("To the first message from %s on\n", r.Time.Format(time.RFC3339))
	}
	var rows [][]string
	for _, m := range r.Partitions {
		old, moved := view.Unknown, "none before"
		if m.From != nil {
			old, moved = strconv.FormatInt(*m.From, 10), fmt.Sprintf("%+d", m.To-*m.From)
		}
		name := kafka.TopicPartition{Topic: m.Topic, Partition: m.Partition}.String()
		rows = append(rows, []string{name, old, "→ " + strconv.FormatInt(m.To, 10), moved})
	}
	width, _ := terminal(a.out)
	a.lines(view.Table([]view.Column{
		{Title: "PARTITION", Middle: true}, {Title: "FROM", Right: true}, {Title: "TO"}, {Title: "MOVED", Right: true},
	}, rows, width))
}

func commit(ctx context.Context, k *cluster, group string, moves map[kafka.TopicPartition]kafka.Commit) error {
	offsets := kafka.NewOffsets(k.Client, group)
	defer offsets.Close()
	failed, err := offsets.Commit(ctx, kafka.NoMember, moves)
	if err != nil {
		return err
	}
	var errs []error
	for p, err := range failed {
		if errors.Is(err, sarama.ErrUnknownMemberId) || errors.Is(err, sarama.ErrRebalanceInProgress) {
			return fmt.Errorf("group %q has members by now: stop its consumers first", group)
		}
		errs = append(errs, errorAbout(p, err))
	}
	return errors.Join(errs...)
}

// chosen are the partitions to be moved, in order.
func (c *resetOffsetsCmd) chosen(k *cluster, s *subject, from map[kafka.TopicPartition]kafka.Commit) ([]kafka.TopicPartition, error) {
	all := map[kafka.TopicPartition]bool{}
	wanted := c.Topic
	if len(wanted) == 0 {
		for p := range from {
			all[p] = true
		}
		wanted = s.topics
	}
	for _, w := range wanted {
		topic, partition, err := parsePartition(w)
		if err != nil {
			return nil, err
		}
		partitions, err := k.partitions(topic)
		if err != nil {
			return nil, err
		}
		if partition != wholeTopic && !slices.Contains(partitions, partition) {
			return nil, fmt.Errorf("topic %q has %d partitions, and none is number %d", topic, len(partitions), partition)
		}
		for _, p := range partitions {
			if partition == wholeTopic || partition == p {
				all[kafka.TopicPartition{Topic: topic, Partition: p}] = true
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w; say which with --topic", errorNothingCommitted(s.group))
	}
	return slices.SortedFunc(maps.Keys(all), func(x, y kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	}), nil
}

func errorAbout(p kafka.TopicPartition, err error) error {
	return fmt.Errorf("%s: %w", p, plainTopic(err))
}

func errorNothingCommitted(group string) error {
	return fmt.Errorf("group %q has committed nothing", group)
}
