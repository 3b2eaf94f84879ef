package producer

import (
	"errors"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
)

// A partition that a transaction wanted, but that failed before the coordinator was
// asked, is wanted by the next one: else its messages would wait for ever.
func TestTxnAddsAPartitionAgainAfterAnAbort(t *testing.T) {
	log, _ := test.NewNullLogger()
	c := config.Default()
	c.Brokers = []string{"127.0.0.1:1"}
	x, err := NewTxnProducer(t.Context(), &c, TxnOptions{Logger: log, ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	x.current = producerID{id: 1, valid: true} // so that nobody is asked for one
	q := &partitionQueue{topic: "topic"}
	for range 2 {
		if err := x.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.p.startSending()
		x.p.mu.Lock()
		if x.p.admits(q) || len(x.txn.wanted) != 1 || x.txn.wanted[0] != q {
			t.Errorf("transaction %d wants %v", x.txn.number, x.txn.wanted)
		}
		x.p.failTxn(errors.New("another partition failed"))
		x.p.mu.Unlock()
		if err := x.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
