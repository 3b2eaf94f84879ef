// Package racecartest helps to test consumers. For most, calling Process with a
// &racecar.Message{…} is test enough and needs nothing from here.
//
// NewBroker gives a test a Kafka broker of its own, within the process.
package racecartest
