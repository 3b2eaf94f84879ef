package ctl

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

type consumeCmd struct {
	Topic     string `arg:"" help:"The topic"`
	From      string `default:"earliest" placeholder:"WHERE" help:"earliest, latest, an offset, or a time: 2026-11-23T09:00:00Z, 2026-11-23 09:00 (UTC), or 2h (ago); default: earliest"`
	Partition *int32 `short:"p" placeholder:"N" help:"Only this partition"`
	Follow    bool   `short:"f" help:"Continue with new messages"`
	Limit     int    `placeholder:"N" help:"Print at most N messages"`
	Hex       bool   `xor:"form" help:"Show keys, values and headers as hexadecimal"`
	JSON      bool   `xor:"form" help:"Print each message as a line of JSON"`
	connection
}

// Help is shown below the flags.
func (consumeCmd) Help() string {
	return "Reads up to the end of the topic as it is when the command starts. It joins no group and commits nothing. Messages of a transaction are shown once it is committed.\n\n" +
		"A line holds, with tabs between: partition, offset, time, key, value, headers. " +
		"- stands for null. Text with control characters is quoted; other bytes are shown as 0x and hexadecimal digits.\n\n" +
		"Example: racecarctl consume greetings --from 10m --limit 5"
}

// Run prints the messages.
func (c *consumeCmd) Run(ctx context.Context, a *app) error {
	from, err := parseStart("--from", c.From, a.now())
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: a number of messages cannot be negative", c.Limit)
	}
	loaded, err := a.load(c.connection, "")
	if err != nil {
		return err
	}
	k, err := connect(ctx, &loaded.Config)
	if err != nil {
		return err
	}
	defer k.close()
	ranges, err := c.ranges(ctx, a, k, from)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.out)
	n := 0
	each := func(m *racecar.Message) error {
		if err := c.print(out, m); err != nil {
			return err
		}
		if n++; n == c.Limit {
			return errEnough
		}
		if c.Follow {
			return out.Flush()
		}
		return nil
	}
	if c.Follow {
		err = k.follow(ctx, a, ranges, each)
	} else {
		err = k.read(ctx, ranges, each)
	}
	return errors.Join(err, out.Flush())
}

// ranges returns the offsets to read, by partition.
func (c *consumeCmd) ranges(ctx context.Context, a *app, k *cluster, from start) ([]fetch.Range, error) {
	partitions, err := k.partitions(c.Topic)
	if err != nil {
		return nil, err
	}
	slices.Sort(partitions)
	switch {
	case c.Partition != nil && !slices.Contains(partitions, *c.Partition):
		return nil, fmt.Errorf("topic %q has %s, and none is number %d", c.Topic, plural(len(partitions), "partition"), *c.Partition)
	case c.Partition != nil:
		partitions = []int32{*c.Partition}
	case from.offset >= 0 && len(partitions) > 1:
		return nil, fmt.Errorf("topic %q has %d partitions: say with --partition of which %d is an offset", c.Topic, len(partitions), from.offset)
	}
	var asked []kafka.TopicPartition
	for _, p := range partitions {
		asked = append(asked, kafka.TopicPartition{Topic: c.Topic, Partition: p})
	}
	ends, err := k.EndOffsets(ctx, asked)
	if err != nil {
		return nil, err
	}
	stable, err := k.LastStableOffsets(ctx, asked)
	if err != nil {
		return nil, err
	}
	var all []fetch.Range
	for _, p := range asked {
		begin, err := k.resolve(p, from)
		if err != nil {
			return nil, errorAbout(p, err)
		}
		if stable[p] < ends[p] && !c.Follow {
			a.note("=> %s: a transaction is open at offset %d; messages after it are not shown\n", p, stable[p])
		}
		r := fetch.Range{Topic: p.Topic, Partition: p.Partition, From: begin, To: stable[p]}
		if c.Follow {
			r.To = fetch.NoOffset
		}
		all = append(all, r)
	}
	return all, nil
}

// print writes a message as a line.
func (c *consumeCmd) print(out io.Writer, m *racecar.Message) error {
	if c.JSON {
		return jsonLine(out, jsonOf(m))
	}
	fields := []string{
		strconv.Itoa(int(m.Partition)), strconv.FormatInt(m.Offset, 10), m.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"),
		c.show(m.Key), c.show(m.Value),
	}
	var headers []string
	for _, h := range m.Headers {
		headers = append(headers, c.show([]byte(h.Key))+"="+c.show(h.Value))
	}
	fields = append(fields, strings.Join(headers, " "))
	_, err := fmt.Fprintln(out, strings.TrimRight(strings.Join(fields, "\t"), "\t"))
	return err
}

// show writes bytes so that they are one line and nothing but text.
func (c *consumeCmd) show(b []byte) string {
	switch {
	case b == nil:
		return "-"
	case c.Hex || !utf8.Valid(b):
		return "0x" + hex.EncodeToString(b)
	}
	s := string(b)
	plain := s != "" && s != "-" && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if plain {
		return s
	}
	return strconv.Quote(s)
}
