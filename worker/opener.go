package worker

import "sync/atomic"

// opener opens batches before an executor gets to them, on a goroutine of its own: one
// executor alone would leave a processor idle while it decompresses.
type opener struct {
	limit int64 // max_batch_bytes
	queue chan *aheadOpen
}

// aheadOpen is a batch that is opened ahead.
type aheadOpen struct {
	batch *takenBatch
	begun atomic.Bool   // by the opener, or taken back
	done  chan struct{} // closed by the opener
	err   error         // set by then
}

// leastAhead is the smallest batch that is worth handing over to another goroutine.
const leastAhead = 16 << 10

func newOpener(limit int64, executors int) *opener {
	return &opener{limit: limit, queue: make(chan *aheadOpen, executors)}
}

// run opens batches until done is closed.
func (o *opener) run(done <-chan struct{}) {
	for {
		select {
		case a := <-o.queue:
			if !a.begun.Swap(true) {
				a.err = a.batch.Open(o.limit)
				close(a.done)
			}
		case <-done:
			return
		}
	}
}

// open has b opened soon, if the opener is not busy with as many others.
func (o *opener) open(b *takenBatch) {
	if b.Empty() || b.ahead != nil || b.Size() < leastAhead {
		return
	}
	a := &aheadOpen{batch: b, done: make(chan struct{})}
	select {
	case o.queue <- a:
		b.ahead = a
	default:
	}
}

// wait takes the batch back, when the opener is done with it or has not begun.
func (a *aheadOpen) wait() error {
	if a.begun.Swap(true) {
		<-a.done
	}
	return a.err
}
