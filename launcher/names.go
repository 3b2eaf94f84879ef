package launcher

import (
	"fmt"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

// consumerName is everything that a new consumer's name decides.
type consumerName struct {
	// Type is the Go type: TapDanceConsumer.
	Type string
	// Registered is the name on the command line where it is not Type's:
	// Billing::InvoiceConsumer. Else empty.
	Registered string
	// Dir is the package's directory under the module's root, Package its name.
	Dir, Package string
	// File is the file's name without .go: tap_dance_consumer.
	File string
	// Topic is what it consumes unless another one is named: tap-dance.
	Topic string
}

// CommandLine is what `racecar` calls the consumer.
func (n consumerName) CommandLine() string {
	if n.Registered != "" {
		return n.Registered
	}
	return n.Type
}

// unbuilt are the names of packages that the go command does not find below consumers/...,
// or that a program cannot import.
var unbuilt = []string{"internal", "main", "testdata", "vendor"}

// parseConsumerName understands a name in any case style, with or without
// "Consumer" at its end, and with namespaces as Ruby or Go write them:
// TapDance, tap_dance, "tap dance", tap-dance-consumer, Billing::Invoice,
// billing/invoice.
func parseConsumerName(name string) (consumerName, error) {
	parts := strings.Split(strings.ReplaceAll(strings.TrimSpace(name), "::", "/"), "/")
	n := consumerName{Dir: consumersDir, Package: consumersDir}
	var namespaces []string
	for _, part := range parts[:len(parts)-1] {
		all := words(part)
		pkg := strings.ToLower(strings.Join(all, ""))
		if !token.IsIdentifier(pkg) || slices.Contains(unbuilt, pkg) {
			return n, fmt.Errorf("consumer name %q: %q cannot name a package", name, part)
		}
		n.Dir, n.Package = path.Join(n.Dir, pkg), pkg
		namespaces = append(namespaces, camel(all))
	}
	all := words(parts[len(parts)-1])
	if len(all) > 0 && strings.EqualFold(all[len(all)-1], "consumer") {
		all = all[:len(all)-1]
	}
	n.Type = camel(all) + "Consumer"
	if len(all) == 0 || !token.IsIdentifier(n.Type) {
		return n, fmt.Errorf("consumer name %q: use letters and digits, beginning with a letter, as in TapDance or tap_dance", name)
	}
	lower := make([]string, len(all))
	for i, w := range all {
		lower[i] = strings.ToLower(w)
	}
	n.File = strings.Join(lower, "_") + "_consumer"
	n.Topic = strings.Join(lower, "-")
	if len(namespaces) > 0 {
		n.Registered = strings.Join(append(namespaces, n.Type), "::")
	}
	return n, nil
}

// words splits a name at characters other than letters and digits, and at changes of
// case: TapDance, HTTPLog, userV2Ban.
func words(name string) []string {
	var all []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			all = append(all, string(word))
		}
		word = nil
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
			continue
		case !unicode.IsUpper(r) || len(word) == 0:
		case !unicode.IsUpper(runes[i-1]): // tapDance
			end()
		case i+1 < len(runes) && unicode.IsLower(runes[i+1]): // HTTPLog
			end()
		}
		word = append(word, r)
	}
	end()
	return all
}

// camel puts words together as Go names types. TAP_DANCE is shouting, HTTPLog is
// not.
func camel(all []string) string {
	shouting := len(all) > 1 && !slices.ContainsFunc(all, func(w string) bool { return strings.ContainsFunc(w, unicode.IsLower) })
	var b strings.Builder
	for _, w := range all {
		runes := []rune(w)
		if shouting {
			runes = []rune(strings.ToLower(w))
		}
		b.WriteRune(unicode.ToUpper(runes[0]))
		b.WriteString(string(runes[1:]))
	}
	return b.String()
}
