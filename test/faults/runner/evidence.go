package runner

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/judge"
)

// judge reads everything back and weighs it.
func (r *run) judge(ctx context.Context) (judge.Verdict, error) {
	records, err := judge.ReadDir(r.journals)
	if err != nil {
		return judge.Verdict{}, err
	}
	input, err := readTopic(ctx, r.cluster.AdminAddrs(), r.topic)
	if err != nil {
		return judge.Verdict{}, err
	}
	e := judge.Evidence{
		Produced: map[judge.Partition][]int64{}, Content: map[judge.Partition][]uint64{}, Keys: map[judge.Partition][][]byte{},
		Processed: records, Order: order(r.schedule.Mode.Ordering), Commits: r.commits,
	}
	for p, messages := range input {
		for _, m := range messages {
			e.Keys[p] = append(e.Keys[p], m.key)
			e.Produced[p] = append(e.Produced[p], m.offset)
			e.Content[p] = append(e.Content[p], m.content)
		}
	}
	if e.Committed, _, err = r.committed(); err != nil {
		return judge.Verdict{}, err
	}
	e.Excused, e.Unfinished = r.excused, r.unfinished
	if r.schedule.Mode.Transactional {
		// The journal is no part of the transaction; the copies are.
		e.Excused = func(_, _ judge.Record) bool { return true }
	}
	if r.out != "" {
		if err := r.judgeCopies(ctx, e); err != nil {
			return judge.Verdict{}, err
		}
	}
	return judge.Judge(e), nil
}

func order(o config.Ordering) judge.Order {
	switch o {
	case config.OrderingKey:
		return judge.ByKey
	case config.OrderingNone:
		return judge.Unordered
	}
	return judge.ByPartition
}

func (r *run) judgeCopies(ctx context.Context, input judge.Evidence) error {
	output, err := readTopic(ctx, r.cluster.AdminAddrs(), r.out)
	if err != nil {
		return err
	}
	var copies [][]judge.Copy
	for _, messages := range output {
		var in []judge.Copy
		for _, m := range messages {
			c, err := parseOrigin(m.origin)
			if err != nil {
				return err
			}
			c.Content = m.content
			in = append(in, c)
		}
		copies = append(copies, in)
	}
	findings := judge.Copies(input.Produced, input.Content, copies, r.schedule.Mode.Transactional)
	for i, f := range findings {
		if i == 10 {
			r.problem("… and %d more about copies", len(findings)-i)
			break
		}
		r.problem("%s", f)
	}
	return nil
}

func parseOrigin(s string) (judge.Copy, error) {
	f := strings.Split(s, "/")
	if len(f) != 3 {
		return judge.Copy{}, fmt.Errorf("origin %q", s)
	}
	p, err := strconv.ParseInt(f[1], 10, 32)
	if err != nil {
		return judge.Copy{}, fmt.Errorf("origin %q: %w", s, err)
	}
	o, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return judge.Copy{}, fmt.Errorf("origin %q: %w", s, err)
	}
	return judge.Copy{From: judge.Partition{Topic: f[0], Partition: int32(p)}, Offset: o}, nil
}
