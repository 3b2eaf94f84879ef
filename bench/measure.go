package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/bench/board"
)

const mib = 1 << 20

// between computes the figures of all rows from two readings of usage.
func between(s sample, from, to usage, messages uint64) {
	n := float64(max(messages, 1))
	s[rate.key] = n / to.at.Sub(from.at).Seconds()
	s[cpu.key] = (to.cpu - from.cpu).Seconds() / n * 1e6
	s[peak.key] = float64(to.peak) / mib
	s[worker.key] = float64(to.peakOfOne) / mib
	if objects := to.objects - from.objects; objects > 0 {
		s[allocs.key] = float64(objects) / n
		s[allocated.key] = float64(to.bytes-from.bytes) / n
	}
}

// begun waits for the first processed message.
func (p *process) begun(ctx context.Context, s sample) (usage, uint64, error) {
	err := p.until(ctx, "first message", func() (uint64, bool) { n := p.board.Sum(max(1, p.task.Partition)); return n, n > 0 })
	if err != nil {
		return usage{}, 0, err
	}
	s[first.key] = time.Since(p.began).Seconds()
	return p.use(), p.board.Sum(max(1, p.task.Partition)), nil
}

// consume has an entrant consume a filled topic from its beginning to its end.
func consume(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	n, err := b.fill(ctx, r, e)
	if err != nil {
		return nil, err
	}
	p, err := b.start(e, board.Task{Topic: b.topicName(r, e), Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		return nil, err
	}
	defer p.close()
	s := sample{}
	from, before, err := p.begun(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := p.until(ctx, "all messages", p.counted(n)); err != nil {
		return nil, err
	}
	to := p.use()
	between(s, from, to, n-before)
	s[pss.key] = float64(p.pss()) / mib
	s[repeats.key] = float64(p.board.Sum(r.topic.partitions) - n)
	_, err = p.stop()
	return s, err
}

// counted waits until n messages are processed.
func (p *process) counted(n uint64) func() (uint64, bool) {
	return func() (uint64, bool) { sum := p.board.Sum(p.task.Partition); return sum, sum >= n }
}

// copyAll is consume for an entrant that produces each message again. It ends when all have
// arrived.
func copyAll(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	n, err := b.fill(ctx, r, e)
	if err != nil {
		return nil, err
	}
	out, remove, err := b.fresh(ctx, r.out)
	if err != nil {
		return nil, err
	}
	defer remove()
	p, err := b.start(e, board.Task{Topic: b.topicName(r, e), Group: b.group(), Partition: r.topic.partitions, Out: out, Codec: r.codec})
	if err != nil {
		return nil, err
	}
	defer p.close()
	s := sample{}
	from, before, err := p.begun(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := p.until(ctx, "all messages", p.counted(n)); err != nil {
		return nil, err
	}
	if err := p.until(ctx, "all output", b.arrived(out, r.out, n)); err != nil {
		return nil, err
	}
	between(s, from, p.use(), n-before)
	s[pss.key] = float64(p.pss()) / mib
	_, err = p.stop()
	return s, err
}

// produceAll measures from the first message in the log to the last.
func produceAll(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	n := b.messages(r, topic{size: r.size})
	out, remove, err := b.fresh(ctx, r.out)
	if err != nil {
		return nil, err
	}
	defer remove()
	p, err := b.start(e, board.Task{Out: out, Partition: r.out, Messages: int(n), Size: r.size, Codec: r.codec})
	if err != nil {
		return nil, err
	}
	defer p.close()
	s := sample{}
	if err := p.until(ctx, "first message", b.arrived(out, r.out, 1)); err != nil {
		return nil, err
	}
	s[first.key] = time.Since(p.began).Seconds()
	before, _ := b.arrived(out, r.out, 1)()
	from, to := p.use(), usage{}
	err = p.until(ctx, "all messages", func() (uint64, bool) {
		if time.Since(to.at) > 20*time.Millisecond {
			to = p.use() // the process ends by itself
		}
		return b.arrived(out, r.out, n)()
	})
	if err != nil {
		return nil, err
	}
	to.at = time.Now()
	between(s, from, to, n-before)
	select {
	case <-p.ended:
		err = p.err
	case <-time.After(30 * time.Second):
		err = fmt.Errorf("it does not end\n%s", p.tail())
	}
	return s, err
}

// latencies measures the age of messages when they reach the consumer.
func latencies(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	in, remove, err := b.fresh(ctx, r.topic.partitions)
	if err != nil {
		return nil, err
	}
	defer remove()
	p, err := b.start(e, board.Task{Topic: in, Group: b.group(), Partition: r.topic.partitions})
	if err != nil {
		return nil, err
	}
	defer p.close()
	f, err := b.flow(ctx, in, r.topic.partitions, r.rate)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.stop() }() // its error is checked below
	s := sample{}
	if _, _, err := p.begun(ctx, s); err != nil {
		return nil, err
	}
	// Skip the backlog from the start, and the slow first seconds.
	if err := sleep(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	from, before, n := p.use(), p.board.Histogram(), p.board.Sum(r.topic.partitions)
	if err := sleep(ctx, r.interval); err != nil {
		return nil, err
	}
	h := p.board.Histogram().Minus(before)
	between(s, from, p.use(), p.board.Sum(r.topic.partitions)-n)
	for m, q := range map[metric]float64{p50: 0.5, p99: 0.99, p999: 0.999} {
		s[m.key] = float64(h.Quantile(q)) / float64(time.Millisecond)
	}
	if err := f.stop(); err != nil {
		return nil, err
	}
	_, err = p.stop()
	return s, err
}

// besideSlow measures a fast partition beside a slow one.
func besideSlow(ctx context.Context, b *bench, r *row, e entrant) (sample, error) {
	if _, err := b.fill(ctx, r, e); err != nil {
		return nil, err
	}
	// About half of the messages, or all.
	quickest, err := b.client.GetOffset(b.topicName(r, e), 1, sarama.OffsetNewest)
	if err != nil {
		return nil, err
	}
	p, err := b.start(e, board.Task{Topic: b.topicName(r, e), Group: b.group(), Partition: r.topic.partitions, Delay: r.delay})
	if err != nil {
		return nil, err
	}
	defer p.close()
	s := sample{}
	err = p.until(ctx, "first message", func() (uint64, bool) { n := p.board.Counted(1); return n, n > 0 })
	if err != nil {
		return nil, err
	}
	s[first.key] = time.Since(p.began).Seconds()
	from, slow, quick := p.use(), p.board.Counted(0), p.board.Counted(1)
	end := time.Now().Add(r.interval)
	// The fast partition may be finished early.
	err = p.until(ctx, "the fast partition", func() (uint64, bool) {
		return p.board.Sum(2), time.Now().After(end) || p.board.Counted(1) >= uint64(quickest)
	})
	if err != nil {
		return nil, err
	}
	to := p.use()
	between(s, from, to, p.board.Sum(2)-slow-quick)
	s[fast.key] = float64(p.board.Counted(1)-quick) / to.at.Sub(from.at).Seconds()
	s[slowRate.key] = float64(p.board.Counted(0)-slow) / to.at.Sub(from.at).Seconds()
	_, err = p.stop()
	return s, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
