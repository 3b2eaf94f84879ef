package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var lowerUpper = regexp.MustCompile(`[a-z][A-Z]`)

// GroupIDFor derives a group id from a consumer's name exactly as upstream does
// (lib/racecar/config.rb, load_consumer_class), so that a consumer finds the
// offsets its Ruby ancestor committed: a dash between a lower-case and an
// upper-case letter, then lower case. Acronyms, digits and `::` stay as they are:
// UserBanConsumer → user-ban-consumer, HTTPLogConsumer → httplog-consumer,
// Billing::InvoiceConsumer → billing::invoice-consumer.
func GroupIDFor(name, prefix string) string {
	dashed := lowerUpper.ReplaceAllStringFunc(name, func(s string) string { return s[:1] + "-" + s[1:] })
	return prefix + strings.ToLower(dashed)
}

// maxTopicName is the most characters of a topic's name (Kafka's Topic.java).
const maxTopicName = 249

var notInTopic = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// DeadLetterTopicFor names a group's dead-letter topic: <group_id>.dlq. What a
// topic's name must not contain becomes `_` (billing::invoice → billing__invoice.dlq).
func DeadLetterTopicFor(groupID string) string {
	name := notInTopic.ReplaceAllString(groupID, "_")
	return name[:min(len(name), maxTopicName-len(".dlq"))] + ".dlq"
}

// ValidTopic reports whether Kafka allows name for a topic.
func ValidTopic(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxTopicName && !notInTopic.MatchString(name)
}

// LivenessDir is the folder of the liveness files that were given no path: in the
// directory for temporary files, but the user's own. environ has the form of os.Environ.
func LivenessDir(environ []string) string {
	temp := environMap(environ)["TMPDIR"]
	if temp == "" {
		temp = "/tmp"
	}
	return filepath.Join(temp, fmt.Sprintf("racecar-%d", os.Geteuid()))
}

// LivenessSuffix ends the names of liveness files in LivenessDir.
const LivenessSuffix = ".liveness"

func livenessFileFor(groups ...string) string {
	return strings.TrimSuffix(pidfileFor(groups...), ".pid") + LivenessSuffix
}

// pidfileFor names the default pidfile of a daemon that runs these groups.
func pidfileFor(groups ...string) string {
	if len(groups) == 1 {
		return strings.ReplaceAll(groups[0], "/", "_") + ".pid"
	}
	return "racecar.pid"
}
