package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// input is the value of a key in a source: a text, a list, or null.
type input struct {
	text  string
	items []string
	list  bool
	null  bool
	// literal is true if text that looks like a placeholder is literal.
	literal bool
}

// set parses in and stores it in c. The error describes the value without its source, and
// never quotes a secret.
func (k Key) set(c *Config, in input) error {
	if in.null {
		k.value(c).SetZero()
		return nil
	}
	v, err := k.parse(in)
	if err != nil {
		return err
	}
	field := k.value(c)
	field.Set(reflect.ValueOf(v).Convert(field.Type()))
	return nil
}

// parse converts the text of a value, for all sources.
func (k Key) parse(in input) (any, error) {
	if k.Type == TypeList {
		return k.parseList(in)
	}
	if in.list {
		return nil, fmt.Errorf("a list, where %s belongs", k.wanted())
	}
	if !in.literal {
		if err := k.filled(in.text); err != nil {
			return nil, err
		}
	}
	if k.Type == TypeString {
		text, err := k.tidy(in.text)
		return k.canonical(text), err
	}
	if !utf8.ValidString(in.text) {
		return nil, errors.New("not valid UTF-8")
	}
	text := strings.TrimSpace(in.text)
	if text == "" {
		return nil, fmt.Errorf("empty, where %s belongs", k.wanted())
	}
	var v any
	var ok bool
	switch k.Type {
	case TypeBoolean:
		v, ok = parseBool(text)
	case TypeInteger:
		v, ok = parseInt(text)
		if !ok {
			v, ok = parseIntegral(text)
		}
	case TypeSize:
		v, ok = parseSize(text)
	case TypeFloat:
		v, ok = parseFloat(text)
	case TypeDuration:
		v, ok = parseDuration(text, k.Unit)
	}
	if !ok {
		if octal.MatchString(text) {
			return nil, fmt.Errorf("%s would be %s for Ruby, which reads a leading 0 as octal: write the number without it", text, rubyOctal(text))
		}
		return nil, fmt.Errorf("%s is not %s", echo(text), k.wanted())
	}
	return v, nil
}

// octal matches the numbers that YAML 1.1 and Ruby read to the base of 8.
var octal = regexp.MustCompile(`^[+-]?0[0-7_]*[0-7]$`)

func rubyOctal(text string) string {
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 8, 64)
	if err != nil {
		return "another number"
	}
	return strconv.FormatInt(n, 10)
}

// wanted names the kind of value the key takes, with an example.
func (k Key) wanted() string {
	example := k.Default
	pick := func(what, fallback string) string {
		if example == "" || example == "0" {
			example = fallback
		}
		return what + " (example: " + example + ")"
	}
	switch k.Type {
	case TypeBoolean:
		return "true or false"
	case TypeInteger:
		return pick("a whole number", "10")
	case TypeSize:
		return pick("a number of bytes", "512MiB")
	case TypeFloat:
		return pick("a number", "0.1")
	case TypeDuration:
		if k.Unit == unitMilliseconds {
			return pick("a number of milliseconds", "60000")
		}
		return pick("a number of seconds", "10") // "1m30s" is understood as well
	}
	return "a text"
}

// parseList splits a text at commas, and the items of a list as well, since a variable in
// one may hold several. Only properties may contain commas; they are not split.
func (k Key) parseList(in input) ([]string, error) {
	items := in.items
	if !in.list {
		items = strings.Split(in.text, ",")
	} else if k.props == "" {
		items = strings.Split(strings.Join(in.items, ","), ",")
	}
	var list []string
	for _, item := range items {
		item, err := k.tidy(item)
		if err == nil && !in.literal {
			err = k.filled(item)
		}
		switch {
		case err != nil:
			return nil, err
		case item == "":
		case k.props != "" && !in.list && !strings.Contains(item, "=") && len(list) > 0:
			// "partition.assignment.strategy=range,roundrobin" is one property.
			list[len(list)-1] += "," + item
		default:
			list = append(list, k.canonical(item))
		}
	}
	return list, nil
}

