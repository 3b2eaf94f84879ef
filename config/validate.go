package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/racecar-go/racecar/internal/addresses"
	"github.com/racecar-go/racecar/internal/nearest"
)

// Validate checks a configuration that was not made by Load: each value by itself and the
// keys against each other. The error joins all problems, one line
// each. Load does this itself. It opens no file and no connection.
func (c Config) Validate() error {
	v := validator{c: &c, unsound: map[string]bool{}}
	return errors.Join(v.all()...)
}

// validator collects problems. A key without a known source is named by itself.
type validator struct {
	c        *Config
	topics   []string // those subscribed to by name, where they are known
	sources  map[string]string
	unsound  map[string]bool   // keys without a proper value, reported already
	shared   map[string]string // sources of what may be meant for another environment
	problems []error
	warnings []string
}

func (v *validator) all() []error {
	for _, k := range allKeys {
		before := len(v.problems)
		v.key(k)
		if len(v.problems) > before {
			v.unsound[k.Name] = true
		}
	}
	v.brokers()
	v.timing()
	v.pauses()
	v.memory()
	v.names()
	v.security()
	if err := checkLogger(v.c.Logger); err != nil {
		v.problems = append(v.problems, err)
	}
	return v.problems
}

// sound reports whether all of keys have proper values, so that they can be compared.
func (v *validator) sound(keys ...string) bool {
	for _, k := range keys {
		if v.unsound[k] {
			return false
		}
	}
	return true
}

// bad reports a problem with a key.
func (v *validator) bad(key, format string, args ...any) {
	if !v.sound(key) {
		return
	}
	v.problems = append(v.problems, fmt.Errorf("%s: %s", Locate(key, v.sources), fmt.Sprintf(format, args...)))
}

// keySource names another key within a message, with its value's source unless that is
// the default.
func (v *validator) keySource(key string) string {
	source := v.sources[key]
	if source == "" || source == SourceDefault {
		return key
	}
	return fmt.Sprintf("%s (%s)", key, source)
}

// maxMilliseconds is the longest time Kafka's protocol can carry: 32 bits of ms.
const maxMilliseconds = math.MaxInt32

// key checks one value by itself.
func (v *validator) key(k Key) {
	if n, ok := k.number(v.c); ok {
		switch wrong := k.limits.check(n); {
		case v.unsound[k.Name]:
		case math.IsNaN(n) || math.IsInf(n, 0):
			v.bad(k.Name, "%v is not a number", n)
		case wrong != "":
			v.bad(k.Name, "%s %s", k.show(n), wrong)
		case k.Type == TypeDuration && k.value(v.c).Int()/int64(time.Millisecond) > maxMilliseconds:
			v.bad(k.Name, "%s is longer than Kafka can be told (about 24 days)", k.show(n))
		case k.Unit == unitBytes && k.Name != "worker_memory_limit" && n > math.MaxInt32:
			v.bad(k.Name, "%s is more than Kafka can be told (%d)", k.show(n), math.MaxInt32)
		}
	}
	seen := map[string]bool{}
	for _, w := range k.words(v.c) {
		_, misshapen := k.tidy(w)
		switch {
		case misshapen != nil:
			v.bad(k.Name, "%v", misshapen)
		case k.Enum == nil || k.Type == TypeString && w == "" && k.Default == "":
		case !contains(k.Enum, w):
			v.bad(k.Name, "%s is not one of %s%s", echo(w), strings.Join(k.Enum, ", "), nearest.Hint(strings.TrimPrefix(w, ":"), k.Enum))
		case seen[w]:
			v.bad(k.Name, "%q is given twice", w)
		}
		seen[w] = true
	}
	if k.Type == TypeList && k.Enum != nil && len(seen) == 0 {
		v.bad(k.Name, "empty: name at least one of %s", strings.Join(k.Enum, ", "))
	}
}

func contains(words []string, w string) bool {
	for _, x := range words {
		if x == w {
			return true
		}
	}
	return false
}

// show writes a number of the key with its unit.
func (k Key) show(n float64) string {
	switch k.Unit {
	case unitSeconds, unitMilliseconds:
		return plain(n) + " " + k.Unit
	case unitBytes:
		return plain(n) + " bytes"
	}
	return plain(n)
}

func (v *validator) brokers() {
	if len(v.c.Brokers) == 0 {
		v.bad("brokers", "must not be empty: name at least one, as host:port")
	}
	for _, b := range v.c.Brokers {
		if wrong := badAddress(addresses.WithPort(b), false); wrong != "" {
			if i := strings.LastIndexByte(b, '@'); i >= 0 {
				b = "…" + b[i:] // there may be a password before it
			}
			v.bad("brokers", "%s %s: write host:port", echo(b), wrong)
		}
	}
}

