// Package racecar is what consumer authors import: write a type with one method, register
// it, and run it with the racecar command.
//
//	type UserBanConsumer struct{}
//
//	func (UserBanConsumer) Process(ctx context.Context, m *racecar.Message) error {
//		return ban(ctx, m.Value)
//	}
//
//	func init() {
//		racecar.Register(func(racecar.Runtime) (UserBanConsumer, error) { return UserBanConsumer{}, nil },
//			racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "user_banned"}}})
//	}
//
// A worker commits an offset only after Process has returned nil and everything that it
// produced is acknowledged. It handles the messages of a partition one at a time, in offset
// order; a failing message holds up its own partition and no other. Racecar does not
// deduplicate: after a crash the messages since the last commit are processed again, so
// Process must be idempotent, or the consumer Transactional.
//
// # Contents
//
// A consumer: Register and Spec with its [Subscription]s; Processor or BatchProcessor, and
// the optional TeardownHook, AssignmentHook, RevocationHook and StatisticsHook; ProcessFunc
// and ProcessBatchFunc for functions. A constructor receives a Runtime, a call a Message or
// several.
//
// What a call returns: nil, an error, or one of Skip, DeadLetter, RetryAfter, Fatal and
// FailedAt. A long call watches Leaving.
//
// Producing: Producer within consumers; ProduceSync, ProduceAsync, WaitForDelivery and
// Close, or OpenProducer, in any other program.
//
// Configuration in code: Configure with Config and ErrorInfo. Events: Observe with Event, of
// which package event has a type for each kind.
//
// Tests of consumers import racecartest. What Racecar promises about this package's API is
// in docs/compatibility.md.
package racecar
