package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/kafka"
)

type lagCmd struct {
	consumerFlags
	Group string `placeholder:"ID" help:"Ask Kafka about this group"`
	JSON  bool   `help:"Print it as JSON"`
	connection
}

// Help is shown below the flags.
func (lagCmd) Help() string {
	return "Asks the running consumers for their positions, or Kafka for the committed offsets if --group is given or no consumer is running."
}

// lagRow is how far a group is in a partition.
type lagRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Worker    string `json:"worker,omitempty"`
	Position  int64  `json:"position"` // of a worker, or what is committed; -1: nothing
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"` // -1: unknown
	// Beyond are the messages that are finished beyond Position; they are not part of Lag.
	Beyond int64 `json:"finished_beyond,omitempty"`
	// Deleted are the offsets between Position and the start of the log: they cannot be
	// read any more, and are not part of Lag.
	Deleted int64 `json:"deleted,omitempty"`
}

// Run prints a line for each partition, and the sum.
func (c *lagCmd) Run(ctx context.Context, a *app) error {
	rows, err := c.rows(ctx, a)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(x, y lagRow) int {
		if n := strings.Compare(x.Topic, y.Topic); n != 0 {
			return n
		}
		return int(x.Partition) - int(y.Partition)
	})
	if c.JSON {
		return a.json(rows)
	}
	columns := []view.Column{
		{Title: "PARTITION", Middle: true}, {Title: "WORKER", Middle: true}, {Title: "POSITION", Right: true},
		{Title: "END", Right: true}, {Title: "LAG", Right: true},
	}
	anyBeyond := slices.ContainsFunc(rows, func(r lagRow) bool { return r.Beyond > 0 })
	if anyBeyond {
		columns = append(columns, view.Column{Title: "FINISHED BEYOND", Right: true})
	}
	anyDeleted := slices.ContainsFunc(rows, func(r lagRow) bool { return r.Deleted > 0 })
	if anyDeleted {
		columns = append(columns, view.Column{Title: "DELETED", Right: true})
	}
	var table [][]string
	for _, r := range rows {
		name := kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}.String()
		worker := r.Worker
		if worker == "" {
			worker = view.Unknown
		}
		row := []string{name, worker, view.Count(r.Position), view.Count(r.End), view.Count(r.Lag)}
		if anyBeyond {
			row = append(row, view.Count(r.Beyond))
		}
		if anyDeleted {
			row = append(row, view.Count(r.Deleted))
		}
		table = append(table, row)
	}
	width, _ := terminal(a.out)
	a.lines(view.Table(columns, table, width))
	a.printf("total %s\n", totalLag(rows))
	return nil
}

// totalLag is the sum of what is known, and of how many partitions it is not: a
// worker learns of a partition's end with its first fetch.
func totalLag(rows []lagRow) string {
	var sum int64
	unknown := 0
	for _, r := range rows {
		sum += max(0, r.Lag)
		if r.Lag < 0 {
			unknown++
		}
	}
	switch {
	case unknown == 0:
		return view.Count(sum)
	case unknown == len(rows):
		return "unknown"
	}
	return fmt.Sprintf("%s, and unknown of %d of %d partitions", view.Count(sum), unknown, len(rows))
}

func (c *lagCmd) rows(ctx context.Context, a *app) ([]lagRow, error) {
	if c.Group == "" {
		f, err := a.find(ctx, c.supervisorFlags, c.Consumer)
		var several *severalError
		switch {
		case errors.As(err, &several):
			return nil, err
		case err == nil && f.client != nil:
			defer f.client.Close()
			return c.fromSupervisor(ctx, f.client)
		}
	}
	s, err := a.subject(ctx, c.supervisorFlags, c.connection, c.Consumer, c.Group)
	if err != nil {
		return nil, err
	}
	if s.group == "" {
		return nil, errNobodyToAsk
	}
	k, err := connect(ctx, s.conf)
	if err != nil {
		return nil, err
	}
	defer k.close()
	committed, err := k.committed(ctx, s.group)
	if err != nil {
		return nil, err
	}
	if len(committed) == 0 {
		return nil, errorNothingCommitted(s.group)
	}
	rows := []lagRow{} // in JSON [], not null
	for p, at := range committed {
		end, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetNewest)
		if errors.Is(plainTopic(err), errNoTopic) {
			continue // the topic was deleted, the offset is left over
		}
		if err != nil {
			return nil, errorAbout(p, err)
		}
		begin, err := k.GetOffset(p.Topic, p.Partition, sarama.OffsetOldest)
		if err != nil {
			return nil, errorAbout(p, err)
		}
		beyond := finishedBeyond(at, begin, end)
		rows = append(rows, lagRow{
			Topic: p.Topic, Partition: p.Partition, Position: at.Offset, End: end, Beyond: beyond,
			Lag: max(0, end-max(at.Offset, begin)-beyond), Deleted: max(0, begin-at.Offset),
		})
	}
	return rows, nil
}

// finishedBeyond counts the offsets of the log that the commit's metadata has as finished.
// Metadata of others, or for another commit, says nothing.
func finishedBeyond(at kafka.Commit, begin, end int64) int64 {
	m, err := offsetmap.Decode(at.Metadata)
	if err != nil || !m.Applies(at.Offset, at.Epoch.Leader(), offsetmap.TopicID{}) {
		return 0
	}
	return m.Finished.Between(max(at.Offset, begin), end).Count()
}

func (c *lagCmd) fromSupervisor(ctx context.Context, client *Client) ([]lagRow, error) {
	st, err := client.Status(ctx)
	if err != nil {
		return nil, err
	}
	if c.Consumer != "" && !runs(st, c.Consumer) {
		return nil, fmt.Errorf("no consumer is called %q there", c.Consumer)
	}
	rows := []lagRow{}
	for _, p := range view.AllPartitions(only(st, c.Consumer)) {
		rows = append(rows, lagRow{
			Topic: p.Topic, Partition: p.Partition.Partition, Worker: p.Worker, Position: p.Position, End: p.End, Lag: p.Lag, Beyond: p.Beyond,
		})
	}
	return rows, nil
}
