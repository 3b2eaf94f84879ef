// A module of its own: nobody who uses racecar has to do with these clients.
module github.com/racecar-go/racecar/bench/contestants

go 1.26.0

require (
	github.com/confluentinc/confluent-kafka-go/v2 v2.11.1
	github.com/racecar-go/racecar v0.0.0
	github.com/twmb/franz-go v1.22.2
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.15.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/racecar-go/racecar => ../..
