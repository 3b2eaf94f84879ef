package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/racecar-go/racecar/internal/addresses"
	"github.com/racecar-go/racecar/internal/nearest"
)

// Properties are librdkafka properties, as `consumer`, `producer` and a
// Subscription's AdditionalConfig list them, read and checked. Those that stand for
// a key come in through Apply; for the others there is a field, whose zero value
// means that the property was not given.
//
// Where librdkafka's default differs from sarama's, librdkafka's applies: upstream's
// users rely on it without writing it down.
type Properties struct {
	// AutoOffsetReset is "earliest" or "latest" (auto.offset.reset). It overrides the
	// subscription's StartFrom, as upstream.
	AutoOffsetReset string
	// MaxPartitionFetchBytes is the most a fetch returns per partition
	// (fetch.message.max.bytes, max.partition.fetch.bytes; message.max.bytes on a
	// consumer, which upstream uses for it).
	MaxPartitionFetchBytes int
	// IsolationLevel is "read_committed" or "read_uncommitted" (isolation.level).
	// Librdkafka's default is read_committed, sarama's is not.
	IsolationLevel string
	// FetchErrorBackoff is the pause after a failed fetch (fetch.error.backoff.ms).
	FetchErrorBackoff time.Duration
	// ClientRack names the rack of this client, so that the nearest replica is
	// fetched from (client.rack, KIP-392).
	ClientRack string
	// AllowAutoCreateTopics lets the broker create a topic that is asked for
	// (allow.auto.create.topics). Librdkafka: false for consumers, true for producers.
	AllowAutoCreateTopics *bool

	// ConnectTimeout bounds setting up a connection, TLS and SASL included
	// (socket.connection.setup.timeout.ms).
	ConnectTimeout time.Duration
	// MaxInFlight is the maximum number of unanswered requests per connection
	// (max.in.flight.requests.per.connection). An idempotent producer has one.
	MaxInFlight int
	// RetryBackoff and RetryBackoffMax are the first and the longest pause between
	// retries of a request (retry.backoff.ms, retry.backoff.max.ms).
	RetryBackoff    time.Duration
	RetryBackoffMax time.Duration

	// Acks is how many replicas acknowledge a produced message: -1 all, 1 the leader,
	// 0 none (acks). With any other value than -1 messages may be lost.
	Acks *int16
	// Idempotence lets the broker drop repeated sends (enable.idempotence).
	Idempotence *bool
	// Linger is how long to gather messages for a batch (linger.ms). Librdkafka: 5 ms.
	Linger *time.Duration
	// BatchBytes and BatchMessages bound a batch (batch.size, batch.num.messages).
	BatchBytes    int
	BatchMessages int
	// BufferBytes bounds the produced messages that are not acknowledged yet
	// (queue.buffering.max.kbytes). Librdkafka: 1 GiB; here 32 MiB.
	BufferBytes int64
	// StickyLinger is how long messages without key go to one partition before
	// another one is chosen (sticky.partitioning.linger.ms). Librdkafka: 10 ms.
	StickyLinger *time.Duration
	// MaxMessageBytes is the largest message that may be produced (message.max.bytes).
	MaxMessageBytes int
	// Retries is how often sending is retried (retries); message_timeout bounds it too.
	Retries *int
	// RequestTimeout is how long the broker may wait for its replicas
	// (request.timeout.ms).
	RequestTimeout time.Duration
	// CompressionLevel is the codec's (compression.level): gzip 0–9, lz4 0–12, zstd
	// 1–22; -1 the codec's default.
	CompressionLevel *int
	// TransactionTimeout is after how long the broker aborts a transaction
	// (transaction.timeout.ms).
	TransactionTimeout time.Duration

	overrides []override
}

// override is a property that stands for a key.
type override struct {
	property string
	key      string
	in       input
	// own is true when the property becomes the key's value for the whole process:
	// the key concerns this side (consumer or producer) alone.
	own bool
}

// Apply returns c with the values of properties that are equivalent to keys. Clients are
// made from the result, so that sockets or credentials under `producer` concern producers
// alone.
func (p Properties) Apply(c Config) Config {
	out := c.Clone()
	for _, o := range p.overrides {
		k, _ := Lookup(o.key)
		if err := k.set(&out, o.in); err != nil {
			panic("config: property " + o.property + " was not checked: " + err.Error())
		}
	}
	for i, b := range out.Brokers {
		out.Brokers[i] = addresses.WithPort(b)
	}
	return out
}

// Keys lists the keys that Apply replaces.
func (p Properties) Keys() []string {
	var names []string
	for _, o := range p.overrides {
		names = append(names, o.key)
	}
	return names
}

// side is the kind of client that a property is for.
type side int

