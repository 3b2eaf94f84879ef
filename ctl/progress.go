package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/kafka"
)

// replayGroup is the consumer group that keeps how far the dead letters of a group
// have been replayed; of all groups when group is empty.
func replayGroup(topic, group string) string {
	if group == "" {
		return topic + ".replay"
	}
	return topic + ".replay." + group
}

// progress is how far a partition of a dead-letter topic has been replayed: up to
// next, without the offsets that were left. It is committed as an offset and its
// metadata, so that records that could not be sent block no others and are not forgotten.
type progress struct {
	next int64
	left []int64 // in order, below next
}

// done reports whether the record at offset needs no replay any more.
func (p *progress) done(offset int64) bool {
	_, left := slices.BinarySearch(p.left, offset)
	return offset < p.next && !left
}

// begin is the first offset that is not done.
func (p *progress) begin() int64 {
	if len(p.left) > 0 {
		return p.left[0]
	}
	return p.next
}

// pass notes that the record at offset is done.
func (p *progress) pass(offset int64) {
	if i, found := slices.BinarySearch(p.left, offset); found {
		p.left = slices.Delete(p.left, i, i+1)
	}
	p.next = max(p.next, offset+1)
}

// markUnsent notes that the record at offset was not sent. It fails when there is no
// room to note it.
func (p *progress) markUnsent(offset int64) error {
	with := &progress{p.next, slices.Clone(p.left)}
	with.keep(offset)
	if n := len(leftText(with.left)); n > kafka.MaxMetadata {
		return fmt.Errorf("too many records could not be replayed (%d): replay them with --to or --any-topic, or skip some with --skip", len(p.left))
	}
	*p = *with
	return nil
}

func (p *progress) keep(offset int64) {
	if i, found := slices.BinarySearch(p.left, offset); !found {
		p.left = slices.Insert(p.left, i, offset)
	}
	p.next = max(p.next, offset+1)
}

func (p *progress) commit() kafka.Commit {
	return kafka.Commit{Offset: p.next, Metadata: leftText(p.left)}
}

// leftPrefix begins the metadata: "left:3,7-9".
const leftPrefix = "left:"

func leftText(left []int64) string {
	if len(left) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(leftPrefix)
	for i := 0; i < len(left); {
		j := i
		for j+1 < len(left) && left[j+1] == left[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(left[i], 10))
		if j > i {
			b.WriteString("-" + strconv.FormatInt(left[j], 10))
		}
		i = j + 1
	}
	return b.String()
}

// maxLeft bounds what metadata may expand to: anybody with access to the group can
// write it.
const maxLeft = 1 << 20

// progressOf reads what commit wrote.
func progressOf(c kafka.Commit) (*progress, error) {
	p := &progress{next: max(0, c.Offset)} // kafka.NoOffset: from the beginning
	text, ok := strings.CutPrefix(c.Metadata, leftPrefix)
	if !ok {
		return p, nil
	}
	for _, part := range strings.Split(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseInt(from, 10, 64)
		last := first
		if isRange && err == nil {
			last, err = strconv.ParseInt(to, 10, 64)
		}
		if err != nil || first < 0 || last >= p.next || last-first >= maxLeft-int64(len(p.left)) ||
			len(p.left) > 0 && first <= p.left[len(p.left)-1] {
			return nil, fmt.Errorf("its progress cannot be read: %q", c.Metadata)
		}
		for ; first <= last; first++ {
			p.left = append(p.left, first)
		}
	}
	return p, nil
}

// unstablePause is how long is waited for a transaction that commits progress.
const unstablePause = 100 * time.Millisecond

// progress reads how far a replay has come in each partition of its topic. While a
// transaction that commits some of it is open it waits.
func (k *cluster) progress(ctx context.Context, topic, group string) (map[int32]*progress, error) {
	numbers, err := k.partitions(topic)
	if err != nil {
		return nil, err
	}
	var partitions []kafka.TopicPartition
	for _, n := range numbers {
		partitions = append(partitions, kafka.TopicPartition{Topic: topic, Partition: n})
	}
	offsets := kafka.NewOffsets(k.Client, replayGroup(topic, group))
	defer offsets.Close()
	var committed map[kafka.TopicPartition]kafka.Commit
	for {
		committed, err = offsets.Fetch(ctx, partitions)
		if !errors.Is(err, sarama.ErrUnstableOffsetCommit) {
			break
		}
		select {
		case <-time.After(unstablePause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) { // nothing was replayed yet
		return nil, err
	}
	all := make(map[int32]*progress, len(partitions))
	for p, c := range committed {
		if all[p.Partition], err = progressOf(c); err != nil {
			return nil, fmt.Errorf("%s in group %q: %w", p, replayGroup(topic, group), err)
		}
	}
	return all, nil
}
