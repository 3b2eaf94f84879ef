package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Nothing is dialed that a broker advertises and that is no host and port; what the
// user configured is the user's.
func TestAdvertisedAddresses(t *testing.T) {
	configured := "[::1%lo]:1"
	access, err := NewAccess(settings(configured, "[::1]:2"))
	if err != nil {
		t.Fatal(err)
	}
	d := newDialer(access, time.Second)
	for _, addr := range []string{
		"[::ffff:127.0.0.1%$(id>file)]:9092", "[fe80::1%eth0]:9092", "$(id):9092", "a b:9092", "a/b:9092", "a@REALM:9092", "-t:9092", "ä:9092",
		":9092", "host:port", "host:-1", "host:65536", "host", "\x1b[31m:9092", strings.Repeat("a", 254) + ":9092",
	} {
		_, err := d.Dial("tcp", addr)
		var refused *AccessError
		if !errors.As(err, &refused) || !refused.Passes || !strings.Contains(err.Error(), "is no host and port") {
			t.Errorf("%s: got %v, want that it is no address", addr, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%s: the error holds it as it is", addr)
		}
	}
	for _, addr := range []string{configured, "127.0.0.1:1", "[::1]:1", "kafka_1.internal-2.:1"} {
		if err := d.checkAdvertised(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
