package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/racecar-go/racecar/internal/nearest"
)

// DefaultFile is read if no file is named. It is no error if it does not exist.
const DefaultFile = "config/racecar.yml"

// commonSection holds what all environments share.
const commonSection = "common"

// maxFile is the maximum size of a configuration file: a larger one is a mistake.
const maxFile = 1 << 18

// setting is one key with the text of its source.
type setting struct {
	key    Key
	in     input
	source string // for Sources: "config/racecar.yml:12"
	place  string // for errors: "config/racecar.yml:12:3: client_id"
}

// fileResult is the content of a file for one environment. The settings of its section
// follow those of common, so that they override them.
type fileResult struct {
	settings []setting
	// consumers are the sections of single consumers, those of common first.
	consumers []consumerSection
	warnings  []string
	problems  []error
	// unsound are the keys whose value could not be read.
	unsound []string
	// shared has the keys of the common section, with their sources, where another
	// environment's section sets the protocol that some of them need.
	shared map[string]string
	// unread is true if the problems kept all sections from being read.
	unread bool
}

// fileReader reads one file.
type fileReader struct {
	name string // as shown in messages
	tpl  *template
	env  map[string]string
	// aliases are the nodes that aliases refer to.
	aliases map[*ast.AliasNode]ast.Node
	read    map[ast.Node][]entry // the mappings read so far
	result  fileResult
}

// readFile reads the sections of a file that apply to an environment.
func readFile(path, shown string, section environment, env map[string]string, secret func(string) (string, error)) fileResult {
	text, err := slurp(path)
	if err != nil {
		return fileResult{problems: []error{fmt.Errorf("%s: %w", shown, err)}, unread: true}
	}
	return parseFile(text, shown, section, env, secret)
}

func slurp(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open: %w", underlying(err))
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("read: %w", underlying(err))
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("larger than %d KiB: not a configuration file", maxFile>>10)
	}
	return string(b), nil
}

// underlying drops the path from an error whose message names it already.
func underlying(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// parseFile reads a file's text. secret returns what a file holds that it names.
func parseFile(text, shown string, section environment, env map[string]string, secret func(string) (string, error)) fileResult {
	r := &fileReader{name: shown, env: env, aliases: map[*ast.AliasNode]ast.Node{}, read: map[ast.Node][]entry{}}
	// A byte order mark is no part of the text, and with CRLF the parser's line
	// numbers are wrong.
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	tpl, err := cut(shown, text)
	if err != nil {
		return fileResult{problems: []error{err}, unread: true}
	}
	if len(tpl.statements) > 0 {
		return fileResult{problems: tpl.statements, unread: true}
	}
	tpl.readFile = secret
	r.tpl = tpl
	doc, err := parseYAML(tpl.text)
	if err != nil {
		r.syntax(err)
	} else {
		r.document(doc, section)
	}
	r.result.unread = len(r.result.problems) > 0 && len(r.result.settings) == 0
	return r.result
}

// maxNesting is far more than a configuration needs and far too little to exhaust the
// stack of a recursive parser.
const maxNesting = 50

// parseYAML parses one file. The parser has had panics on odd input before: one is
// reported as an error, since a configuration file must not end the process.
func parseYAML(text string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not understood as YAML (%v)", p)
		}
	}()
	if strings.Count(text, "[")+strings.Count(text, "{") > maxNesting && nesting(text) > maxNesting {
		return nil, fmt.Errorf("brackets nested more than %d deep", maxNesting)
	}
	return parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
}

// nesting is the maximum number of open brackets, including those in quotes.
func nesting(text string) int {
	deepest, open := 0, 0
	for _, c := range text {
		switch c {
		case '[', '{':
			open++
			deepest = max(deepest, open)
		case ']', '}':
			open = max(0, open-1)
		}
	}
	return deepest
}

