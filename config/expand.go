package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A configuration file may name variables, as upstream's ERB does or as a shell
// does:
//
//	<%= ENV["X"] %>  <%= ENV.fetch("X") %>  <%= ENV.fetch("X", "d") %>
//	<%= ENV["X"] || "d" %>  ${X}  ${X:-d}  $${ for a literal ${
//
// or a file that holds the value: ${file:/run/secrets/x}.
//
// and the same with .to_i, .to_f, .to_s, .to_sym, .strip or .split(","), which change
// nothing, since each key knows its type.
//
// Other ERB is refused: there is no Ruby here. The tags are cut out before the file
// is read as YAML and their values put in afterwards, so that a value cannot change
// the file's structure: a password may hold `#`, `: ` or quotes. Each tag leaves a
// mark of its own length behind, which keeps lines and columns right.

// A mark is a rune of Unicode's private use area, which stands for the tag of that
// index, and padding.
const (
	firstMark = '\uE000'
	lastMark  = '\uF8FE'
	padding   = '\uF8FF'
)

// tag is a variable named in a file.
type tag struct {
	source      string
	line        int
	column      int
	variable    string // empty: file or literal
	file        string // the path of a file that holds the value; empty: none
	literal     string
	fallback    *string
	emptyCounts bool  // an empty variable counts as set
	required    bool  // without the variable it is an error
	err         error // why the tag cannot be had
}

// template is a file with its tags cut out.
type template struct {
	text string
	tags []tag
	// readFile returns what a file named by a tag holds.
	readFile func(path string) (string, error)
	// statements are the places of Ruby that makes no text.
	statements []error
}

var (
	envIndex = regexp.MustCompile(`^ENV\[\s*(?:"(\w+)"|'(\w+)')\s*\](?:\s*\|\|\s*(.+))?$`)
	// conversion is a method that makes of a text what the key makes of it anyway.
	conversion = regexp.MustCompile(`\.(?:to_i|to_f|to_s|to_sym|strip|split\(\s*(?:","|',')\s*\))$`)
	envFetch   = regexp.MustCompile(`^ENV\.fetch\(\s*(?:"(\w+)"|'(\w+)')\s*(?:,\s*(.+?)\s*)?\)(?:\s*\{\s*(.+?)\s*\})?$`)
	rubyValue  = regexp.MustCompile(`^(?:"([^"\\#]*)"|'([^'\\]*)'|(nil)|(:\w+|-?\d[\w.]*|true|false))$`)
	fileTag    = regexp.MustCompile(`^\$\{file:\s*([^{}\s][^{}]*?)\s*\}$`)
	shellTag   = regexp.MustCompile(`^\$\{(\w+)(?:(:?-)([^{}]*))?\}$`)
)

// cut finds the tags of a file. Errors of its form (a tag without end) come back
// with their position; a tag that cannot be had is an error only where its value is
// used, since other environments' sections may hold what this one lacks.
func cut(name, text string) (*template, error) {
	t := &template{}
	var out strings.Builder
	line, column := 1, 1
	for len(text) > 0 {
		source, err := nextTag(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d:%d: %w", name, line, column, err)
		}
		if source == "" {
			r, size := utf8.DecodeRuneInString(text)
			if r == utf8.RuneError && size == 1 {
				return nil, fmt.Errorf("%s:%d:%d: not valid UTF-8: save the file in that encoding", name, line, column)
			}
			if r >= firstMark && r <= padding {
				return nil, fmt.Errorf("%s:%d:%d: the private character %U cannot be used here", name, line, column, r)
			}
			out.WriteRune(r)
			column++
			if r == '\n' {
				line, column = line+1, 1
			}
			text = text[size:]
			continue
		}
		width := utf8.RuneCountInString(source)
		switch {
		case strings.HasPrefix(source, "<%#"):
			out.WriteString(strings.Repeat(" ", width))
		case strings.HasPrefix(source, "<%") && !strings.HasPrefix(source, "<%=") && !inComment(out.String()):
			t.statements = append(t.statements, fmt.Errorf("%s:%d:%d: %w", name, line, column, rubyError(source)))
			out.WriteString(strings.Repeat(" ", width))
		case len(t.tags) > lastMark-firstMark:
			return nil, fmt.Errorf("%s:%d:%d: too many variables in one file", name, line, column)
		default:
			out.WriteRune(firstMark + rune(len(t.tags)))
			out.WriteString(strings.Repeat(string(padding), width-1))
			tag := readTag(source)
			tag.line, tag.column = line, column
			t.tags = append(t.tags, tag)
		}
		column += width
		text = text[len(source):]
	}
	t.text = out.String()
	return t, nil
}

// nextTag returns the tag that text begins with, or "".
func nextTag(text string) (string, error) {
	end, opening := "", ""
	switch {
	case strings.HasPrefix(text, "<%"):
		opening, end = "<%", "%>"
	case strings.HasPrefix(text, "$${"):
		return "$${", nil
	case strings.HasPrefix(text, "${"):
		opening, end = "${", "}"
	default:
		return "", nil
	}
	rest, _, _ := strings.Cut(text, "\n")
	i := strings.Index(rest, end)
	if i < 0 {
		return "", fmt.Errorf("%s without %s on the same line", opening, end)
	}
	return rest[:i+len(end)], nil
}

