package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/nearest"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/pidfile"
)

// A consumer's group and topics are what its Spec says, which the configuration
// file does not show. So the commands that act on a group ask the supervisor that
// runs the consumer, or know the consumer because it is registered in this program,
// or are told the group. They never derive it from a name that nobody knows: that
// moved the offsets of a group that no consumer was in.

// subject is the consumer group that a command acts on.
type subject struct {
	conf  *config.Config
	group string // empty: not known
	// Subscriptions of the consumer; spec is false when they are not known.
	spec     bool
	topics   []string
	patterns []*regexp.Regexp
}

// errNobodyToAsk is for commands that act on a group when none is named.
var errNobodyToAsk = errors.New("no supervisor is running: name a consumer or give --group")

// deadLetterTopic of the group; empty when the group is not known.
func (s *subject) deadLetterTopic() string {
	switch {
	case s.conf.DeadLetterTopic != "" && (s.spec || s.group == ""):
		return s.conf.DeadLetterTopic
	case s.group != "":
		return config.DeadLetterTopicFor(s.group)
	}
	return ""
}

// subject finds out what a command with these flags acts on. A group that is given
// overrides the consumer's. s.group is empty only when neither a consumer nor a
// group was given and nothing runs.
func (a *app) subject(ctx context.Context, w supervisorFlags, c connection, consumer, group string) (*subject, error) {
	running, err := a.settings(ctx, w, consumer, group)
	var several *severalError
	if errors.As(err, &several) || err != nil && group == "" && registered.Lookup(consumer) == nil {
		return nil, err
	}
	if running == nil && group == "" && consumer != "" && registered.Lookup(consumer) == nil {
		return nil, &unknownConsumerError{consumer}
	}
	s := &subject{}
	if running != nil {
		consumer = running.Consumer
		if err := s.subscribe(running.Topics, running.Patterns); err != nil {
			return nil, err
		}
		conf := config.Config(running.Config)
		s.conf, s.group = &conf, conf.GroupID
	}
	if running == nil || c.given() {
		loaded, err := a.load(c, consumer)
		if err != nil {
			return nil, err
		}
		if running != nil { // its own topic, at other brokers
			loaded.Config.DeadLetterTopic = running.Config.DeadLetterTopic
		}
		s.conf = &loaded.Config
	}
	if r := registered.Lookup(consumer); r != nil && running == nil {
		s.group = s.conf.GroupID
		var topics, patterns []string
		for _, sub := range r.Spec().Subscriptions {
			topics, patterns = append(topics, sub.Topic), append(patterns, sub.TopicPattern)
		}
		if err := s.subscribe(topics, patterns); err != nil {
			return nil, err
		}
	}
	if group != "" && group != s.group {
		s.spec, s.topics, s.patterns = false, nil, nil // they are those of another group
	}
	s.group = cmp.Or(group, s.group)
	return s, nil
}

func (s *subject) subscribe(topics, patterns []string) error {
	s.spec = true
	for _, t := range topics {
		if t != "" {
			s.topics = append(s.topics, t)
		}
	}
	for _, p := range patterns {
		if p == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + p + ")$")
		if err != nil {
			return fmt.Errorf("topic pattern %q: %w", p, err)
		}
		s.patterns = append(s.patterns, re)
	}
	return nil
}

// subscribes reports whether the consumer subscribes to the topic. A pattern means no
// dead-letter topic unless it names them, as in the worker.
func (s *subject) subscribes(topic string) bool {
	deadLetters := config.DeadLetterTopicFor("")
	return slices.Contains(s.topics, topic) || slices.ContainsFunc(s.patterns, func(re *regexp.Regexp) bool {
		return re.MatchString(topic) && (!strings.HasSuffix(topic, deadLetters) || strings.HasSuffix(re.String(), deadLetters+")$"))
	})
}

// unknownConsumerError is about a consumer that neither a supervisor nor this program knows.
type unknownConsumerError struct{ name string }

func (e *unknownConsumerError) Error() string {
	var known []string
	for _, r := range registered.Consumers() {
		known = append(known, r.Name())
	}
	return fmt.Sprintf("no running supervisor runs consumer %q, and this program does not register it%s: "+
		"give --group ID, or use the application's own binary under the name racecarctl", e.name, nearest.Hint(e.name, known))
}

// given reports whether the flags say which brokers are meant.
func (c connection) given() bool { return c.Config != "" || c.Brokers != "" }

// settings asks the running supervisor that has the consumer, or, without one, a
// consumer of the group, or else its only consumer. It returns nil when there is
// none, and an error when it is not clear which is meant, or it cannot be asked.
func (a *app) settings(ctx context.Context, w supervisorFlags, consumer, group string) (*Settings, error) {
	f, err := a.find(ctx, w, consumer)
	var notHere *notHereError
	var several *severalError
	switch {
	case errors.Is(err, errNoPidfile), errors.As(err, &notHere),
		errors.As(err, &several) && consumer == "" && group != "":
		return nil, nil
	case err != nil:
		return nil, err
	case f.state != pidfile.Running:
		return nil, nil
	case f.client == nil:
		return nil, fmt.Errorf("it runs (PID = %d), but does not answer: %w", f.pid, f.silent)
	}
	defer f.client.Close()
	if consumer == "" {
		st, err := f.client.Status(ctx)
		if err != nil {
			return nil, err
		}
		if consumer, err = onlyConsumer(st, group); consumer == "" {
			return nil, err
		}
	}
	s, err := f.client.Settings(ctx, consumer)
	if err != nil {
		return nil, err
	}
	if own := a.getenv("RACECAR_BROKERS"); own != "" && own != strings.Join(s.Config.Brokers, ",") {
		a.note("=> The brokers are those of the running supervisor (PID = %d), not RACECAR_BROKERS; --brokers overrides them\n", f.pid)
	}
	return &s, nil
}

// onlyConsumer is the consumer of a group; without a group, the only one there is.
func onlyConsumer(st status.Status, group string) (string, error) {
	var names []string
	for _, c := range st.Consumers {
		if group == "" || c.Group == group {
			names = append(names, c.Name)
		}
	}
	switch {
	case len(names) == 0:
		return "", nil
	case len(names) > 1 && group == "":
		return "", fmt.Errorf("several consumers run here: name one of %s", strings.Join(names, ", "))
	}
	return names[0], nil
}
