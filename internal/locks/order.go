// Package locks holds the order in which mutexes may be taken. In a build with the tag
// lockorder a goroutine that takes one out of order, or calls consumer code while it holds
// one, ends the process with its stack. Other builds have plain mutexes.
//
//	go test -tags lockorder ./worker ./kafka/producer
package locks

// Lock names a mutex that has a rank in the order.
type Lock interface {
	rank() int
	String() string
}

// The locks, in the order in which they may be taken: while one is held, only those after it
// may be. docs/internals.md says what each guards.
type (
	TransactionOwner struct{} // transactions.own
	WorkerState      struct{} // worker.mu
	Membership       struct{} // membership.mu
	Transactions     struct{} // transactions.mu
	Partition        struct{} // partition.mu
	Acks             struct{} // acks.mu
	Scheduler        struct{} // scheduler.mu
	Producer         struct{} // Producer.mu
)

func (TransactionOwner) rank() int { return 1 }
func (WorkerState) rank() int      { return 2 }
func (Membership) rank() int       { return 3 }
func (Transactions) rank() int     { return 4 }
func (Partition) rank() int        { return 5 }
func (Acks) rank() int             { return 6 }
func (Scheduler) rank() int        { return 7 }
func (Producer) rank() int         { return 8 }

func (TransactionOwner) String() string { return "transactions.own" }
func (WorkerState) String() string      { return "worker.mu" }
func (Membership) String() string       { return "membership.mu" }
func (Transactions) String() string     { return "transactions.mu" }
func (Partition) String() string        { return "partition.mu" }
func (Acks) String() string             { return "acks.mu" }
func (Scheduler) String() string        { return "scheduler.mu" }
func (Producer) String() string         { return "Producer.mu" }
