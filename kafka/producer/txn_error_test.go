package producer

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
)

// No repetition helps a request that cannot be encoded, and no other broker.
func TestEncodingErrorsOfCoordinatorRequestsAreFatal(t *testing.T) {
	err := fmt.Errorf("add offsets: %w", sarama.PacketEncodingError{Info: "string too long"})
	if retriable(err) {
		t.Error("to be tried again")
	}
	if kind := txnKind(err); kind != TxnFatal {
		t.Errorf("the transaction is %v", kind)
	}
	if kind := txnKind(&DeliveryError{Kind: DeliveryRefused, Err: err}); kind != TxnAbortable {
		t.Errorf("the transaction of a message is %v", kind)
	}
}
