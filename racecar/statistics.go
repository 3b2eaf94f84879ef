package racecar

import "time"

// Statistics are the figures handed to OnStatistics: of the whole worker, also
// where each partition has an instance of its own. In brackets stands what
// librdkafka's statistics call them. Counts are since the worker's process
// started, rates and latencies since the last call, or since the start.
type Statistics struct {
	At   time.Time     // [time]
	Age  time.Duration // of the process's worker [age]
	Rate float64       // messages processed a second

	Messages uint64 // processed [rxmsgs]
	Errors   uint64 // calls that failed, retries included
	// CallTime is how long Process or ProcessBatch took, on average.
	CallTime time.Duration

	Queued      int   // messages fetched and not begun [replyq]
	QueuedBytes int64 // of keys, values and headers

	Producer   ProducerStatistics
	Brokers    []BrokerStatistics    // those that were fetched from, by number
	Partitions []PartitionStatistics // those assigned, by topic and number
}

// ProducerStatistics are about what a worker's instances produced.
type ProducerStatistics struct {
	Messages     uint64 // queued [txmsgs]
	Acknowledged uint64 // the brokers have them
	Errors       uint64 // finally not delivered
	InFlight     int    // not acknowledged yet [msg_cnt]
}

// BrokerStatistics are about the connections that fetch from a broker.
type BrokerStatistics struct {
	Broker        int32 // [nodeid]
	Requests      int64 // [tx]
	Responses     int64 // [rx]
	BytesSent     int64 // [txbytes]
	BytesReceived int64 // [rxbytes]
	InFlight      int64 // requests without a response [waitresp_cnt]
	// Latency is how long responses took on average, MaxLatency the longest, to a
	// millisecond; of a fetch that includes what the broker waited for messages,
	// max_wait_time at most [rtt.avg, rtt.max].
	Latency, MaxLatency time.Duration
}

// PartitionStatistics are about one assigned partition.
type PartitionStatistics struct {
	Topic     string
	Partition int32
	Position  int64  // offset of the next message to be processed [app_offset]
	Committed int64  // -1: unknown [committed_offset]
	End       int64  // the log's end; -1: unknown [hi_offset]
	Lag       int64  // End - Position; -1: unknown [consumer_lag]
	Messages  uint64 // processed since its assignment [rxmsgs]
	Errors    uint64 // failed calls since then
	Rate      float64
	Queued    int    // messages fetched and not begun [fetchq_cnt]
	Bytes     int64  // of those [fetchq_size]
	InFlight  int    // messages processed whose output is not acknowledged [msgs_inflight]
	State     string // running, paused, backoff, poisoned, blocked [fetch_state]
}