func readTag(source string) tag {
	t := tag{source: source}
	if source == "$${" {
		t.literal = "${"
		return t
	}
	if m := fileTag.FindStringSubmatch(source); m != nil {
		t.file = m[1]
		return t
	}
	if strings.HasPrefix(source, "${") {
		m := shellTag.FindStringSubmatch(source)
		if m == nil {
			t.err = fmt.Errorf("%s is not understood: write ${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for a literal ${", source)
			return t
		}
		t.variable, t.emptyCounts = m[1], m[2] == "-"
		if m[2] != "" {
			t.fallback = &m[3]
		}
		return t
	}
	code, isOutput := strings.CutPrefix(source, "<%=")
	code = strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(code, "%>"), "-"))
	for conversion.MatchString(code) {
		code = conversion.ReplaceAllString(code, "")
	}
	fallback := ""
	t.emptyCounts = true
	if m := envIndex.FindStringSubmatch(code); isOutput && m != nil {
		t.variable, fallback = m[1]+m[2], m[3]
	} else if m := envFetch.FindStringSubmatch(code); isOutput && m != nil && (m[3] == "" || m[4] == "") {
		t.variable, fallback = m[1]+m[2], m[3]+m[4]
		t.required = fallback == ""
	} else {
		t.err = rubyError(source)
		return t
	}
	if fallback == "" {
		return t
	}
	m := rubyValue.FindStringSubmatch(strings.TrimSpace(fallback))
	if m == nil {
		t.err = fmt.Errorf(`the default in %s is Ruby, which is not run here: use a plain text or number`, source)
		return t
	}
	if m[3] == "" { // not nil
		value := m[1] + m[2] + m[4]
		t.fallback = &value
	}
	return t
}

func rubyError(source string) error {
	return fmt.Errorf(`%s is Ruby, which is not run here: use <%%= ENV["NAME"] %%>, <%%= ENV.fetch("NAME", "default") %%> or ${NAME:-default}, or set the key in racecar.Configure`, source)
}

// inComment reports whether what follows text is part of a YAML comment. A # within
// quotes is taken for one; the YAML parser will then say what is wrong.
func inComment(text string) bool {
	line := text[strings.LastIndexByte(text, '\n')+1:]
	return strings.HasPrefix(line, "#") || strings.Contains(line, " #") || strings.Contains(line, "\t#")
}

// value looks the variable up, or reads the file. set is false when there is neither it nor a default.
func (t tag) value(env map[string]string, readFile func(string) (string, error)) (value string, set bool, err error) {
	if t.err != nil {
		return "", false, t.err
	}
	if t.file != "" {
		value, err = readFile(t.file)
		return value, err == nil, err
	}
	if t.variable == "" {
		return t.literal, true, nil
	}
	if v, ok := env[t.variable]; ok && (v != "" || t.emptyCounts) {
		return v, true, nil
	}
	if t.fallback != nil {
		return *t.fallback, true, nil
	}
	if t.required {
		return "", false, fmt.Errorf("%s: the variable %s is not set: set it, or give a default", t.source, t.variable)
	}
	return "", false, nil
}

// expanded is a scalar of a file with its variables put in.
type expanded struct {
	text string
	// missing names the variables that are neither set nor have a default.
	missing []string
	// null is true when the scalar is nothing but such a variable.
	null bool
	// literal is true when a ${ in it was written as $${.
	literal bool
}

// expand puts the variables' values into a scalar.
func (t *template) expand(scalar string, env map[string]string) (expanded, error) {
	var e expanded
	var out strings.Builder
	tags, others := 0, 0
	for _, r := range scalar {
		switch {
		case r == padding:
		case r >= firstMark && int(r-firstMark) < len(t.tags):
			tag := t.tags[r-firstMark]
			value, set, err := tag.value(env, t.readFile)
			if err != nil {
				return expanded{}, err
			}
			e.literal = e.literal || tag.literal != ""
			if !set {
				e.missing = append(e.missing, tag.variable)
			}
			tags++
			out.WriteString(value)
		default:
			others++
			out.WriteRune(r)
		}
	}
	e.text = out.String()
	e.null = tags == 1 && others == 0 && len(e.missing) == 1
	return e, nil
}

// withoutSources hides the tags that were not understood in a message.
func (t *template) withoutSources(message string) string {
	for _, tag := range t.tags {
		if tag.err != nil {
			message = strings.ReplaceAll(message, tag.source, hidden)
		}
	}
	return message
}

// restore puts the tags' own text back, for messages about what cannot hold them.
func (t *template) restore(s string) string {
	var out strings.Builder
	for _, r := range s {
		switch {
		case r == padding:
		case r >= firstMark && int(r-firstMark) < len(t.tags):
			out.WriteString(t.tags[r-firstMark].source)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
