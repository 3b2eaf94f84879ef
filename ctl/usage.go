package ctl

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// kong has no optional argument before a required one: commands with an optional
// consumer declare both as one list, which kong shows as <[CONSUMER] N> ....
var (
	listedArgument = regexp.MustCompile(`<(\[[A-Z]+\] [^>]+)> \.\.\.( +)`)
	joinedArgument = regexp.MustCompile(`<(\[[A-Z]+\] [^>]+)> \.\.\.`)
	missing        = regexp.MustCompile(`expected "<([^>]+)>(?: \.\.\.)?[^"]*"`)
)

// plainUsage writes such arguments as they are typed.
func plainUsage(text string) string {
	text = listedArgument.ReplaceAllStringFunc(text, func(s string) string {
		m := listedArgument.FindStringSubmatch(s)
		if len(m[2]) == 1 { // in a sentence
			return m[1] + m[2]
		}
		return m[1] + strings.Repeat(" ", len(s)-len(m[1])) // in the list: the help text keeps its column
	})
	return joinedArgument.ReplaceAllString(text, "$1")
}

// plainError says which argument is missing as the usage does.
func plainError(text string) string {
	return missing.ReplaceAllStringFunc(text, func(s string) string {
		return "expected " + strings.ToUpper(missing.FindStringSubmatch(s)[1])
	})
}

// help prints what kong does, in plain usage.
func help(o kong.HelpOptions, k *kong.Context) error {
	out := k.Stdout
	defer func() { k.Stdout = out }()
	var b bytes.Buffer
	k.Stdout = &b
	if err := kong.DefaultHelpPrinter(o, k); err != nil {
		return err
	}
	_, err := out.Write([]byte(plainUsage(b.String())))
	return err
}

// pathOf is a command as it is typed.
func pathOf(n *kong.Node) string {
	if n.Parent == nil {
		return n.Name
	}
	return pathOf(n.Parent) + " " + n.Name
}
