package config

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hidden replaces secrets where a configuration is shown.
const hidden = "[hidden]"

// Setting is a key with its value and where that comes from, secrets hidden.
type Setting struct {
	Key     string `json:"key"`
	Value   any    `json:"value"` // a number is in Unit; nil where upstream has nil
	Unit    string `json:"unit,omitempty"`
	Source  string `json:"source"`  // "default", "config/racecar.yml:12", "RACECAR_BROKERS", "--brokers", …
	Written string `json:"written"` // the value in Ruby's notation, as upstream writes it on SIGUSR1

	changed bool
}

// sourceColumn is where sources begin after short values.
const sourceColumn = 48

// String is the line that shows the setting.
func (s Setting) String() string {
	return fmt.Sprintf("%-*s # %s", sourceColumn, s.Key+" = "+s.Written, s.Source)
}

// Inspect lists all keys of a configuration, upstream's first. Sources are by key; a key
// without one is at its default.
func Inspect(c Config, sources map[string]string) []Setting {
	def := Default()
	settings := make([]Setting, 0, len(allKeys))
	for _, k := range allKeys {
		source := cmp.Or(sources[k.Name], SourceDefault)
		settings = append(settings, Setting{
			Key: k.Name, Value: k.natural(&c), Unit: k.Unit, Source: source, Written: k.written(&c),
			changed: source != SourceDefault || !k.equal(&c, &def),
		})
	}
	return settings
}

// written writes a key's value as upstream does, in Ruby's notation, secrets hidden.
func (k Key) written(c *Config) string {
	v := k.value(c)
	unset := v.IsZero() && k.Default == ""
	class := k.inspect
	if class == "" {
		class = rubyClassOf(k.Type)
	}
	switch {
	case class == rubyBoolean:
		return strconv.FormatBool(v.Bool())
	case class == rubyList:
		list := k.shownWords(c)
		if len(list) == 0 && k.Name == "datadog_tags" {
			return "nil" // upstream's only list without a default
		}
		quoted := make([]string, len(list))
		for i, s := range list {
			quoted[i] = rubyQuote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case class == rubyString && k.Type == TypeList:
		return rubyQuote(strings.Join(k.shownWords(c), ","))
	case unset:
		return "nil"
	case k.Secret:
		return rubyQuote(hidden)
	case class == rubySymbol && plainSymbol(v.String()):
		return ":" + v.String()
	case class == rubySymbol:
		return ":" + rubyQuote(v.String())
	case class == rubyString:
		if v.String() == "" {
			return "nil"
		}
		return rubyQuote(shownText(v.String()))
	}
	n, _ := k.number(c)
	if class == rubyInteger && n == math.Trunc(n) {
		return plain(n)
	}
	return rubyFloatText(n)
}

func rubyClassOf(keyType string) rubyClass {
	switch keyType {
	case TypeBoolean:
		return rubyBoolean
	case TypeList:
		return rubyList
	case TypeString:
		return rubyString
	case TypeInteger, TypeSize:
		return rubyInteger
	}
	return rubyFloat
}

// shownWords are the words of a list with the secrets among librdkafka's properties
// hidden.
func (k Key) shownWords(c *Config) []string {
	words := k.words(c)
	if k.props == "" {
		return words
	}
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = w
		if name, _, ok := strings.Cut(w, "="); ok && secretProperty(name) {
			shown[i] = name + "=" + hidden
		}
	}
	return shown
}

// secretProperty reports whether a librdkafka property's value is not to be shown.
func secretProperty(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"password", "secret", "token", "jaas", ".pem", "sasl.oauthbearer.config"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func plainSymbol(s string) bool {
	for i, r := range s {
		if r != '_' && !(r < utf8.RuneSelf && unicode.IsLetter(r)) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// rubyFloatText writes a number as Ruby's Float#inspect does.
func rubyFloatText(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		if mantissa, exponent, _ := strings.Cut(s, "e"); !strings.Contains(mantissa, ".") {
			s = mantissa + ".0e" + exponent
		}
		return s
	}
	s := plain(f)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// rubyEscapes are the control characters that Ruby names.
var rubyEscapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\a': `\a`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\v': `\v`, '\f': `\f`, '\r': `\r`, 0x1b: `\e`,
}

// rubyQuote writes a text as Ruby's String#inspect does.
func rubyQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		next := byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		escape, named := rubyEscapes[r]
		switch {
		case named:
			b.WriteString(escape)
		case r == '#' && (next == '{' || next == '$' || next == '@'):
			b.WriteString(`\#`)
		case r == utf8.RuneError:
			b.WriteString(`\uFFFD`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02X`, r)
		case !unicode.IsPrint(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// natural is a key's value as JSON shows it: numbers in the key's unit, null where
// upstream has nil.
func (k Key) natural(c *Config) any {
	v := k.value(c)
	switch {
	case k.Type == TypeList:
		return append([]string{}, k.shownWords(c)...)
	case k.Type == TypeBoolean:
		return v.Bool()
	case v.IsZero() && k.Default == "":
		return nil
	case k.Secret:
		return hidden
	case k.Type == TypeString:
		return shownText(v.String())
	case k.Type == TypeInteger, k.Type == TypeSize:
		return v.Int()
	case k.Type == TypeDuration:
		return inUnit(time.Duration(v.Int()), k.Unit)
	}
	return v.Float()
}
