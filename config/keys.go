package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvPrefix begins the name of each key's variable.
const EnvPrefix = "RACECAR_"

// Key describes a key. All of it comes from the tags of Config.
type Key struct {
	Name    string   // as in files: client_id
	Flag    string   // without dashes: client-id; a boolean also has --no-
	Env     string   // RACECAR_CLIENT_ID
	Group   string   // theme in --help
	Type    string   // string, list, integer, size, float, boolean or duration
	Default string   // as a user would write it; empty: none
	Help    string   // one line
	Unit    string   // s, ms, bytes or empty
	Enum    []string // the words allowed; nil: any
	Secret  bool     // never shown
	// Upstream is true for the keys that Ruby's Racecar has under this name.
	Upstream bool

	field   int // index in Config
	limits  limits
	aliases map[string]string // other words for those of Enum
	props   string            // "consumer" or "producer": a list of librdkafka properties
	inspect rubyClass
}

// The values of Key.Type.
const (
	TypeString   = "string"
	TypeList     = "list"
	TypeInteger  = "integer"
	TypeSize     = "size"
	TypeFloat    = "float"
	TypeBoolean  = "boolean"
	TypeDuration = "duration"
)

// The values of Key.Unit.
const (
	unitSeconds      = "s"
	unitMilliseconds = "ms"
	unitBytes        = "bytes"
)

// Keys lists all keys: upstream's in upstream's order, then ours as in Config.
func Keys() []Key { return slices.Clone(allKeys) }

// Theme is a group of keys that belong together.
type Theme struct {
	Name string
	Keys []Key
}

// Themes lists all keys as Config does, which is the order of --help and of the
// reference.
func Themes() []Theme {
	keys := Keys()
	slices.SortFunc(keys, func(a, b Key) int { return a.field - b.field })
	var themes []Theme
	for _, k := range keys {
		if len(themes) == 0 || themes[len(themes)-1].Name != k.Group {
			themes = append(themes, Theme{Name: k.Group})
		}
		last := &themes[len(themes)-1]
		last.Keys = append(last.Keys, k)
	}
	return themes
}

// Lookup finds a key by its name.
func Lookup(name string) (Key, bool) {
	i, ok := keyIndex[name]
	if !ok {
		return Key{}, false
	}
	return allKeys[i], true
}

// allKeys and keyIndex are derived from Config once and never changed.
var (
	allKeys  = readKeys()
	keyIndex = indexKeys(allKeys)
)

func indexKeys(keys []Key) map[string]int {
	index := make(map[string]int, len(keys))
	for i, k := range keys {
		index[k.Name] = i
	}
	return index
}

// readKeys reads the tags of Config. It panics on an invalid tag, a mistake in this package
// that every test finds.
func readKeys() []Key {
	byName := map[string]Key{}
	var names []string
	t := reflect.TypeFor[Config]()
	group := ""
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("key")
		if !ok {
			continue
		}
		if g := f.Tag.Get("group"); g != "" {
			group = g
		}
		k := Key{
			Name:    name,
			Flag:    strings.ReplaceAll(name, "_", "-"),
			Env:     EnvPrefix + strings.ToUpper(name),
			Group:   group,
			Default: f.Tag.Get("default"),
			Help:    f.Tag.Get("help"),
			Unit:    f.Tag.Get("unit"),
			Secret:  f.Tag.Get("secret") == "true",
			field:   i,
			limits:  mustLimits(f.Tag.Get("range"), f.Tag.Get("special")),
			props:   f.Tag.Get("props"),
		}
		if words := f.Tag.Get("enum"); words != "" {
			k.Enum = strings.Split(words, ",")
		}
		if words := f.Tag.Get("alias"); words != "" {
			k.aliases = map[string]string{}
			for _, pair := range strings.Split(words, ",") {
				word, meaning, _ := strings.Cut(pair, "=")
				k.aliases[word] = meaning
			}
		}
		k.Type = keyType(f.Type, k.Unit)
		if k.Type == TypeDuration && k.Unit == "" {
			k.Unit = unitSeconds
		}
		byName[name] = k
		names = append(names, name)
	}
	var keys []Key
	for _, u := range upstreamKeys {
		k := byName[u.name]
		if k.Name == "" {
			panic("config: no field for upstream's key " + u.name)
		}
		k.Upstream, k.inspect = true, u.class
		keys = append(keys, k)
		delete(byName, u.name)
	}
	for _, name := range names {
		if k, ours := byName[name]; ours {
			keys = append(keys, k)
		}
	}
	return keys
}

func keyType(t reflect.Type, unit string) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return TypeDuration
	case t.Kind() == reflect.Slice:
		return TypeList
	case t.Kind() == reflect.Bool:
		return TypeBoolean
	case t.Kind() == reflect.Float64:
		return TypeFloat
	case t.Kind() == reflect.String:
		return TypeString
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		if unit == unitBytes {
			return TypeSize
		}
		return TypeInteger
	}
	panic(fmt.Sprintf("config: no key type for %v", t))
}

// limits bound a number, written in the key's unit.
type limits struct {
	text     string // as documented: ">0", "1..", "0..1"
	min, max *float64
	above    bool // min itself is not allowed
	special  *float64
}

func mustLimits(text, special string) limits {
	l := limits{text: text}
	number := func(s string) *float64 {
		if s == "" {
			return nil
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic("config: bad range " + text)
		}
		return &f
	}
	if rest, ok := strings.CutPrefix(text, ">"); ok {
		l.min, l.above = number(rest), true
	} else if lo, hi, ok := strings.Cut(text, ".."); ok {
		l.min, l.max = number(lo), number(hi)
	}
	l.special = number(special)
	return l
}

// check returns what is wrong with v, or an empty text.
func (l limits) check(v float64) string {
	if l.special != nil && v == *l.special {
		return ""
	}
	or := ""
	if l.special != nil {
		or = fmt.Sprintf(" (or %v)", *l.special)
	}
	switch {
	case l.min != nil && l.above && v <= *l.min:
		return fmt.Sprintf("must be more than %v%s", *l.min, or)
	case l.min != nil && v < *l.min:
		return fmt.Sprintf("must be at least %s%s", plain(*l.min), or)
	case l.max != nil && v > *l.max:
		return fmt.Sprintf("must be at most %s%s", plain(*l.max), or)
	}
	return ""
}

// plain writes a number without an exponent.
func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// value is the key's field in c.
func (k Key) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().Field(k.field) }

// fieldName is the key's field of Config.
func fieldName(k Key) string { return reflect.TypeFor[Config]().Field(k.field).Name }
