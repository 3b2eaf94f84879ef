// Package access opens connections to Kafka's brokers. It dials, does TLS and SASL (with
// Kerberos), authenticates again before a session ends, and bounds the memory that a response
// takes. kafka, kafka/fetch and kafka/producer send their requests on the connections that
// Access.Dial returns. The package is not covered by the compatibility promise.
//
// Permanent distinguishes permanent errors (a wrong password, an unknown authority, a topic
// that we are not authorized to read) from temporary ones.
//
// The package imports no other package of kafka/.
package access
