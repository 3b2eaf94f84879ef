package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"

	"github.com/racecar-go/racecar/internal/nearest"
)

// consumersKey holds a section for each of several consumers, in an environment's
// section or in the common one:
//
//	production:
//	  consumers:
//	    UserBanConsumer: {max_retries: 5}
const consumersKey = "consumers"

// consumerSection is the section of one consumer in a file.
type consumerSection struct {
	name     string
	place    string // of the name, for messages
	settings []setting
}

// processThemes are the themes of keys that concern the supervisor's process, which
// runs all consumers.
var processThemes = []string{"The process", "Logs", "Monitoring"}

// perConsumer reports whether consumers of one process may have different values of
// the key.
func (k Key) perConsumer() bool { return !slices.Contains(processThemes, k.Group) }

// consumers reads the sections below consumersKey.
func (r *fileReader) consumers(e entry) {
	if isNull(r.resolve(e.value)) {
		return
	}
	sections, ok := r.entries(e.value)
	if !ok {
		r.problem(e.token, "%s must hold consumers, each with its keys below it", consumersKey)
		return
	}
	for _, s := range sections {
		name := r.tpl.restore(s.name)
		if name != s.name {
			r.problem(s.token, "%s: a variable cannot name a consumer", name)
			continue
		}
		section := consumerSection{name: name, place: r.at(s.token)}
		if !isNull(r.resolve(s.value)) {
			entries, ok := r.entries(s.value)
			if !ok {
				r.problem(s.token, "%s.%s must hold keys, each on a line of its own below it", consumersKey, name)
				continue
			}
			section.settings = r.settings(entries, r.forOneConsumer)
		}
		r.result.consumers = append(r.result.consumers, section)
	}
}

// forOneConsumer refuses keys that all consumers of a process share.
func (r *fileReader) forOneConsumer(k Key, t *token.Token) bool {
	if !k.perConsumer() {
		r.problem(t, "%s concerns the process, not one of its consumers: move it out of %s", k.Name, consumersKey)
	}
	return k.perConsumer()
}

// ownSection applies this consumer's section of the file, and reports sections of
// consumers that are not registered.
func (l *loader) ownSection() {
	for _, s := range l.sections {
		if l.Spec != nil && s.name == l.Spec.Name {
			l.apply(s.settings)
		}
		if l.Consumers == nil || slices.Contains(l.Consumers, s.name) {
			continue
		}
		text := fmt.Sprintf("%s: %s.%s: this program has no consumer of that name%s; it has %s",
			s.place, consumersKey, oneLine(s.name), nearest.Hint(s.name, l.Consumers), strings.Join(l.Consumers, ", "))
		if l.Check {
			l.problem(fmt.Errorf("%s", text))
		} else {
			l.warnings = append(l.warnings, text)
		}
	}
}
