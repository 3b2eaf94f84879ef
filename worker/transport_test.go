package worker

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/racecar-go/racecar/kafka/access"
)

// Who produces while certificates are being renewed can do so afterwards.
func TestProducersAreMadeAtTheirFirstSuccess(t *testing.T) {
	w, _ := loneWorker(t)
	usual, renewing := w.access, errors.New("no such file")
	w.access = func() (*access.Access, error) { return nil, renewing }
	txn := w.newTransactions("id")
	if _, err := w.transport(); !errors.Is(err, renewing) {
		t.Errorf("transport: %v", err)
	}
	if _, err := txn.producer(); !errors.Is(err, renewing) {
		t.Errorf("transactional producer: %v", err)
	}
	w.access = usual
	sender, err := w.transport()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := w.transport(); again != sender || w.sendWith != sender {
		t.Error("there are two transports")
	}
	if err := sender.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := txn.producer(); err != nil {
		t.Error(err)
	}
	if err := txn.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A dead letter that nothing can send waits, and does not end the process.
func TestDeadLetterWithoutATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := loneWorker(t)
		w.transport = func() (transport, error) { return nil, errors.New("no such file") }
		p := m.claim(topicPartition{"t", 0})
		p.begin(5, 0)
		c, _ := testCursor(rawBatch(5, 1, false))
		p.cursor = *c
		p.inst = w.bareInstance(nil)
		w.deadLetter(p, span{first: 5, next: 6, n: 1}, errors.New("bad"), 1, nil)
		synctest.Wait()
		if !p.hasTask() {
			t.Fatal("the record has not failed")
		}
		w.deadLettersEnded(p)
		if p.acks.position() != 5 || !p.deadLetters.waiting {
			t.Errorf("position %d, letters %+v", p.acks.position(), p.deadLetters)
		}
	})
}
