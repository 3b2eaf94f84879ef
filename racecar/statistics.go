package racecar

import "time"

// Statistics are the figures that OnStatistics receives. They are about the whole worker,
// even where each partition has an instance of its own. The name in brackets is that of
// librdkafka's statistics. Counts are since the worker's process started, rates and
// latencies since the previous call of OnStatistics or, at the first, since that start.
type Statistics struct {
	At   time.Time     // when the figures were taken [time]
	Age  time.Duration // of the worker [age]
	Rate float64       // messages processed per second

	Messages uint64 // processed [rxmsgs]
	Errors   uint64 // calls that failed, retries included
	// CallTime is the average duration of a call of Process or ProcessBatch.
	CallTime time.Duration

	Queued      int   // messages fetched and not begun [replyq]
	QueuedBytes int64 // of keys, values and headers

	Producer   ProducerStatistics
	Brokers    []BrokerStatistics    // of brokers that the worker fetches from, by number
	Partitions []PartitionStatistics // of assigned partitions, by topic and number
}

// ProducerStatistics are about the messages that a worker's instances produced.
type ProducerStatistics struct {
	Messages     uint64 // queued [txmsgs]
	Acknowledged uint64 // acknowledged by the brokers
	Errors       uint64 // not delivered within message_timeout, or refused
	InFlight     int    // not acknowledged yet [msg_cnt]
}

// BrokerStatistics are about the connections that fetch from a broker, and about those of
// the consumer group to it.
type BrokerStatistics struct {
	Broker        int32 // [nodeid]
	Requests      int64 // [tx]
	Responses     int64 // [rx]
	BytesSent     int64 // [txbytes]
	BytesReceived int64 // [rxbytes]
	InFlight      int64 // requests without a response [waitresp_cnt]
	// Latency is the average and MaxLatency the longest time until a response, to a
	// millisecond. For a fetch it includes the time that the broker waited for messages,
	// max_wait_time at most [rtt.avg, rtt.max].
	Latency, MaxLatency time.Duration
}

// PartitionStatistics are about one assigned partition.
type PartitionStatistics struct {
	Topic     string
	Partition int32
	Position  int64  // offset of the next message to be processed [app_offset]
	Committed int64  // the committed offset; -1: unknown [committed_offset]
	End       int64  // the offset at the end of the log; -1: unknown [hi_offset]
	Lag       int64  // End - Position; -1: unknown [consumer_lag]
	Messages  uint64 // processed since the assignment [rxmsgs]
	Errors    uint64 // calls that failed since the assignment
	Rate      float64
	Queued    int    // messages fetched and not begun [fetchq_cnt]
	Bytes     int64  // of the keys, values and headers of those messages [fetchq_size]
	InFlight  int    // messages processed whose output is not acknowledged yet [msgs_inflight]
	State     string // running, paused, backoff, poisoned or blocked [fetch_state]
}
