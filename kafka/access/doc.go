// Package access opens connections to Kafka's brokers: it dials, does TLS and
// SASL (Kerberos included), authenticates again before a session ends, and bounds
// what an answer may take. Access.Dial is the door; kafka, kafka/fetch and
// kafka/producer send their requests on what it returns.
// It is not covered by the compatibility promise.
//
// It also judges refusals: Permanent tells what goes wrong for good (a wrong
// password, an unknown authority, a topic one may not read) from what passes.
//
// The package sits at the bottom of kafka/: it imports none of the others. It is
// not covered by the compatibility promise.
package access