// syntax reports the YAML parser's error without its excerpt: the lines around an error
// may contain a password.
func (r *fileReader) syntax(err error) {
	for _, t := range r.tpl.tags { // Ruby that made YAML is probably what is wrong
		if t.err != nil {
			r.result.problems = append(r.result.problems, fmt.Errorf("%s:%d:%d: %w", r.name, t.line, t.column, t.err))
		}
	}
	if se, ok := errors.AsType[*yaml.SyntaxError](err); ok && se.Token != nil && se.Token.Position != nil {
		r.problem(se.Token, "not valid YAML: %s", firstLine(se.Message))
		return
	}
	r.result.problems = append(r.result.problems, fmt.Errorf("%s: %s", r.name, firstLine(err.Error())))
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func (r *fileReader) at(t *token.Token) string {
	if t == nil || t.Position == nil {
		return r.name
	}
	return fmt.Sprintf("%s:%d:%d", r.name, t.Position.Line, t.Position.Column)
}

func (r *fileReader) problem(t *token.Token, format string, args ...any) {
	r.result.problems = append(r.result.problems, fmt.Errorf("%s: %s", r.at(t), oneLine(fmt.Sprintf(format, args...))))
}

// oneLine shows the line breaks and tabs that names from outside may have.
func oneLine(s string) string { return lineBreaks.Replace(s) }

var lineBreaks = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`)

// document picks the sections and reads their keys.
func (r *fileReader) document(file *ast.File, section environment) {
	var docs []*ast.DocumentNode
	for _, d := range file.Docs {
		if d != nil && d.Body != nil && d.Body.Type() != ast.DirectiveType && d.Body.Type() != ast.CommentType {
			docs = append(docs, d)
		}
	}
	switch len(docs) {
	case 0:
		r.result.warnings = append(r.result.warnings, r.name+": the file is empty: defaults are used")
		return
	case 1:
	default:
		r.problem(docs[1].Body.GetToken(), "a second YAML document: put everything into one")
		return
	}
	r.resolveAliases(docs[0].Body, map[string]ast.Node{})
	entries, ok := r.entries(docs[0].Body)
	if !ok {
		r.problem(docs[0].Body.GetToken(), "sections such as %s: and production: belong here, each with its keys below it", commonSection)
		return
	}
	sections := map[string]entry{}
	var names []string
	for _, e := range entries {
		if r.outside(e) && e.name != section.name && e.name != commonSection {
			r.problem(e.token, "%s stands outside of any section%s: put it under %s: or %s:", e.name, indentedOddly(e.name), commonSection, section.name)
			continue
		}
		sections[e.name] = e
		if e.name != commonSection {
			names = append(names, e.name)
		}
	}
	if len(r.result.problems) > 0 {
		return
	}
	common, hasCommon := sections[commonSection]
	own, hasOwn := sections[section.name]
	if hasCommon && hasOwn && section.name != commonSection && r.unmerged(common, own) {
		return
	}
	if hasCommon {
		r.section(common)
		if r.protocolElsewhere(entries, section.name) {
			r.result.shared = keysOf(r.result.settings)
		}
	}
	switch {
	case hasOwn && section.name != commonSection:
		r.section(own)
	case hasOwn:
	case hasCommon:
		r.result.warnings = append(r.result.warnings, fmt.Sprintf("%s: no section %q (%s)%s: only %s is used",
			r.name, section.name, section.origin, nearest.Hint(section.name, names), commonSection))
	default:
		r.result.problems = append(r.result.problems, fmt.Errorf("%s: neither %s nor a section %q (%s): it has %s",
			r.name, commonSection, section.name, section.origin, listed(names)))
	}
}

// outside reports whether a top-level entry is no section: it holds no keys, and is
// not there to be named by an alias either.
func (r *fileReader) outside(e entry) bool {
	if _, isSection := r.mapping(e.value); isSection || isNull(r.resolve(e.value)) {
		return false
	}
	_, isKey := Lookup(e.name)
	_, isAnchored := e.value.(*ast.AnchorNode)
	return isKey || !isAnchored
}

// indentedOddly explains a key that looks indented and is not.
func indentedOddly(name string) string {
	if first, _ := utf8.DecodeRuneInString(name); unicode.IsSpace(first) && first != ' ' {
		return fmt.Sprintf(" (it is indented with %U, which YAML does not take for a space)", first)
	}
	return ""
}

// unmerged refuses a file that two languages would read differently: Ruby's Racecar
// reads the environment's section alone, so that a common section which others merge
// and this one does not was never meant for it.
func (r *fileReader) unmerged(common, own entry) bool {
	anchor, ok := common.value.(*ast.AnchorNode)
	if !ok || r.merges(own.value, anchor.Value) {
		return false
	}
	r.problem(own.token, "%s does not merge %s, which has the anchor &%s: Ruby's Racecar would read %[1]s alone, this one reads %[2]s as well; write <<: *%[3]s into %[1]s, or remove the anchor to share %[2]s with all",
		own.name, commonSection, tokenValue(anchor.Name))
	return true
}

// merges reports whether a section has target among its merges, at any depth.
func (r *fileReader) merges(section, target ast.Node) bool {
	values, _ := r.mapping(section)
	for _, v := range values {
		if v.Key == nil || !v.Key.IsMergeKey() {
			continue
		}
		for _, source := range r.mergeSources(v.Value) {
			if r.resolve(source) == target || r.merges(source, target) {
				return true
			}
		}
	}
	return false
}

// protocolElsewhere reports whether a section of another environment sets
// security_protocol.
func (r *fileReader) protocolElsewhere(sections []entry, own string) bool {
	for _, e := range sections {
		values, _ := r.mapping(e.value)
		for _, v := range values {
			if e.name != own && e.name != commonSection && v.Key != nil && r.keyName(v.Key) == "security_protocol" {
				return true
			}
		}
	}
	return false
}

func keysOf(settings []setting) map[string]string {
	keys := map[string]string{}
	for _, s := range settings {
		keys[s.key.Name] = s.source
	}
	return keys
}

func listed(names []string) string {
	if len(names) == 0 {
		return "no sections"
	}
	return oneLine(strings.Join(names, ", "))
}

// section turns a section's entries into settings.
func (r *fileReader) section(e entry) {
	if isNull(r.resolve(e.value)) {
		return // a section without keys
	}
	entries, ok := r.entries(e.value)
	if !ok {
		r.problem(e.token, "the section %s must hold keys, each on a line of its own below it", e.name)
		return
	}
	rest := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
		if strings.TrimPrefix(e.name, ":") != consumersKey {
			return false
		}
		r.consumers(e)
		return true
	})
	r.result.settings = append(r.result.settings, r.settings(rest, func(Key, *token.Token) bool { return true })...)
}

// settings reads the keys that allowed accepts, and their values.
func (r *fileReader) settings(entries []entry, allowed func(Key, *token.Token) bool) (settings []setting) {
	names := keyNames()
	for _, e := range entries {
		key, ok := Lookup(strings.TrimPrefix(e.name, ":")) // a symbol, for Ruby
		if source := r.tpl.restore(e.name); source != e.name {
			r.problem(e.token, "%s: a variable cannot name a key", source)
			continue
		}
		if !ok {
			r.problem(e.token, "unknown key %q%s", e.name, nearest.Hint(e.name, names))
			continue
		}
		if !allowed(key, e.token) {
			continue
		}
		in, ok := r.input(key, e)
		if !ok {
			r.result.unsound = append(r.result.unsound, key.Name)
			continue
		}
		settings = append(settings, setting{
			key:    key,
			in:     in,
			source: fmt.Sprintf("%s:%d", r.name, e.token.Position.Line),
			place:  r.at(e.token) + ": " + key.Name,
		})
	}
	return settings
}

func keyNames() []string {
	names := make([]string, len(allKeys))
	for i, k := range allKeys {
		names[i] = k.Name
	}
	return names
}

// input reads a key's value: a scalar, a list of scalars or null.
func (r *fileReader) input(key Key, e entry) (input, bool) {
	node := r.resolve(e.value)
	switch n := node.(type) {
	case *ast.SequenceNode:
		in := input{list: true}
		for _, item := range n.Values {
			one, ok := r.scalar(key, r.resolve(item))
			if !ok {
				return input{}, false
			}
			if !one.null {
				in.items = append(in.items, one.text)
			}
			in.literal = in.literal || one.literal
		}
		return in, true
	case *ast.MappingNode, *ast.MappingValueNode:
		if key.props == "" {
			r.problem(node.GetToken(), "%s: keys, where %s belongs", key.Name, key.wanted())
			return input{}, false
		}
		in := input{list: true} // name: value is as good as name=value
		entries, _ := r.entries(node)
		for _, p := range entries {
			if name := r.tpl.restore(p.name); name != p.name {
				r.problem(p.token, "%s: %s: a variable cannot name a property", key.Name, name)
				return input{}, false
			}
			one, ok := r.scalar(key, r.resolve(p.value))
			if !ok {
				return input{}, false
			}
			in.items = append(in.items, p.name+"="+one.text)
			in.literal = in.literal || one.literal
		}
		return in, true
	}
	return r.scalar(key, node)
}

// scalar reads one value as it is written, so that what YAML would take for a
// number (a group id of 0123) stays as typed.
func (r *fileReader) scalar(key Key, node ast.Node) (in input, ok bool) {
	var raw string
	quoted := false
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return input{null: true}, true
	case *ast.StringNode:
		raw = n.Value
		quoted = n.Token != nil && (n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType)
	case *ast.LiteralNode:
		raw, quoted = n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		raw = n.GetToken().Value
	case *ast.MappingNode:
		if raw, ok = plainColon(n); !ok {
			r.problem(tokenOf(node), "%s: %s, where %s belongs", key.Name, nodeKind(node), key.wanted())
			return input{}, false
		}
	default:
		r.problem(tokenOf(node), "%s: %s, where %s belongs", key.Name, nodeKind(node), key.wanted())
		return input{}, false
	}
	e, err := r.tpl.expand(raw, r.env)
	if err != nil {
		text := err.Error()
		if key.Secret || key.props != "" { // the tag may hold the secret itself, as its default
			text = r.tpl.withoutSources(text)
		}
		r.problem(tokenOf(node), "%s: %s", key.Name, text)
		return input{}, false
	}
	null := e.null && !quoted
	if len(e.missing) > 0 {
		used := "it counts as empty"
		switch {
		case null && key.Default != "":
			used = fmt.Sprintf("the default %q is used", key.Default)
		case null:
			used = "it counts as not given"
		}
		r.result.warnings = append(r.result.warnings, fmt.Sprintf("%s: %s: the variable %s is not set: %s",
			r.at(tokenOf(node)), key.Name, strings.Join(e.missing, ", "), used))
	}
	return input{text: e.text, null: null, literal: e.literal}, true
}

// plainColon gives back a plain scalar with a colon that the parser has split within
// a flow mapping: in {brokers: [localhost:9092]} the item is a text, since nothing
// follows the colon that would make it a mapping's.
func plainColon(n *ast.MappingNode) (string, bool) {
	if len(n.Values) != 1 {
		return "", false
	}
	pair := n.Values[0]
	key, colon, value := tokenOf(pair.Key), pair.Start, tokenOf(pair.Value)
	if key == nil || colon == nil || value == nil || key.Type != token.StringType {
		return "", false
	}
	adjacent := key.Position.Line == value.Position.Line &&
		colon.Position.Column == key.Position.Column+utf8.RuneCountInString(key.Value) &&
		value.Position.Column == colon.Position.Column+1
	return key.Value + ":" + value.Value, adjacent
}

func tokenOf(n ast.Node) *token.Token {
	if n == nil {
		return nil
	}
	return n.GetToken()
}

func nodeKind(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	case *ast.TagNode:
		return "a YAML tag"
	case *ast.AliasNode:
		return "an unknown alias"
	}
	return strings.ToLower(n.Type().String())
}
