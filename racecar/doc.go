// Package racecar is what consumer authors import: write a type with one
// method, register it, and run it with the racecar command.
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
// What it promises: an offset is committed only after Process returned nil and
// everything it produced was acknowledged; within a partition messages are
// handled one at a time, in offset order; a failing message holds up its own
// partition and no other. What it does not do: deduplicate. After a crash the
// messages since the last commit are processed again, so Process must bear
// being called twice (or be registered Transactional).
//
// # Contents
//
// A consumer: [Register] and [Spec] with its [Subscription]s; [Processor] or
// [BatchProcessor], and the optional [TeardownHook], [AssignmentHook], [RevocationHook] and
// [StatisticsHook]; [ProcessFunc] and [ProcessBatchFunc] for functions. Its
// constructor is given a [Runtime], its calls a [Message] each.
//
// What a call returns: nil, an error, or one of [Skip], [DeadLetter], [RetryAfter],
// [Fatal] and [FailedAt]. How long it may take: [Leaving].
//
// Producing: [Producer] within consumers; [ProduceSync], [ProduceAsync],
// [WaitForDelivery] and [Close], or [OpenProducer], in any other program.
//
// Configuration in code: [Configure] with [Config] and [ErrorInfo]. Watching:
// [Observe] with [Event], of which each kind is a type.
//
// For racecar itself and for tools: [Registered], [Lookup], [Registration], [Mistakes],
// [Configures] and [Observers].
//
// The package holds no machinery: supervising processes, joining the group and
// producing live in packages that author code never imports. Tests of consumers
// import racecartest.
package racecar
