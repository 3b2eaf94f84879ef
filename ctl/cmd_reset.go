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
	Topic    []string `short:"t" placeholder:"TOPIC[/PARTITION]" help:"Only this; may be repeated (default: all of the group)"`
	To       string   `required:"" placeholder:"WHERE" help:"earliest, latest, an offset, or a time: 2026-11-23T09:00:00Z, 2026-11-23, or 2h (ago)"`
	DryRun   bool     `help:"Only show what would be done"`
	where
	connection
}

// Help is shown below the flags.
func (resetOffsetsCmd) Help() string {
	return "Refuses while the group has members. Attempts counted for failing messages begin anew.\n\n" +
		"Example: racecarctl reset-offsets UserBanConsumer --to earliest --dry-run"
}

// Run moves the group's committed offsets.
func (c *resetOffsetsCmd) Run(ctx context.Context, a *app) error {
	to, err := parseTo(c.To, a.now())
	if err != nil {
		return err
	}
	s, err := a.subject(ctx, c.where, c.connection, c.Consumer, c.Group)
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
	from, err := k.committed(group)
	if err != nil {
		return err
	}
	partitions, err := c.chosen(k, s, from)
	if err != nil {
		return err
	}
	moves := map[kafka.TopicPartition]kafka.Commit{}
	var rows [][]string
	for _, p := range partitions {
		offset, err := k.resolve(p, to)
		if err != nil {
			return errorAbout(p, err)
		}
		old, had := view.Unknown, false
		if at, ok := from[p]; ok {
			old, had = strconv.FormatInt(at.Offset, 10), true
		}
		moved := "none before"
		if had {
			moved = fmt.Sprintf("%+d", offset-from[p].Offset)
		}
		moves[p] = kafka.Commit{Offset: offset}
		rows = append(rows, []string{p.String(), old, "→ " + strconv.FormatInt(offset, 10), moved})
	}
	width, _ := terminal(a.out)
	a.lines(view.Table([]view.Column{
		{Title: "PARTITION", Middle: true}, {Title: "FROM", Right: true}, {Title: "TO"}, {Title: "MOVED", Right: true},
	}, rows, width))
	if c.DryRun {
		a.printf("Nothing was changed (--dry-run)\n")
		return nil
	}
	if err := commit(ctx, k, group, moves); err != nil {
		return err
	}
	a.printf("Reset %d partitions of group %s\n", len(moves), group)
	return nil
}

func commit(ctx context.Context, k *cluster, group string, moves map[kafka.TopicPartition]kafka.Commit) error {
	offsets := kafka.NewOffsets(k.Client, group)
	defer offsets.Close()
	failed, err := offsets.Commit(ctx, kafka.Outside, moves)
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

// target is where --to points: an offset, or a time in ms (sarama's constants
// for earliest and latest included).
type target struct {
	offset int64 // -1: see ms
	ms     int64
}

func parseTo(s string, now time.Time) (target, error) {
	switch s {
	case "earliest":
		return target{-1, sarama.OffsetOldest}, nil
	case "latest":
		return target{-1, sarama.OffsetNewest}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return target{}, fmt.Errorf("--to %s: an offset is not negative", s)
		}
		return target{offset: n}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return target{-1, now.Add(-d).UnixMilli()}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil && t.UnixMilli() >= 0 {
			return target{-1, t.UnixMilli()}, nil
		}
	}
	return target{}, fmt.Errorf("--to %q: expected earliest, latest, an offset, or a time like 2026-11-23T09:00:00Z or 2h (ago)", s)
}

// resolve turns a target into an offset of a partition. A time after the last
// message is the end.
func (k *cluster) resolve(p kafka.TopicPartition, to target) (int64, error) {
	earliest, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetOldest)
	if err != nil {
		return 0, err
	}
	latest, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetNewest)
	if err != nil {
		return 0, err
	}
	switch {
	case to.offset >= 0:
		if to.offset < earliest || to.offset > latest {
			return 0, fmt.Errorf("offset %d is not there; it holds %d to %d", to.offset, earliest, latest)
		}
		return to.offset, nil
	case to.ms == sarama.OffsetOldest:
		return earliest, nil
	case to.ms == sarama.OffsetNewest:
		return latest, nil
	}
	offset, err := k.GetOffset(p.Topic, p.Partition, to.ms)
	if err != nil {
		return 0, err
	}
	if offset < 0 {
		return latest, nil
	}
	return offset, nil
}

func errorAbout(p kafka.TopicPartition, err error) error {
	return fmt.Errorf("%s: %w", p, plainTopic(err))
}

func errorNothingCommitted(group string) error {
	return fmt.Errorf("group %q has committed nothing", group)
}
