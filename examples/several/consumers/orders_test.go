package consumers

import (
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestAnOrderBecomesAnInvoice(t *testing.T) {
	orders := racecartest.Run(t, NewOrderConsumer, []*racecar.Message{{Value: []byte(`{"id":"o1","cents":1000}`)}})
	if err := orders.Err(); err != nil {
		t.Fatal(err)
	}
	if len(orders.Produced) != 1 || string(orders.Produced[0].Value) != `{"order":"o1","total":1190}` {
		t.Fatalf("produced %v", orders.Produced)
	}
	invoices := racecartest.Run(t, NewInvoiceConsumer, []*racecar.Message{{Topic: "invoices", Value: orders.Produced[0].Value}})
	if err := invoices.Err(); err != nil {
		t.Error(err)
	}
}
