package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestPropertiesTable(t *testing.T) {
	for name, p := range propertyTable {
		ways := 0
		for _, has := range []bool{p.key != "", p.set != nil, p.only != "", p.refused != ""} {
			if has {
				ways++
			}
		}
		if ways != 1 || p.of == 0 || (p.set != nil) != (p.as != "") || (p.only != "") != (p.why != "") {
			t.Errorf("%s: exactly one of key, field, only value and refusal, with its words: %+v", name, p)
		}
		if _, ok := Lookup(p.key); p.key != "" && !ok {
			t.Errorf("%s: no key %s", name, p.key)
		}
		if _, alias := propertyAliases[name]; alias {
			t.Errorf("%s is an alias as well", name)
		}
	}
	for alias, name := range propertyAliases {
		if _, ok := propertyTable[name]; !ok {
			t.Errorf("%s: no %s", alias, name)
		}
	}
}

func TestConsumerProperties(t *testing.T) {
	got, err := ConsumerProperties([]string{
		"auto.offset.reset = largest", "fetch.message.max.bytes=2097152", "isolation.level=read_uncommitted",
		"fetch.error.backoff.ms=250", "client.rack=eu-1a", "allow.auto.create.topics=true",
		"socket.connection.setup.timeout.ms=5000", "max.in.flight=2", "retry.backoff.ms=50", "retry.backoff.max.ms=500",
		"client.dns.lookup=use_all_dns_ips", "enable.auto.commit=true", "session.timeout.ms=45000",
	})
	yes := true
	want := Properties{
		AutoOffsetReset: "latest", MaxPartitionFetchBytes: 2 << 20, IsolationLevel: "read_uncommitted",
		FetchErrorBackoff: 250 * time.Millisecond, ClientRack: "eu-1a", AllowAutoCreateTopics: &yes,
		ConnectTimeout: 5 * time.Second, MaxInFlight: 2, RetryBackoff: 50 * time.Millisecond, RetryBackoffMax: 500 * time.Millisecond,
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Properties{})); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if c := got.Apply(Default()); c.SessionTimeout != 45*time.Second || len(got.Keys()) != 1 || got.Keys()[0] != "session_timeout" {
		t.Errorf("%v sets %v", c, got.Keys())
	}
}

func TestProducerProperties(t *testing.T) {
	got, err := ProducerProperties([]string{
		"acks=all", "enable.idempotence=false", "linger.ms=0.5", "batch.size=65536", "batch.num.messages=500",
		"message.max.bytes=2000000", "message.send.max.retries=7", "request.timeout.ms=10000", "compression.level=-1",
		"transaction.timeout.ms=90000", "compression.type=lz4", "socket.timeout.ms=5000", "bootstrap.servers=a,b:1",
	})
	acks, idempotent, linger, retries, level := int16(-1), false, 500*time.Microsecond, 7, -1
	want := Properties{
		Acks: &acks, Idempotence: &idempotent, Linger: &linger, BatchBytes: 65536, BatchMessages: 500, MaxMessageBytes: 2000000,
		Retries: &retries, RequestTimeout: 10 * time.Second, CompressionLevel: &level, TransactionTimeout: 90 * time.Second,
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Properties{})); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	c := got.Apply(Default())
	if c.ProducerCompressionCodec != "lz4" || c.SocketTimeout != 5*time.Second || strings.Join(c.Brokers, ",") != "a:9092,b:1" {
		t.Errorf("%v", c)
	}
}

// What `producer` says of connections is for producers alone; what it says of
// producing is for all to see.
func TestProducerPropertiesConcernProducersAlone(t *testing.T) {
	l, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_PRODUCER=socket.timeout.ms=5000,message.timeout.ms=1000,compression.codec=zstd"}})
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	if c.SocketTimeout != 30*time.Second || c.MessageTimeout != time.Second || c.ProducerCompressionCodec != "zstd" {
		t.Errorf("%v", c)
	}
	if got := l.Sources["message_timeout"]; got != "message.timeout.ms (RACECAR_PRODUCER)" {
		t.Errorf("message_timeout comes from %q", got)
	}
	// Another value for producers contradicts nothing.
	if _, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_PRODUCER=socket.timeout.ms=5000", "RACECAR_SOCKET_TIMEOUT=20"}}); err != nil {
		t.Error(err)
	}
	p, err := ProducerProperties(c.Producer)
	if err != nil || p.Apply(c).SocketTimeout != 5*time.Second {
		t.Errorf("%v", err)
	}
}

