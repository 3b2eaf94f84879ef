// Package locks holds the order in which mutexes may be taken. In a build with the tag
// lockorder a goroutine that takes one out of order, or calls consumer code while it holds
// one, ends the process with its stack. Other builds have plain mutexes.
//
//	go test -tags lockorder ./worker ./kafka/producer
package locks

// Lock names a mutex that has a place in the order.
type Lock interface {
	place() int
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
	Scheduler        struct{} // turns.mu
	Producer         struct{} // Producer.mu
)

func (TransactionOwner) place() int { return 1 }
func (WorkerState) place() int      { return 2 }
func (Membership) place() int       { return 3 }
func (Transactions) place() int     { return 4 }
func (Partition) place() int        { return 5 }
func (Acks) place() int             { return 6 }
func (Scheduler) place() int        { return 7 }
func (Producer) place() int         { return 8 }

func (TransactionOwner) String() string { return "transactions.own" }
func (WorkerState) String() string      { return "worker.mu" }
func (Membership) String() string       { return "membership.mu" }
func (Transactions) String() string     { return "transactions.mu" }
func (Partition) String() string        { return "partition.mu" }
func (Acks) String() string             { return "acks.mu" }
func (Scheduler) String() string        { return "turns.mu" }
func (Producer) String() string         { return "Producer.mu" }
