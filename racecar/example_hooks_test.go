package racecar_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// CountConsumer keeps a count for each partition it has.
type CountConsumer struct{ counts map[int32]int }

// These lines check at compile time what racecar.Register checks at the start: that the optional
// methods have the right signatures.
var (
	_ racecar.Processor      = (*CountConsumer)(nil)
	_ racecar.AssignmentHook = (*CountConsumer)(nil)
	_ racecar.RevocationHook = (*CountConsumer)(nil)
	_ racecar.TeardownHook   = (*CountConsumer)(nil)
)

// OnPartitionsAssigned receives partitions before their first message.
func (c *CountConsumer) OnPartitionsAssigned(ctx context.Context, a racecar.Assignment) {
	for _, p := range a.Partitions["steps"] {
		c.counts[p] = 0
	}
}

// Process counts.
func (c *CountConsumer) Process(ctx context.Context, m *racecar.Message) error {
	c.counts[m.Partition]++
	return nil
}

// OnPartitionsRevoked receives partitions after their last message and commit. Lost ones may
// already belong to another member.
func (c *CountConsumer) OnPartitionsRevoked(ctx context.Context, a racecar.Assignment) {
	for _, p := range a.Partitions["steps"] {
		delete(c.counts, p)
	}
}

// Teardown runs once, after everything else.
func (c *CountConsumer) Teardown(ctx context.Context) error {
	fmt.Println("at the end:", c.counts)
	return nil
}

// The optional methods of a consumer.
func ExampleAssignmentHook() {
	ctx, c := context.Background(), &CountConsumer{counts: map[int32]int{}}
	c.OnPartitionsAssigned(ctx, racecar.Assignment{Partitions: map[string][]int32{"steps": {0, 3}}})
	for range 2 {
		if err := c.Process(ctx, &racecar.Message{Topic: "steps", Partition: 3}); err != nil {
			fmt.Println(err)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Printf("partition %d: %d\n", p, c.counts[p])
	}
	c.OnPartitionsRevoked(ctx, racecar.Assignment{Partitions: map[string][]int32{"steps": {3}}})
	if err := c.Teardown(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// partition 0: 0
	// partition 3: 2
	// at the end: map[0:0]
}

// Middlewares are around the calls of all consumers.
func ExampleUse() {
	racecar.Use(func(next racecar.Handler) racecar.Handler {
		return func(ctx context.Context, messages []*racecar.Message) error {
			began := time.Now()
			err := next(ctx, messages)
			racecar.Logger(ctx).Debug("call ended", "duration", time.Since(began), "failed", err != nil)
			return err
		}
	})
}

// A pool that all instances of a worker share.
func ExampleSetup() {
	racecar.Setup(func(ctx context.Context, _ racecar.Runtime) (func(context.Context) error, error) {
		pool, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
		if err != nil {
			return nil, err
		}
		if err := pool.PingContext(ctx); err != nil {
			return nil, errors.Join(racecar.Unavailable(err, "postgres"), pool.Close())
		}
		return func(context.Context) error { return pool.Close() }, nil
	})
}