// badAddress returns what is wrong with host:port, or an empty text.
func badAddress(addr string, listen bool) string {
	if i := strings.Index(addr, "://"); i >= 0 {
		return "has a scheme (" + addr[:i+3] + ")"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "is not an address"
	}
	if !hostName.MatchString(host) && (host != "" || !listen) {
		return "has no proper host"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 || n == 0 && !listen {
		return "has no proper port"
	}
	return ""
}

// hostName matches names, IPv4 and IPv6 addresses, these with their zone.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._:-]+(%[A-Za-z0-9._-]+)?$`)

func (v *validator) timing() {
	c := v.c
	if c.SocketTimeout <= c.MaxWaitTime && v.sound("max_wait_time") {
		v.bad("socket_timeout", "%s must be longer than %s, %s: connections would time out while brokers wait for messages",
			seconds(c.SocketTimeout), v.keySource("max_wait_time"), seconds(c.MaxWaitTime))
	}
	if c.HeartbeatInterval >= c.SessionTimeout && v.sound("session_timeout") {
		v.bad("heartbeat_interval", "%s must be shorter than %s, %s, by a third or more: the group would drop the worker between two heartbeats",
			seconds(c.HeartbeatInterval), v.keySource("session_timeout"), seconds(c.SessionTimeout))
	}
	if c.HeartbeatInterval >= c.MaxPollInterval && v.sound("max_poll_interval") {
		v.bad("heartbeat_interval", "%s must be shorter than %s, %s: a rebalance would be over before the worker learns of it",
			seconds(c.HeartbeatInterval), v.keySource("max_poll_interval"), seconds(c.MaxPollInterval))
	}
}

func seconds(d time.Duration) string { return plain(d.Seconds()) + " s" }

func (v *validator) pauses() {
	c := v.c
	if c.MaxPauseTimeout != 0 && !c.PauseWithExponentialBackoff && v.sound("pause_with_exponential_backoff") {
		v.bad("max_pause_timeout", "only makes sense with pause_with_exponential_backoff: set that to true, or leave this out")
	}
}

func (v *validator) memory() {
	if v.c.FetchMinBytes > v.c.MaxBytes && v.sound("max_bytes") {
		v.bad("fetch_min_bytes", "%d bytes is more than %s, %d: brokers would always wait for max_wait_time",
			v.c.FetchMinBytes, v.keySource("max_bytes"), v.c.MaxBytes)
	}
}

func (v *validator) names() {
	c := v.c
	if t := c.DeadLetterTopic; t != "" && !ValidTopic(t) {
		v.bad("dead_letter_topic", "%s cannot be a topic: use up to %d of the characters a-z, A-Z, 0-9, '.', '_' and '-'", echo(t), maxTopicName)
	} else if slices.Contains(v.topics, t) {
		v.bad("dead_letter_topic", "%q is a topic that the consumer reads: what it gives up would come back to it at once; name another one", t)
	}
	v.statusAddr()
}

// minToken is the least length of a token that other hosts can try to guess.
const minToken = 16

func (v *validator) statusAddr() {
	c := v.c
	path, unix := strings.CutPrefix(c.StatusAddr, "unix:")
	switch wrong := badAddress(c.StatusAddr, true); {
	case c.StatusAddr == "" || unix && path != "":
	case unix:
		v.bad("status_addr", "unix: names no socket: write unix:PATH")
	case wrong != "":
		v.bad("status_addr", "%s %s: write host:port, for example 127.0.0.1:9394, or unix:PATH", echo(c.StatusAddr), wrong)
	case loopback(c.StatusAddr) || v.unsound["status_token"]:
	case c.StatusToken == "":
		v.bad("status_addr", "%q can be reached from other hosts: set status_token, or use 127.0.0.1", c.StatusAddr)
	case len(c.StatusToken) < minToken:
		v.bad("status_token", "shorter than %d characters, with %s where other hosts can guess it: make one with `openssl rand -hex 16`", minToken, v.keySource("status_addr"))
	}
}

// orderWarnings reports keys that do little or nothing with the order of c.
func orderWarnings(c *Config, say func(key, text string)) {
	if c.Ordering != OrderingKey && c.Ordering != OrderingNone {
		return
	}
	order := string(c.Ordering)
	if c.Concurrency == 1 {
		say("ordering", order+" with concurrency 1: a worker still makes one call at a time, and the order only decides which messages wait for a failed one")
	}
	if c.OutageScope == "consumer" {
		say("outage_scope", "consumer has no effect with ordering "+order+": only what reported the outage waits")
	}
	if c.OutageNotReady {
		say("outage_not_ready", "has no effect with ordering "+order+": /readyz does not know of such an outage")
	}
}

// loopback reports whether only this host can reach addr.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// warnings reports keys that were given and have no effect.
func warnings(c *Config, sources map[string]string) []string {
	var w []string
	say := func(key, text string) { w = append(w, Locate(key, sources)+": "+text) }
	for _, k := range allKeys {
		if k.Secret && strings.HasPrefix(sources[k.Name], "-") {
			say(k.Name, "a secret on the command line can be read by every user of this host: use "+k.Env)
		}
	}
	if sources["sasl_over_ssl"] != SourceDefault {
		say("sasl_over_ssl", "has no effect: security_protocol decides, sasl_ssl or sasl_plaintext")
	}
	if c.WithoutRails {
		say("without_rails", "there is no Rails here: accepted, and it skips building ./consumers")
	}
	if c.PauseWithExponentialBackoff && c.PauseTimeout <= 0 {
		say("pause_with_exponential_backoff", "has no effect with pause_timeout "+plain(c.PauseTimeout.Seconds())+": there is no pause to double")
	}
	if c.StaticID != "" && c.Membership != MembershipHost {
		say("static_id", `has no effect without membership: host`)
	}
	orderWarnings(c, say)
	return w
}
