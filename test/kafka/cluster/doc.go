// Package cluster runs real Apache Kafka brokers for tests: one or three of
// them, in KRaft mode, as ordinary Java processes on loopback.
//
// Kafka's own jars come through Maven (pom.xml) into a cache outside the
// checkout: $TESTBED_CACHE, else racecar-go in the user's cache directory.
// Nothing is needed but `java` (17 or later) and `mvn` in PATH.
//
// A test says
//
//	c := cluster.Start(t, cluster.Options{Brokers: 3})
//	c.CreateTopic(ctx, "events", 12, 3)
//	… c.Addrs() …
//	c.Broker(2).Kill()
//
// and is skipped unless KAFKA=real, so that `go test ./...` needs nothing but
// Go. Commands use New and Close instead; `go run ./test/kafka` is one.
//
// Promises: Start and New return only when every broker knows all the others
// and every group coordinator answers; what fails to start leaves nothing
// behind; no broker outlives the process that started it, even where that one
// was killed (Linux); a broker's ports are its own until Close, so Restart finds
// them free.
//
// Not for production, not for Windows; data is gone after Close.
package cluster
