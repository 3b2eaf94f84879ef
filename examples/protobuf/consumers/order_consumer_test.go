package consumers

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"example.com/protobuf/orderpb"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestOrderConsumer(t *testing.T) {
	value, err := proto.Marshal(&orderpb.Order{Id: "o1", Items: []*orderpb.Item{{Article: "tea", Count: 2, Cents: 350}}})
	if err != nil {
		t.Fatal(err)
	}
	result := racecartest.Run(t, NewOrderConsumer, []*racecar.Message{{Value: value}, {Value: []byte("tea")}})
	if result.Errors[0] != nil {
		t.Error(result.Errors[0])
	}
	if got := racecartest.VerdictOf(result.Errors[1]); got != racecartest.DeadLettered {
		t.Errorf("what is no order is %s: %v", got, result.Errors[1])
	}
}
