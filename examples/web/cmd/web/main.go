// Web is an application that produces: it receives comments over HTTP.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// Comment is the body of a POST request.
type Comment struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// app has the producer that all requests share.
type app struct{ producer *racecar.StandaloneProducer }

// create answers when Kafka has the comment.
func (a *app) create(w http.ResponseWriter, r *http.Request) {
	var c Comment
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&c); err != nil {
		http.Error(w, "not a comment: "+err.Error(), http.StatusBadRequest)
		return
	}
	value, err := json.Marshal(c)
	if err == nil {
		err = a.producer.ProduceSync(r.Context(), racecar.ProducerMessage{Topic: "comments", Key: []byte(c.ID), Value: value})
	}
	if err != nil {
		log.Print("comment not taken: ", err)
		http.Error(w, "temporarily unavailable", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// show answers at once. It produces an event about the view in the background, even
// while Kafka is unavailable.
func (a *app) show(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	event, err := json.Marshal(map[string]string{"name": "comment_viewed", "comment_id": id})
	if err == nil {
		err = a.producer.ProduceAsync(r.Context(), racecar.ProducerMessage{Topic: "activity", Value: event})
	}
	if err != nil {
		log.Print("view not counted: ", err)
	}
	fmt.Fprintf(w, "comment %q\n", id)
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /comments", a.create)
	mux.HandleFunc("GET /comments/{id}", a.show)
	return mux
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8088", "where to listen")
	file := flag.String("address-file", "", "where to write the URL, for a port of 0")
	flag.Parse()
	if err := run(*addr, *file); err != nil {
		log.Fatal(err)
	}
}

func run(addr, file string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	producer, err := racecar.OpenProducer(ctx) // brokers: RACECAR_BROKERS, or config/racecar.yml
	if err != nil {
		return err
	}
	defer func() { // sends buffered messages first
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, producer.Close(ctx))
	}()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	if file != "" {
		if err := os.WriteFile(file, []byte(url), 0o644); err != nil {
			return err
		}
	}
	log.Print("listening at ", url)
	server := &http.Server{Handler: (&app{producer}).handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // Serve has returned; hanging requests are cut off
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
