// Package kafka sets up IBM/sarama: what every client of Racecar is configured
// with, how it connects (TLS, SASL, Kerberos), and the few things a correct
// consumer needs beside a sarama consumer group: a coordinator connection of
// its own, commits whose answer is known, and leaving a group for another.
//
// Configuration comes in as a config.Config; sarama types go out. What goes
// wrong for good (a bad password, an unknown authority, a topic one may not
// read) is told from what passes by Permanent.
//
// The package knows nothing of workers and supervisors, starts no goroutine
// that outlives the object it belongs to, and has no state of its own beside
// sarama's one global logger, see SetLogger.
package kafka
