package access

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/test/kafka/pki"
)

// Nothing is dialed that a broker advertises and that is no host and port; what the
// user configured is the user's.
func TestAdvertisedAddresses(t *testing.T) {
	configured := "[::1%lo]:1"
	a, err := New(settings(configured, "[::1]:2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{
		"[::ffff:127.0.0.1%$(id>file)]:9092", "[fe80::1%eth0]:9092", "$(id):9092", "a b:9092", "a/b:9092", "a@REALM:9092", "-t:9092", "ä:9092",
		":9092", "host:port", "host:-1", "host:65536", "host", "\x1b[31m:9092", strings.Repeat("a", 254) + ":9092",
	} {
		_, err := a.Dial(t.Context(), addr)
		var refused *BrokerError
		if !errors.As(err, &refused) || !refused.Temporary || !strings.Contains(err.Error(), "is not a valid host and port") {
			t.Errorf("%s: got %v, want that it is no address", addr, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%s: the error holds it as it is", addr)
		}
	}
	for _, addr := range []string{configured, "127.0.0.1:1", "[::1]:1", "kafka_1.internal-2.:1"} {
		if err := a.checkAdvertised(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// Dial returns connections that are ready for requests, with TLS and SASL done.
func TestDial(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	c := saslSettingsFor(saslCluster(t, kfake.TLS(tlsConfig(ca.Issue("broker")))), "SCRAM-SHA-256", "bob", "builder")
	c.SecurityProtocol, c.SSLCALocation = "sasl_ssl", pki.File(t, "ca.pem", ca.CertPEM())
	a, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := a.Dial(t.Context(), c.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it served for one question
	request := kmsg.NewPtrMetadataRequest()
	request.Version = 10 // with tagged fields, unlike what wire is for
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("me")).AppendRequest(nil, request, 7)
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-5)
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	response := request.ResponseKind()
	if err := response.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if topics := response.(*kmsg.MetadataResponse).Topics; len(topics) != 1 || *topics[0].Topic != "greetings" {
		t.Errorf("topics %v", topics)
	}
	c.SASLPassword = "wrong"
	if a, err = New(c, nil); err != nil {
		t.Fatal(err)
	}
	if conn, err := a.Dial(t.Context(), c.Brokers[0]); err == nil {
		_ = conn.Close()
		t.Error("a wrong password let us in")
	}
}
