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
// The package holds no machinery: supervising processes, joining the group and
// producing live in packages that author code never imports. Tests of consumers
// import racecartest.
package racecar
