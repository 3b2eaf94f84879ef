package worker

import "sync/atomic"

// opener opens batches before an executor gets to them, on goroutines of its own: the executors
// alone would leave processors idle while they decompress.
type opener struct {
	limit int64 // max_batch_bytes
	queue chan *opening
	held  atomic.Int64 // bytes that are decompressed and that no executor has got to
}

// opening is a batch that is opened ahead.
type opening struct {
	batch *takenBatch
	begun atomic.Bool   // by the opener, or taken back
	done  chan struct{} // closed by the opener
	held  int64         // of opener.held; set by then
}

const (
	// The smallest batches that are worth handing over to another goroutine: opening those that
	// are not compressed takes little.
	leastAhead      = 1 << 10
	leastPlainAhead = 16 << 10
	// mostAhead bounds the memory of a batch that is opened ahead; none is opened while all of
	// them hold half of it. Executors open the others, up to max_batch_bytes.
	mostAhead = 8 << 20
	// So much of a partition is opened ahead: at least these batches, and more until they have
	// these bytes. Small batches take less time than waking a goroutine.
	leastBatchesAhead = 2
	bytesAhead        = 128 << 10
	// partitionsAhead is of how many partitions that are served next. Many a partition has
	// only one batch or two when its turn comes.
	partitionsAhead = 2
	// openerQueue bounds the batches that wait for the opener.
	openerQueue = 64
)

func newOpener(limit int64) *opener {
	return &opener{limit: limit, queue: make(chan *opening, openerQueue)}
}

// run opens batches until done is closed.
func (o *opener) run(done <-chan struct{}) {
	for {
		select {
		case a := <-o.queue:
			if !a.begun.Swap(true) {
				o.do(a)
			}
		case <-done:
			return
		}
	}
}

// do opens a batch. If that fails, the executor that gets to the batch finds out why.
func (o *opener) do(a *opening) {
	defer close(a.done)
	if o.held.Load() < mostAhead/2 && a.batch.Open(min(o.limit, mostAhead)) == nil {
		a.held = a.batch.Decoded()
		o.held.Add(a.held)
	}
}

// open has b opened soon, unless too many others wait for that.
func (o *opener) open(b *takenBatch) {
	if b.Empty() || b.ahead != nil || b.seen || b.Size() < leastAhead || !b.Compressed() && b.Size() < leastPlainAhead {
		return
	}
	a := &opening{batch: b, done: make(chan struct{})}
	select {
	case o.queue <- a:
		b.ahead = a
	default:
	}
}

// takeBack returns when the opener is done with a batch, or will not begin with it.
func (o *opener) takeBack(a *opening) {
	if a.begun.Swap(true) {
		<-a.done
		o.held.Add(-a.held)
	}
}
