package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// properties checks the librdkafka properties. A property that is equivalent to a key of
// this side alone becomes the key's value.
func (l *loader) properties() {
	for _, p := range []struct {
		key  string
		list []string
		read func([]string) (Properties, error)
	}{
		{"consumer", l.config.Consumer, ConsumerProperties},
		{"producer", l.config.Producer, ProducerProperties},
	} {
		props, err := p.read(p.list)
		if err != nil {
			for _, e := range unjoin(err) {
				l.problem(fmt.Errorf("%s: %w", Locate(p.key, l.sources), e))
			}
			continue
		}
		l.overlay(p.key, props)
		for _, wrong := range l.conflicts(props) {
			l.problem(fmt.Errorf("%s: %s", Locate(p.key, l.sources), wrong))
		}
	}
}

// conflicts reports properties of one side that contradict each other or the Spec, so
// that --check refuses what the clients would refuse.
func (l *loader) conflicts(p Properties) (wrong []string) {
	if p.Idempotence != nil && *p.Idempotence && (p.Acks != nil && *p.Acks != -1 || p.Retries != nil && *p.Retries == 0) {
		wrong = append(wrong, "enable.idempotence=true needs acks=all and retries of at least 1")
	}
	if l.Spec == nil || !l.Spec.Transactional {
		return wrong
	}
	for _, setting := range []struct {
		given bool
		text  string
	}{
		{p.Idempotence != nil && !*p.Idempotence, "enable.idempotence=false"},
		{p.Acks != nil && *p.Acks != -1, "acks other than all"},
		{p.Retries != nil && *p.Retries == 0, "retries=0"},
		{p.IsolationLevel == "read_uncommitted", "isolation.level=read_uncommitted"},
	} {
		if setting.given {
			wrong = append(wrong, fmt.Sprintf("%s does not go with %s, which is Transactional: leave it out", setting.text, l.Spec.Name))
		}
	}
	return wrong
}

func (l *loader) overlay(side string, props Properties) {
	for _, o := range props.overrides {
		k, _ := Lookup(o.key)
		changed := l.config.Clone()
		if err := k.set(&changed, o.in); err != nil {
			l.problem(fmt.Errorf("%s: %s: %w", Locate(side, l.sources), o.property, err))
			continue
		}
		switch {
		case k.equal(&changed, &l.config):
		case l.sources[o.key] != SourceDefault && o.own:
			l.problem(fmt.Errorf("%s: %s contradicts %s: leave one out",
				Locate(side, l.sources), o.property, Locate(o.key, l.sources)))
		case o.own:
			l.config = changed
			l.sources[o.key] = fmt.Sprintf("%s (%s)", o.property, Locate(side, l.sources))
		}
	}
}

// subscriptions checks the properties of each subscription, by themselves and with
// the keys that they are equivalent to.
func (l *loader) subscriptions() {
	if l.Spec == nil {
		return
	}
	for _, topic := range slices.Sorted(maps.Keys(l.Spec.Properties)) {
		props, err := SubscriptionProperties(l.config.Consumer, l.Spec.Properties[topic])
		problems := unjoin(err)
		if err == nil {
			problems = unjoin(props.Apply(l.config).Validate())
			for _, wrong := range l.conflicts(props) {
				problems = append(problems, errors.New(wrong))
			}
		}
		for _, p := range problems {
			l.problem(fmt.Errorf("Spec of %s: AdditionalConfig of %s: %w", l.Spec.Name, topic, p))
		}
	}
}

// unjoin takes a joined error apart.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