// canonical returns the spelling of a word in an enumeration: it accepts Ruby's symbols
// (:ssl) and other case. Validate reports other words.
func (k Key) canonical(text string) string {
	if k.Enum == nil {
		return text
	}
	word := strings.TrimPrefix(strings.TrimSpace(text), ":")
	if meaning, ok := k.aliases[strings.ToLower(word)]; ok {
		return meaning
	}
	for _, w := range k.Enum {
		if strings.EqualFold(w, word) {
			return w
		}
	}
	return text
}

func parseBool(s string) (bool, bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0":
		return false, true
	}
	return false, false
}

// digits drops the underscores that Ruby and YAML allow between digits.
func digits(s string) string {
	b := []byte(s)
	isDigit := func(i int) bool { return i >= 0 && i < len(b) && b[i] >= '0' && b[i] <= '9' }
	for i, c := range b {
		if c == '_' && !(isDigit(i-1) && isDigit(i+1)) {
			return s
		}
	}
	return strings.ReplaceAll(s, "_", "")
}

func parseInt(s string) (int64, bool) {
	if octal.MatchString(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(digits(s), 10, 64)
	return n, err == nil && int64(int(n)) == n
}

// parseIntegral takes 10.0, which Ruby's Racecar reads as 10.
func parseIntegral(s string) (int64, bool) {
	whole, zeros, found := strings.Cut(s, ".")
	n, ok := parseInt(whole)
	return n, ok && found && strings.Trim(zeros, "0") == "" && zeros != ""
}

// sizeUnits are powers of 1024 with an i and of 1000 without; a bare letter is
// 1024's, as for most tools that take sizes.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1},
}

func parseSize(s string) (int64, bool) {
	if n, ok := parseInt(s); ok {
		return n, true
	}
	lower := strings.ToLower(s)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(lower, u.suffix); ok {
			f, ok := parseFloat(strings.TrimSpace(number))
			f *= u.bytes
			return int64(f), ok && f == math.Trunc(f) && math.Abs(f) < 1<<53
		}
	}
	return 0, false
}

// parseFloat takes decimal numbers only, none of Go's hexadecimal ones, inf or nan.
func parseFloat(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789_.eE+-") != "" || octal.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(digits(s), 64)
	return f, err == nil
}

// parseDuration reads a number in the key's unit, or a Go duration.
func parseDuration(s, unit string) (time.Duration, bool) {
	if f, ok := parseFloat(s); ok {
		if unit == unitMilliseconds {
			f /= 1000
		}
		ns := math.Round(f * float64(time.Second))
		return time.Duration(ns), math.Abs(ns) < math.MaxInt64
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// number is a numeric value in the key's unit.
func (k Key) number(c *Config) (float64, bool) {
	v := k.value(c)
	switch k.Type {
	case TypeInteger, TypeSize:
		return float64(v.Int()), true
	case TypeFloat:
		return v.Float(), true
	case TypeDuration:
		return inUnit(time.Duration(v.Int()), k.Unit), true
	}
	return 0, false
}

func inUnit(d time.Duration, unit string) float64 {
	if unit == unitMilliseconds {
		return float64(d) / float64(time.Millisecond)
	}
	return float64(d) / float64(time.Second)
}

// words are the values of a key that holds text: one, or those of a list.
func (k Key) words(c *Config) []string {
	v := k.value(c)
	switch k.Type {
	case TypeString:
		return []string{v.String()}
	case TypeList:
		return v.Interface().([]string)
	}
	return nil
}

// equal reports whether a and b have the same value for k.
func (k Key) equal(a, b *Config) bool {
	if k.Type == TypeList {
		return slices.Equal(k.words(a), k.words(b))
	}
	return k.value(a).Interface() == k.value(b).Interface()
}

// Clone copies c so that no list is shared.
func (c Config) Clone() Config {
	for _, k := range allKeys {
		if k.Type == TypeList {
			v := k.value(&c)
			v.Set(reflect.ValueOf(slices.Clone(v.Interface().([]string))))
		}
	}
	return c
}