// A property may repeat a key, but not contradict it, whichever way the key was set.
func TestPropertiesAndKeys(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"RACECAR_SESSION_TIMEOUT=45", ""},
		{"RACECAR_SESSION_TIMEOUT=20", "RACECAR_CONSUMER: session.timeout.ms contradicts RACECAR_SESSION_TIMEOUT: leave one out"},
	} {
		_, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_CONSUMER=session.timeout.ms=45000", tt.env}})
		if got := text(err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.env, got, tt.want)
		}
	}
	// The keys' rules hold for them too.
	_, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_CONSUMER=session.timeout.ms=500"}})
	const want = "heartbeat_interval: 1 s must be shorter than session_timeout (session.timeout.ms (RACECAR_CONSUMER)), 0.5 s, by a third or more: the group would drop the worker between two heartbeats"
	if text(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = ConsumerProperties([]string{"session.timeout.ms=-5", "partition.assignment.strategy=x"})
	if text(err) != "session.timeout.ms: -0.005 s must be more than 0\npartition.assignment.strategy: \"x\" is not one of range, roundrobin, sticky, cooperative-sticky" {
		t.Errorf("got %v", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSubscriptionProperties(t *testing.T) {
	p, err := SubscriptionProperties(
		[]string{"max.partition.fetch.bytes=1", "client.rack=a", "auto.offset.reset=earliest"},
		map[string]string{"fetch.message.max.bytes": "2", "auto.offset.reset": "latest"})
	if err != nil || p.MaxPartitionFetchBytes != 2 || p.ClientRack != "a" || p.AutoOffsetReset != "latest" {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = SubscriptionProperties(nil, map[string]string{"nope": "1", "linger.ms": "1", "max.poll.interval.ms": "1"})
	const want = "max.poll.interval.ms: acts on the whole consumer: put it under consumer\n" +
		"linger.ms: is a producer property: put it under producer\n" +
		"nope: librdkafka has no such property, or it cannot be set here"
	if text(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestRefusedProperties are named with a reason, and no secret is ever quoted.
func TestRefusedProperties(t *testing.T) {
	for name, p := range propertyIndex {
		read := ConsumerProperties
		if p.of == producerSide {
			read = ProducerProperties
		}
		_, err := read([]string{name + "=s3cr3t"})
		switch {
		case strings.Contains(name, "password") || strings.Contains(name, "token"):
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s: %v", name, err)
			}
		case p.refused != "" || p.only != "":
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if p.only != "" {
			if _, err := read([]string{name + "=" + p.only}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestSpecsPropertiesAreChecked(t *testing.T) {
	o := Options{Dir: t.TempDir(), Spec: &SpecValues{Name: "X", Properties: map[string]map[string]string{
		"a": {"auto.offset.reset": "latest"},
		"b": {"nope": "1"},
		"c": {"session.timeout.ms": "900"},
	}}}
	_, err := Load(o)
	want := []string{
		`Spec of X: AdditionalConfig of b: nope: librdkafka has no such property, or it cannot be set here`,
		`Spec of X: AdditionalConfig of c: heartbeat_interval: 1 s must be shorter than session_timeout, 0.9 s, by a third or more: the group would drop the worker between two heartbeats`,
	}
	if text(err) != strings.Join(want, "\n") {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}

// What a transactional consumer cannot do without is refused before anything runs.
func TestPropertiesAgainstTransactions(t *testing.T) {
	for _, c := range []struct {
		name, consumer, producer, want string
		additional                     map[string]string
	}{
		{name: "nothing said"},
		{name: "what is so anyway", consumer: "isolation.level=read_committed", producer: "enable.idempotence=true,acks=-1,retries=5"},
		{name: "no idempotence", producer: "enable.idempotence=false", want: "RACECAR_PRODUCER: enable.idempotence=false does not go with X, which is Transactional: leave it out"},
		{name: "acks", producer: "acks=1", want: "RACECAR_PRODUCER: acks other than all does not go with X, which is Transactional: leave it out"},
		{name: "no retries", producer: "retries=0", want: "RACECAR_PRODUCER: retries=0 does not go with X, which is Transactional: leave it out"},
		{name: "isolation", consumer: "isolation.level=read_uncommitted", want: "RACECAR_CONSUMER: isolation.level=read_uncommitted does not go with X, which is Transactional: leave it out"},
		{name: "isolation of one subscription", additional: map[string]string{"isolation.level": "read_uncommitted"}, want: "Spec of X: AdditionalConfig of a: isolation.level=read_uncommitted does not go with X, which is Transactional: leave it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := &SpecValues{Name: "X", Transactional: true, Topics: []string{"a"}}
			if c.additional != nil {
				spec.Properties = map[string]map[string]string{"a": c.additional}
			}
			o := Options{Dir: t.TempDir(), Spec: spec}
			if c.consumer != "" {
				o.Environ = append(o.Environ, "RACECAR_CONSUMER="+c.consumer)
			}
			if c.producer != "" {
				o.Environ = append(o.Environ, "RACECAR_PRODUCER="+c.producer)
			}
			if _, err := Load(o); text(err) != c.want {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
			spec.Transactional = false
			if _, err := Load(o); err != nil {
				t.Errorf("without transactions: %v", err)
			}
		})
	}
}

func TestContradictoryIdempotence(t *testing.T) {
	for list, want := range map[string]string{
		"enable.idempotence=true,acks=1":     "RACECAR_PRODUCER: enable.idempotence=true needs acks=all and retries of at least 1",
		"enable.idempotence=true,retries=0":  "RACECAR_PRODUCER: enable.idempotence=true needs acks=all and retries of at least 1",
		"enable.idempotence=true,acks=all":   "",
		"enable.idempotence=false,acks=1":    "",
		"enable.idempotence=false,retries=0": "",
	} {
		if _, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_PRODUCER=" + list}}); text(err) != want {
			t.Errorf("%s: got %v, want %q", list, err, want)
		}
	}
}
