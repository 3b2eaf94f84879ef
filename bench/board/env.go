package board

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Task describes a contestant's work. It is passed in variables.
type Task struct {
	Mode      string        // BENCH_MODE: process, batch, copy, latency, slow, produce, produce-sync, …
	Brokers   []string      // BENCH_BROKERS
	Topic     string        // BENCH_TOPIC
	Out       string        // BENCH_OUT: topic to produce to
	Group     string        // BENCH_GROUP
	Path      string        // BENCH_BOARD
	Messages  int           // BENCH_MESSAGES: how many to produce
	Size      int           // BENCH_SIZE: bytes of a produced message
	Codec     string        // BENCH_CODEC of what is produced; empty: none
	Partition int           // BENCH_PARTITIONS of the topic
	Delay     time.Duration // BENCH_DELAY: duration of a message of partition 0
}

// FromEnv reads the variables.
func FromEnv() Task {
	number := func(name string) int {
		n, _ := strconv.Atoi(os.Getenv(name)) // not set: 0
		return n
	}
	delay, _ := time.ParseDuration(os.Getenv("BENCH_DELAY")) // not set: none
	return Task{
		Mode: os.Getenv("BENCH_MODE"), Brokers: strings.Split(os.Getenv("BENCH_BROKERS"), ","),
		Topic: os.Getenv("BENCH_TOPIC"), Out: os.Getenv("BENCH_OUT"), Group: os.Getenv("BENCH_GROUP"),
		Path: os.Getenv("BENCH_BOARD"), Codec: os.Getenv("BENCH_CODEC"), Messages: number("BENCH_MESSAGES"), Size: number("BENCH_SIZE"),
		Partition: number("BENCH_PARTITIONS"), Delay: delay,
	}
}

// Env returns the variables for a Task.
func (t Task) Env() []string {
	return []string{
		"BENCH_MODE=" + t.Mode, "BENCH_BROKERS=" + strings.Join(t.Brokers, ","), "BENCH_TOPIC=" + t.Topic,
		"BENCH_OUT=" + t.Out, "BENCH_GROUP=" + t.Group, "BENCH_BOARD=" + t.Path,
		"BENCH_CODEC=" + t.Codec, "BENCH_MESSAGES=" + strconv.Itoa(t.Messages), "BENCH_SIZE=" + strconv.Itoa(t.Size),
		"BENCH_PARTITIONS=" + strconv.Itoa(t.Partition), "BENCH_DELAY=" + t.Delay.String(),
	}
}
