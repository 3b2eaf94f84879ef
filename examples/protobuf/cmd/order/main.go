// Order produces an order.
package main

import (
	"context"
	"log"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/protobuf/orderpb"

	"github.com/racecar-go/racecar/racecar"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: order ID")
	}
	if err := place(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func place(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	value, err := proto.Marshal(&orderpb.Order{Id: id, Customer: "ada", Items: []*orderpb.Item{
		{Article: "tea", Count: 2, Cents: 350},
		{Article: "milk", Count: 1, Cents: 99},
	}})
	if err != nil {
		return err
	}
	if err := racecar.ProduceSync(ctx, racecar.ProducerMessage{Topic: "orders", Key: []byte(id), Value: value}); err != nil {
		return err
	}
	return racecar.Close(ctx)
}
