package access

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/kafka/pki"
	"github.com/racecar-go/racecar/test/seeds"
)

// saslCluster has a user for each mechanism that the embedded broker knows.
func saslCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	return fakeCluster(t, append([]kfake.Opt{
		kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "alice", "wonderland"),
		kfake.Superuser("SCRAM-SHA-256", "bob", "builder"),
		kfake.Superuser("SCRAM-SHA-512", "carol", "singer"),
		kfake.SeedTopics(1, "greetings"),
	}, opts...)...)
}

func saslSettingsFor(cluster *kfake.Cluster, mechanism, user, password string) *config.Config {
	c := settings(cluster.ListenAddrs()...)
	c.SecurityProtocol = "sasl_plaintext"
	c.SASLMechanism, c.SASLUsername, c.SASLPassword = mechanism, user, password
	return c
}

func TestSASL(t *testing.T) {
	cluster := saslCluster(t)
	for _, tt := range []struct{ mechanism, user, password string }{
		{"PLAIN", "alice", "wonderland"},
		{"SCRAM-SHA-256", "bob", "builder"},
		{"SCRAM-SHA-512", "carol", "singer"},
	} {
		t.Run(tt.mechanism, func(t *testing.T) {
			if err := try(t, saslSettingsFor(cluster, tt.mechanism, tt.user, tt.password)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("over TLS", func(t *testing.T) {
		ca := pki.Root(t, "Test CA")
		c := saslSettingsFor(saslCluster(t, kfake.TLS(tlsConfig(ca.Issue("broker")))), "PLAIN", "alice", "wonderland")
		c.SecurityProtocol = "sasl_ssl"
		c.SSLCALocation = pki.File(t, "ca.pem", ca.CertPEM())
		if err := try(t, c); err != nil {
			t.Error(err)
		}
	})
}

// Kafka does not normalize names and passwords (RFC 4013), so neither do we.
func TestScramDoesNotNormalizePasswords(t *testing.T) {
	for _, password := range []string{"p\u00b2ss", "cafe\u0301", "a\u00adb", "\U0001f511", "bell\x07", "a b", "a,b=c"} {
		cluster := fakeCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "bob", password))
		if err := try(t, saslSettingsFor(cluster, "SCRAM-SHA-256", "bob", password)); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// How many rounds of hashing a broker may ask for: fewer than Kafka has would help who
// guesses passwords, more would keep a core busy for hours.
func TestScramRounds(t *testing.T) {
	for rounds, ok := range map[string]bool{"4096": true, "16384": true, "4095": false, "1": false, "2147483647": false, "99999999999999999999": false, "": false} {
		x, first, err := scramOf(t).begin(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(first), "r=")
		began := time.Now()
		if _, _, err = x.next([]byte("r=" + nonce + "x,s=c2FsdA==,i=" + rounds)); (err == nil) != ok {
			t.Errorf("%s rounds: %v", rounds, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s rounds took %v", rounds, took)
		}
	}
}

func scramOf(t *testing.T) mechanism {
	t.Helper()
	m, err := newScram256(&config.Config{SASLUsername: "user", SASLPassword: "password"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sasl_mechanism takes the names of all mechanisms there are, and no others.
func TestMechanismsMatchTheConfiguration(t *testing.T) {
	key, _ := config.Lookup("sasl_mechanism")
	want, got := slices.Sorted(slices.Values(key.Enum)), slices.Sorted(maps.Keys(mechanisms))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the enumeration of sasl_mechanism and what is implemented differ (-config +access):\n%s", diff)
	}
}

// Each wrong credential gives one line that says what to change, and no password.
// What the broker says of wrong passwords is tested on Kafka: the embedded one
// hangs up.
func TestSASLProblems(t *testing.T) {
	cluster := saslCluster(t)
	ca := pki.Root(t, "Test CA")
	secure := saslCluster(t, kfake.TLS(tlsConfig(ca.Issue("broker"))))
	for _, tt := range []struct {
		name                      string
		cluster                   *kfake.Cluster
		mechanism, user, password string
		protocol                  string
		key, want                 string
	}{
		{"mechanism not offered", secure, "OAUTHBEARER", "", "", "sasl_ssl",
			"sasl_mechanism", "broker ADDR: it does not offer sasl_mechanism OAUTHBEARER: it offers PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"},
		{"mechanism unknown", cluster, "DIGEST-MD5", "alice", "hatter-7", "",
			"sasl_mechanism", `sasl_mechanism: "DIGEST-MD5" is unknown: use one of ` + strings.Join(slices.Sorted(maps.Keys(mechanisms)), ", ")},
		{"no user", cluster, "PLAIN", "", "hatter-7", "",
			"sasl_username", "sasl_username: missing: sasl_mechanism PLAIN needs it"},
		{"no password", cluster, "SCRAM-SHA-512", "carol", "", "",
			"sasl_password", "sasl_password: missing: sasl_mechanism SCRAM-SHA-512 needs it"},
		{"no SASL where it is wanted", secure, "PLAIN", "alice", "wonderland", "ssl",
			"security_protocol", "broker ADDR: it wants authentication on this port: set security_protocol to sasl_ssl, or change the port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, logged := captureLog()
			c := saslSettingsFor(tt.cluster, tt.mechanism, tt.user, tt.password)
			if tt.protocol != "" {
				c.SecurityProtocol = tt.protocol
			}
			if tt.protocol != "" {
				c.SSLCALocation = pki.File(t, "ca.pem", ca.CertPEM())
			}
			if tt.mechanism == "OAUTHBEARER" {
				c.OAuthToken = func(context.Context) (config.OAuthToken, error) { return config.OAuthToken{Token: "hatter-7"}, nil }
			}
			a, err := New(c, log)
			if err == nil {
				err = a.Connect(testContext(t))
			}
			reason, key, ok := Permanent(err)
			if !ok {
				t.Fatalf("not permanent: %v", err)
			}
			want := strings.ReplaceAll(tt.want, "ADDR", tt.cluster.ListenAddrs()[0])
			if got, _, _ := strings.Cut(reason, " (the broker says"); got != want {
				t.Errorf("got  %s\nwant %s", reason, want)
			}
			if key != tt.key {
				t.Errorf("key %q, want %q", key, tt.key)
			}
			if said := err.Error() + logged.String(); strings.Contains(said, "hatter-7") {
				t.Errorf("the password is shown: %s", said)
			}
		})
	}
}

// Without TLS nothing proves who answers: a refusal is reported, and temporary.
func TestRefusalsWithoutTLSAreTemporary(t *testing.T) {
	cluster := saslCluster(t)
	secure := tlsCluster(t, pki.Root(t, "Test CA").Issue("broker"))
	c := saslSettingsFor(cluster, "OAUTHBEARER", "", "")
	c.OAuthToken = func(context.Context) (config.OAuthToken, error) { return config.OAuthToken{Token: "t"}, nil }
	for want, c := range map[string]*config.Config{
		"it does not offer sasl_mechanism OAUTHBEARER: it offers PLAIN, SCRAM-SHA-256, SCRAM-SHA-512":       c,
		"it wants authentication on this port: set security_protocol to sasl_plaintext, or change the port": settings(cluster.ListenAddrs()...),
		"it speaks TLS on this port: set security_protocol to ssl, or change the port":                      settings(secure.ListenAddrs()...),
	} {
		err := try(t, c)
		if reason, _, final := Permanent(err); final {
			t.Errorf("permanent: %s", reason)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A broker that closes the connection at a wrong password may also be one that stops.
func TestClosedConnectionDuringLoginIsTemporary(t *testing.T) {
	cluster := saslCluster(t)
	err := try(t, saslSettingsFor(cluster, "PLAIN", "alice", "hatter-7"))
	var unreachable *UnreachableError
	want := "no broker reachable, tried " + cluster.ListenAddrs()[0] + " (it closed the connection while we authenticated (if this goes on: check the sasl_ keys))"
	if !errors.As(err, &unreachable) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestTokenSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	fromFile := oauthBearer{file: path, timeout: time.Second}
	if _, err := fromFile.token(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, want := range []string{"first", "second"} { // read again each time
		if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := fromFile.token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(config.OAuthToken{Token: want}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for content, want := range map[string]string{"": "is empty", "a\nb": "holds more than one line", "a\x01b": "holds more than one line"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := fromFile.token(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	asked := oauthBearer{file: path, timeout: time.Second, ask: func(ctx context.Context) (config.OAuthToken, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return config.OAuthToken{Token: "t", Extensions: map[string]string{"cluster": "c1"}}, nil
	}}
	got, err := asked.token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.OAuthToken{Token: "t", Extensions: map[string]string{"cluster": "c1"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	asked.ask = func(context.Context) (config.OAuthToken, error) { return config.OAuthToken{}, nil }
	if _, _, err := asked.begin(t.Context(), ""); !isTokenError(err) {
		t.Errorf("empty token: %v", err)
	}
	asked.ask = func(context.Context) (config.OAuthToken, error) { panic("no issuer") }
	if _, err := asked.token(t.Context()); err == nil || !strings.Contains(err.Error(), "the OAuthToken function panicked: no issuer") {
		t.Errorf("a panic: %v", err)
	}
	end := make(chan struct{})
	defer close(end)
	asked.ask = func(context.Context) (config.OAuthToken, error) { <-end; return config.OAuthToken{}, nil }
	asked.timeout = 20 * time.Millisecond
	if _, err := asked.token(t.Context()); err == nil || !strings.Contains(err.Error(), "the OAuthToken function did not return within 20ms") {
		t.Errorf("no end: %v", err)
	}
	asked.ask = func(context.Context) (config.OAuthToken, error) {
		return config.OAuthToken{Token: "t", Extensions: map[string]string{"b": "2", "a": "1"}}, nil
	}
	_, message, err := asked.begin(t.Context(), "")
	if want := "n,,\x01auth=Bearer t\x01a=1\x01b=2\x01\x01"; err != nil || string(message) != want {
		t.Errorf("sends %q, %v, want %q", message, err, want)
	}
}

func isTokenError(err error) bool {
	_, ok := errors.AsType[*TokenError](err)
	return ok
}

// Errors of a running client are explained as well: topics, groups, the
// cluster, and an instance id that another process uses.
func TestPermanentAnswers(t *testing.T) {
	for _, tt := range []struct {
		err  error
		key  string
		want string // "": it passes
	}{
		{sarama.ErrTopicAuthorizationFailed, "", "not authorized for the topic: have the ACL operation Read (and Describe; Write to produce) allowed"},
		{sarama.ErrGroupAuthorizationFailed, "group_id", "not authorized for the consumer group: have the ACL operation Read allowed on it, or change group_id"},
		{sarama.ErrClusterAuthorizationFailed, "", "not authorized for the cluster: to produce, have the ACL operation Write allowed on the topics (before Kafka 2.8 also IdempotentWrite on the cluster)"},
		{sarama.ErrTransactionalIDAuthorizationFailed, "", "not authorized for the transactional id: have the ACL operations Write and Describe allowed on ids that begin with the group id"},
		{sarama.ErrInvalidSessionTimeout, "session_timeout", "session_timeout (10s) is outside of what the brokers allow: set it between their group.min.session.timeout.ms and group.max.session.timeout.ms"},
		{sarama.ErrInvalidGroupId, "group_id", "group_id (a b) is not a group id that the brokers accept: change it"},
		{sarama.ErrInvalidTransactionTimeout, "producer", "producer: transaction.timeout.ms is more than the brokers allow: lower it, or raise their transaction.max.timeout.ms"},
		{sarama.ErrGroupMaxSizeReached, "", ""},
		{sarama.ErrSASLAuthenticationFailed, "", ""},
		{sarama.ErrUnsupportedSASLMechanism, "", ""},
		{sarama.ErrFencedInstancedId, "static_id", "another process has taken this member's place: two of them have the same group instance id; give each host a static_id of its own"},
		{sarama.ErrUnsupportedForMessageFormat, "", ""},
		{sarama.ErrNotCoordinatorForConsumer, "", ""},
		{sarama.ErrOutOfBrokers, "", ""},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, "", ""},
		{&TokenError{errors.New("issuer is down")}, "", ""},
		{nil, "", ""},
	} {
		reason, key, ok := PermanentWith(&config.Config{SessionTimeout: 10 * time.Second, GroupID: "a b"}, tt.err)
		if reason != tt.want || key != tt.key || ok != (tt.want != "") {
			t.Errorf("%v: got %q, %q, %v\nwant %q, %q", tt.err, reason, key, ok, tt.want, tt.key)
		}
	}
}

// The frames of a stream are counted however it is cut.
func TestFrameCounter(t *testing.T) {
	stream := []byte("\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x00\x00\x01x")
	for step := 1; step <= len(stream); step++ {
		var f frameCounter
		ends := 0
		for i := 0; i < len(stream); i += step {
			ends += f.add(stream[i:min(i+step, len(stream))])
		}
		if ends != 3 {
			t.Errorf("in steps of %d: %d frames, want 3", step, ends)
		}
	}
}

// A session that is about to end is authenticated again before the next request,
// and not while an answer is on its way.
func TestSessionConn(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close() //nolint:errcheck // a pipe
	go func() {          // a broker that answers each request with an empty frame
		buf := make([]byte, 64)
		for {
			if _, err := theirs.Read(buf); err != nil {
				return
			}
			if _, err := theirs.Write(make([]byte, 4)); err != nil {
				return
			}
		}
	}()
	logins := 0
	conn := newSessionConn(ours, time.Nanosecond, func() (time.Duration, error) {
		if logins++; logins == 3 {
			return 0, errors.New("refused")
		}
		return time.Nanosecond, nil
	})
	defer conn.Close() //nolint:errcheck // a pipe
	request := func() error {
		if _, err := conn.Write([]byte("request")); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 4))
		return err
	}
	for want := 1; want <= 2; want++ {
		if err := request(); err != nil {
			t.Fatal(err)
		}
		if logins != want {
			t.Errorf("authenticated %d times, want %d", logins, want)
		}
	}
	if err := request(); err == nil {
		t.Error("a request went out although the session was refused")
	}
	if same := newSessionConn(ours, 0, nil); same != ours {
		t.Error("wrapped although the session has no end")
	}
}

func TestGarbageIsRejected(t *testing.T) {
	for name, answer := range map[string]string{
		"too long":         "\x7f\xff\xff\xff",
		"other request":    "\x00\x00\x00\x06\x00\x00\x00\x09\x00\x00",
		"cut short":        "\x00\x00\x00\x05\x00\x00\x00\x01\x00",
		"endless array":    "\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x21\x7f\xff\xff\xff",
		"string too long":  "\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x21\x00\x00\x00\x01\x7f\xff",
		"nothing":          "",
		"negative lengths": "\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x21\xff\xff\xff\xff\xff\xff",
	} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 64))
			_, _ = theirs.Write([]byte(answer))
			_ = theirs.Close()
		}()
		if err := (&Wire{Conn: ours, Timeout: time.Minute}).handshake("PLAIN"); err == nil {
			t.Errorf("%s: accepted", name)
		}
		_ = ours.Close()
	}
}

// A request that has to authenticate first has its deadlines all the same: a broker that
// says nothing after that holds nobody up.
func TestRenewalKeepsDeadlines(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()                               //nolint:errcheck // a pipe
	go func() { _, _ = io.Copy(io.Discard, theirs) }() // until the pipe is closed
	conn := newSessionConn(ours, time.Nanosecond, func() (time.Duration, error) {
		return 0, errors.Join(ours.SetDeadline(time.Now().Add(time.Minute)), ours.SetDeadline(time.Time{})) // as Wire.Call does
	})
	defer conn.Close() //nolint:errcheck // a pipe
	w := &Wire{Conn: conn, Addr: "broker:9092", Timeout: 50 * time.Millisecond}
	ended := make(chan error, 1)
	go func() { ended <- w.Call(kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrApiVersionsResponse()) }()
	select {
	case err := <-ended:
		if _, ok := errors.AsType[*silentError](err); !ok {
			t.Errorf("got %v, want that the broker does not answer", err)
		}
	case <-time.After(seeds.AtMost(5 * time.Second)):
		t.Error("the request has no deadline any more")
	}
}

// Requests that get no response (acks=0) are not waited for: sessions are renewed, and
// nothing is kept of them.
func TestRequestsWithoutResponses(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()                               //nolint:errcheck // a pipe
	go func() { _, _ = io.Copy(io.Discard, theirs) }() // until the pipe is closed
	logins := 0
	session := newSessionConn(ours, time.Nanosecond, func() (time.Duration, error) { logins++; return time.Nanosecond, nil })
	conn := &limitedConn{Conn: &firstResponseConn{Conn: session, timeouts: newFirstTimeouts(), timeout: time.Minute}}
	defer conn.Close() //nolint:errcheck // a pipe
	w := &Wire{Conn: conn, Timeout: time.Minute}
	for range 3 {
		request := kmsg.NewPtrProduceRequest()
		request.Version = 10
		if err := w.Call(request, nil); err != nil {
			t.Fatal(err)
		}
	}
	if logins != 3 || len(conn.asked) > 0 {
		t.Errorf("authenticated %d times, want 3; %d requests are kept", logins, len(conn.asked))
	}
}

// endless is a mechanism whose authentication never completes.
type endless struct{}

func (endless) begin(context.Context, string) (exchange, []byte, error) {
	return endless{}, []byte("x"), nil
}
func (endless) next([]byte) ([]byte, bool, error) { return []byte("x"), false, nil }
func (endless) refused() BrokerError              { return BrokerError{} }
func (endless) close()                            {}

// A broker that always has another message for an authentication costs its connection, at
// the first one and at a renewal.
func TestEndlessLoginEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close() //nolint:errcheck // a pipe
	go func() {
		for request := make([]byte, 256); ; {
			if _, err := theirs.Read(request); err != nil {
				return
			}
			answer := append(make([]byte, 4), request[8:12]...)
			if request[5] == byte(kmsg.SASLHandshake) {
				answer = append(answer, make([]byte, 2+4)...)
			} else {
				answer = append(answer, 0, 0, 0xff, 0xff, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0)
			}
			binary.BigEndian.PutUint32(answer, uint32(len(answer)-4))
			if _, err := theirs.Write(answer); err != nil {
				return
			}
		}
	}()
	a := &Access{c: &config.Config{SASLMechanism: "OAUTHBEARER"}, mechanism: endless{}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := a.login(ctx, &Wire{Conn: ours, Addr: "broker:9092", Timeout: time.Minute})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("logged in")
		}
	case <-time.After(seeds.AtMost(5 * time.Second)):
		t.Error("the login does not end")
		_ = ours.Close()
	}
}

// Tagged fields that are cut short end at once, however many are announced.
func TestTagsAreBounded(t *testing.T) {
	many := binary.AppendUvarint(nil, 1<<62)
	for name, b := range map[string][]byte{
		"a number without an end": append(many, bytes.Repeat([]byte{0xff}, 20)...),
		"a size without an end":   append(append(many, 1), bytes.Repeat([]byte{0xff}, 20)...),
		"a size beyond the end":   append(append(many, 1), binary.AppendUvarint(nil, 1<<64-1)...),
	} {
		ended := make(chan []byte, 1)
		go func() { ended <- withoutTags(b) }()
		select {
		case rest := <-ended:
			if len(rest) > 0 {
				t.Errorf("%s: %d bytes are left", name, len(rest))
			}
		case <-time.After(seeds.AtMost(5 * time.Second)):
			t.Fatalf("%s: does not end", name)
		}
	}
	if rest := withoutTags([]byte("\x02\x00\x01a\x05\x00rest")); string(rest) != "rest" {
		t.Errorf("left is %q", rest)
	}
}