const (
	consumerSide side = 1 << iota
	producerSide
	bothSides = consumerSide | producerSide
)

func (s side) String() string {
	if s == producerSide {
		return "producer"
	}
	return "consumer"
}

// ConsumerProperties reads the list of `consumer`: name=value each. The error joins
// all problems, each naming its property.
func ConsumerProperties(list []string) (Properties, error) { return readList(list, consumerSide) }

// ProducerProperties reads the list of `producer`.
func ProducerProperties(list []string) (Properties, error) { return readList(list, producerSide) }

// SubscriptionProperties reads a Subscription's AdditionalConfig on top of those of
// `consumer`, which it overrides one by one, as upstream.
func SubscriptionProperties(consumer []string, additional map[string]string) (Properties, error) {
	list := slices.Clone(consumer)
	list = slices.DeleteFunc(list, func(item string) bool {
		name, _, _ := strings.Cut(item, "=")
		for other := range additional {
			if canonicalProperty(name) == canonicalProperty(other) {
				return true
			}
		}
		return false
	})
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(additional)) {
		if propertyIndex[name].whole {
			problems = append(problems, fmt.Errorf("%s: acts on the whole consumer: put it under consumer", name))
		}
		list = append(list, name+"="+additional[name])
	}
	p, err := readList(list, consumerSide)
	if problems = append(problems, unjoin(err)...); len(problems) > 0 {
		return Properties{}, errors.Join(problems...)
	}
	return p, nil
}

func readList(list []string, of side) (Properties, error) {
	var p Properties
	var problems []error
	given := map[string]string{}
	for _, item := range list {
		name, value, ok := strings.Cut(item, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			shown := echo(item)
			if secretProperty(item) {
				shown = hidden
			}
			problems = append(problems, fmt.Errorf("%s: write name=value", shown))
			continue
		}
		canonical := canonicalProperty(name)
		if before, twice := given[canonical]; twice {
			if before == name {
				problems = append(problems, fmt.Errorf("%s: given twice: keep one", name))
			} else {
				problems = append(problems, fmt.Errorf("%s: the same as %s: keep one", name, before))
			}
			continue
		}
		given[canonical] = name
		if err := p.read(name, value, of); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(problems) > 0 {
		return Properties{}, errors.Join(problems...)
	}
	return p, nil
}

// read parses one property.
func (p *Properties) read(name, value string, of side) error {
	prop, ok := propertyIndex[name]
	if !ok {
		return fmt.Errorf("librdkafka has no such property, or it cannot be set here%s", nearest.Hint(name, honouredNames(of)))
	}
	if prop.of&of == 0 {
		return fmt.Errorf("is a %s property: put it under %s", prop.of, prop.of)
	}
	if prop.refused != "" {
		return fmt.Errorf("cannot be honoured: %s", prop.refused)
	}
	shown := echo(value)
	if secretProperty(name) {
		shown = hidden
	}
	if len(prop.values) > 0 {
		word, ok := prop.word(value)
		if !ok {
			return fmt.Errorf("%s is not one of %s", shown, strings.Join(prop.words(), ", "))
		}
		value = word
	}
	if prop.only != "" && !strings.EqualFold(value, prop.only) {
		return fmt.Errorf("%s cannot be honoured, only %s: %s", shown, prop.only, prop.why)
	}
	switch {
	case prop.key != "":
		return p.override(name, value, prop, of)
	case prop.set != nil:
		if wrong := prop.set(p, value, of); wrong != "" {
			return fmt.Errorf("%s %s", shown, wrong)
		}
	}
	return nil
}

func (p *Properties) override(name, value string, prop property, of side) error {
	k, _ := Lookup(prop.key)
	in := input{text: value}
	if prop.milliseconds {
		ms, ok := parseInt(value)
		if !ok {
			return fmt.Errorf("%s is not a number of milliseconds", echo(value))
		}
		if k.Unit == unitSeconds {
			in.text = plain(float64(ms) / 1000)
		}
	}
	var scratch Config
	if err := k.set(&scratch, in); err != nil {
		return err
	}
	for _, e := range (&validator{c: &scratch}).only(k) {
		return errors.New(strings.TrimPrefix(e.Error(), k.Name+": "))
	}
	p.overrides = append(p.overrides, override{property: name, key: prop.key, in: in, own: prop.own&of != 0})
	if prop.also != "" {
		key, text, _ := strings.Cut(prop.also, "=")
		p.overrides = append(p.overrides, override{property: name, key: key, in: input{text: text}, own: prop.own&of != 0})
	}
	return nil
}

// only checks one key.
func (v *validator) only(k Key) []error {
	v.key(k)
	return v.problems
}
