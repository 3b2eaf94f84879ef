package producer_test

import (
	"reflect"
	"testing"

	"github.com/racecar-go/racecar/kafka/producer"
)

func TestProducerMessageClone(t *testing.T) {
	make1 := func() producer.Message {
		return producer.Message{Topic: "out", Key: []byte("key"), Value: []byte("value"), PartitionKey: []byte("pk"), Partition: partition(3),
			Headers: []producer.Header{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{}}, {Key: "c"}}}
	}
	m := make1()
	c := m.Clone()
	if !reflect.DeepEqual(c, make1()) {
		t.Errorf("the copy is %+v", c)
	}
	m.Key[0], m.Value[0], m.PartitionKey[0], *m.Partition = 'x', 'x', 'x', 9
	m.Headers[0].Value[0], m.Headers[1].Key = 'x', "x"
	if !reflect.DeepEqual(c, make1()) {
		t.Errorf("the copy changed to %+v", c)
	}
	_ = append(c.Key, "longer than what follows it"...)
	if !reflect.DeepEqual(c, make1()) {
		t.Errorf("appending to the key changed the copy to %+v", c)
	}
	if e := (producer.Message{Value: []byte{}}).Clone(); e.Key != nil || e.Value == nil || e.Headers != nil {
		t.Errorf("nil and empty are mixed up: %+v", e)
	}
	if allocs := testing.AllocsPerRun(100, func() { _ = m.Clone() }); allocs > 3 {
		t.Errorf("%v allocations", allocs)
	}
}
