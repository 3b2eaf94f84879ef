package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/racecar-go/racecar/racecar"
)

// This file reads ranges of partitions for tools such as racecarctl.

// Range is a part of a partition: the offsets from From on and below To.
type Range struct {
	Topic     string
	Partition int32
	From, To  int64 // To NoOffset: without an end, for Follow
}

const (
	readPiece = 128 // messages decoded at once
	// readTimeout bounds the wait for the next offset: electing a leader takes a while.
	readTimeout = 15 * time.Second
	// readSettled bounds it if the broker says that it has no more messages.
	readSettled = 2 * time.Second
)

// Read calls each with the messages of the ranges, which are of different partitions: one
// range after the other, and each in order. It is for tools and needs no group. It returns
// nil at the end of the last range, and otherwise the error of each or of ctx, a
// *CorruptError, or the reason why the rest does not arrive. The Fetcher must not have any
// of these partitions already.
func (f *Fetcher) Read(ctx context.Context, ranges []Range, each func(*racecar.Message) error) error {
	ranges = slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool { return r.From >= r.To })
	changed := make(chan struct{}, 1)
	var open []*reading
	defer func() {
		for _, rd := range open {
			rd.p.Close()
		}
	}()
	for i := range ranges {
		for _, r := range ranges[i+len(open) : min(i+2, len(ranges))] { // the next one is fetched meanwhile
			open = append(open, f.reading(r, changed))
		}
		if err := open[0].run(ctx, changed, each); err != nil {
			return err
		}
		open[0].p.Close()
		open = open[1:]
	}
	return nil
}

// run reads a range to its end.
func (rd *reading) run(ctx context.Context, changed <-chan struct{}, each func(*racecar.Message) error) error {
	tick := time.NewTicker(readSettled / 8)
	defer tick.Stop()
	for last := time.Now(); ; {
		from := rd.From
		if err := rd.take(each); err != nil {
			return err
		}
		if rd.From >= rd.To {
			return nil
		}
		if rd.From > from {
			last = time.Now()
		}
		if err := rd.stuck(time.Since(last)); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Follow calls each with the messages of all ranges as they arrive, each range in order. It
// returns nil when ctx ends. It passes temporary errors to report.
func (f *Fetcher) Follow(ctx context.Context, ranges []Range, each func(*racecar.Message) error, report func(error)) error {
	changed := make(chan struct{}, 1)
	problems := make(map[*reading]string, len(ranges))
	for _, r := range ranges {
		rd := f.reading(r, changed)
		defer rd.p.Close()
		problems[rd] = ""
	}
	for ctx.Err() == nil {
		for rd, problem := range problems {
			err := rd.take(each)
			var moved *movedError
			if err != nil && !errors.As(err, &moved) {
				return err
			}
			if err == nil {
				err = rd.problem()
			}
			if err == nil {
				problems[rd] = ""
			} else if text := err.Error(); text != problem {
				problems[rd] = text
				report(err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// reading is a range while it is read; From is the next offset.
type reading struct {
	Range
	p     *Partition
	limit int64
}

func (f *Fetcher) reading(r Range, changed chan struct{}) *reading {
	p := f.Add(r.Topic, r.Partition, Position{Offset: r.From, LeaderEpoch: -1}, Beginning,
		PartitionOptions{MaxBytes: f.opts.Config.MaxBytes}, func() { poke(changed) })
	return &reading{Range: r, p: p, limit: int64(f.opts.Config.MaxBatchBytes)}
}

// take calls each with the messages that have arrived. After a *movedError it can be continued.
func (rd *reading) take(each func(*racecar.Message) error) error {
	if start, ok := rd.p.begin(); ok && rd.From < start.Offset {
		return rd.moved(start.Offset, start.Reason)
	}
	for rd.To == NoOffset || rd.From < rd.To {
		item := rd.p.Next()
		switch {
		case item.Moved != nil:
			return rd.moved(item.Moved.To, item.Moved.Reason)
		case item.Batch == nil:
			return nil
		}
		err := rd.batch(item.Batch, each)
		rd.p.Release(item.Batch)
		if err != nil {
			return err
		}
	}
	return nil
}

func (rd *reading) batch(b *Batch, each func(*racecar.Message) error) error {
	if err := b.Open(rd.limit); err != nil {
		return err
	}
	for {
		ms, err := b.Messages(rd.From, readPiece)
		if err != nil {
			return err
		}
		for i := range ms {
			if rd.To != NoOffset && ms[i].Offset >= rd.To {
				rd.From = rd.To
				return nil
			}
			if err := each(&ms[i]); err != nil {
				return err
			}
			rd.From = ms[i].Offset + 1
		}
		if len(ms) < readPiece {
			rd.From = b.NextOffset()
			return nil
		}
	}
}

func (rd *reading) moved(to int64, reason Reason) error {
	err := &movedError{rd.Range, to, reason}
	rd.From = to
	return err
}

// movedError reports that the log no longer has the next offset of a range.
type movedError struct {
	Range
	to     int64
	reason Reason
}

func (e *movedError) Error() string {
	return fmt.Sprintf("%s/%d: offset %d is not there any more (%s): the next one is %d", e.Topic, e.Partition, e.From, e.reason, e.to)
}

// problem is the reason why nothing arrives at the moment.
func (rd *reading) problem() error {
	if err := rd.p.Err(); err != nil {
		return fmt.Errorf("%s/%d: %w", rd.Topic, rd.Partition, err)
	}
	return nil
}

// stuck is the reason to stop waiting for the rest of the range; nil: keep waiting.
func (rd *reading) stuck(silence time.Duration) error {
	err := rd.problem()
	var refused *kerr.Error
	if err != nil && (silence > readTimeout || errors.As(err, &refused) && !refused.Retriable) {
		return err
	}
	if _, caughtUp := rd.p.Fetched(); caughtUp && silence > readSettled || silence > readTimeout {
		return fmt.Errorf("%s/%d: read up to offset %d of %d only: the broker sends no more, or a transaction is still open there; retry later", rd.Topic, rd.Partition, rd.From, rd.To)
	}
	return nil
}

// begin returns where the partition begins; false: that is not known yet.
func (p *Partition) begin() (Start, bool) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.start == nil {
		return Start{}, false
	}
	return *p.start, true
}
