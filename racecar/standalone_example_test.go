package racecar_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// A web application that publishes what happens in it: one message that must be
// there when the request is answered, others in the background.
func ExampleOpenProducer() {
	ctx := context.Background()
	producer, err := racecar.OpenProducer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := producer.Close(ctx); err != nil { // what is buffered is delivered first
			log.Print(err)
		}
	}()
	http.HandleFunc("POST /comments", func(w http.ResponseWriter, r *http.Request) {
		m := racecar.ProducerMessage{Topic: "comments", Key: []byte(r.FormValue("id")), Value: []byte(r.FormValue("text"))}
		if err := producer.ProduceSync(r.Context(), m); err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("GET /comments/{id}", func(w http.ResponseWriter, r *http.Request) {
		m := racecar.ProducerMessage{Topic: "activity", Value: []byte("viewed " + r.PathValue("id"))}
		if err := producer.ProduceAsync(r.Context(), m); err != nil { // only when the buffer is full
			log.Print(err)
		}
	})
}

// Several messages at once, and one error for all that did not arrive.
func ExampleWaitForDelivery() {
	err := racecar.WaitForDelivery(context.Background(), func(ctx context.Context) error {
		for _, id := range []string{"1", "2"} {
			if err := racecar.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "invoices", Key: []byte(id)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		log.Print(err)
	}
}
