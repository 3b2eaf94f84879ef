package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const referenceFile = "../docs/configuration.md"

// TestReference keeps docs/configuration.md current. The page is generated from Config's
// tags and comments and from the table of properties.
func TestReference(t *testing.T) {
	text := reference(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(referenceFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(referenceFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(referenceFile)
	if err != nil || !bytes.Equal(committed, text) {
		t.Errorf("docs/configuration.md is not current (%v): run go test ./config -run TestReference -update", err)
	}
}

// TestEachKeyHasAnEffect and no effect is of a key or test that is gone.
func TestEachKeyHasAnEffect(t *testing.T) {
	tests := testsOfTheModule(t)
	for _, k := range Keys() {
		e, ok := keyEffects[k.Name]
		if !ok || e.does == "" {
			t.Errorf("%s: what does it do?", k.Name)
		}
		for _, name := range e.tests {
			if !tests[name] {
				t.Errorf("%s: there is no %s", k.Name, name)
			}
		}
	}
	for name := range keyEffects {
		if _, ok := Lookup(name); !ok {
			t.Errorf("%s is no key", name)
		}
	}
}

// testsOfTheModule lists its tests as package.TestName, the package by its directory.
func testsOfTheModule(t *testing.T) map[string]bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(path))
		for _, m := range declaration.FindAllSubmatch(b, -1) {
			tests[filepath.ToSlash(dir)+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

func reference(t *testing.T) []byte {
	t.Helper()
	comments := fieldComments(t)
	var b bytes.Buffer
	head, err := os.ReadFile("testdata/reference-head.txt")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(head)
	for _, theme := range Themes() {
		fmt.Fprintf(&b, "\n## %s\n", theme.Name)
		for _, k := range theme.Keys {
			writeKey(&b, k, comments[fieldName(k)])
		}
	}
	b.WriteString(referenceProperties)
	writeProperties(&b, "Consumer properties", consumerSide)
	writeProperties(&b, "Producer properties", producerSide)
	writeRefused(&b)
	return b.Bytes()
}

// fieldComments reads the comments of Config's fields, by field. Where several fields
// share one comment it is each one's.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		last := ""
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			if f.Doc != nil {
				last = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
			for _, name := range f.Names {
				comments[name.Name] = last
			}
		}
		return false
	})
	return comments
}

var goWord = regexp.MustCompile(`\b[A-Z]\w+\b`)

// inKeys speaks of keys where a comment speaks of fields.
func inKeys(comment string) string {
	comment = regexp.MustCompile(`(PauseForever|NeverGiveUp) \(-1\)`).ReplaceAllString(comment, "-1")
	comment = strings.NewReplacer("; see GroupIDFor)", ")", " (see DeadLetterTopicFor)", "",
		"docs/configuration.md lists them", "the list is [below](#librdkafkas-properties)").Replace(comment)
	comment = regexp.MustCompile(`"?(<\w+>\.\w+)"?`).ReplaceAllString(comment, "`$1`")
	comment = goWord.ReplaceAllStringFunc(comment, func(word string) string {
		for _, k := range allKeys {
			if fieldName(k) == word && word != "Consumer" && word != "Membership" && word != "Producer" && word != "Partitioner" && word != "Concurrency" {
				return "`" + k.Name + "`"
			}
		}
		return word
	})
	return comment
}

// plainDefault matches the sentence that says no more than the key's first line.
var plainDefault = regexp.MustCompile(` Defaults? to [\w,:.-]+( s| ms| byte)?\.$`)

func writeKey(b *bytes.Buffer, k Key, comment string) {
	def := "none"
	if k.Default != "" {
		def = "`" + k.Default + "`"
	}
	kind := k.Type
	if k.Unit != "" && k.Unit != "bytes" {
		kind += " in " + k.Unit
	}
	fmt.Fprintf(b, "\n### %s\n\n%s · default %s · `--%s`", k.Name, kind, def, flagName(k))
	fmt.Fprintf(b, " · `%s`", k.Env)
	if k.limits.text != "" {
		fmt.Fprintf(b, " · %s", rangeText(k.limits))
	}
	if k.Secret {
		b.WriteString(" · secret")
	}
	if !k.Upstream {
		b.WriteString(" · new")
	}
	rest := strings.TrimSuffix(comment, " Not an upstream key.")
	rest = plainDefault.ReplaceAllString(rest, "")
	if own, ok := strings.CutPrefix(rest, fieldName(k)+" "); ok { // as Go's comments begin
		rest = strings.TrimPrefix(strings.TrimPrefix(own, "is "), "are ")
	}
	fmt.Fprintf(b, "\n\n%s\n", capital(inKeys(rest)))
}

func flagName(k Key) string {
	if k.Type == TypeBoolean {
		return "[no-]" + k.Flag
	}
	return k.Flag
}

func rangeText(l limits) string {
	var text string
	switch {
	case l.above:
		text = "more than " + plain(*l.min)
	case l.max == nil:
		text = "at least " + plain(*l.min)
	default:
		text = plain(*l.min) + " to " + plain(*l.max)
	}
	if l.special != nil {
		text += " or " + plain(*l.special)
	}
	return text
}

func capital(s string) string {
	if strings.HasPrefix(s, "`") || s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func propertyNames(match func(property) bool) []string {
	var names []string
	for name, p := range propertyTable {
		if match(p) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func alsoCalled(name string) string {
	var aliases []string
	for alias, n := range propertyAliases {
		if n == name {
			aliases = append(aliases, "`"+alias+"`")
		}
	}
	slices.Sort(aliases)
	if len(aliases) == 0 {
		return "`" + name + "`"
	}
	return "`" + name + "`, " + strings.Join(aliases, ", ")
}

func writeProperties(b *bytes.Buffer, title string, of side) {
	fmt.Fprintf(b, "\n### %s\n\n| property | effect |\n|---|---|\n", title)
	for _, name := range propertyNames(func(p property) bool { return p.of&of != 0 && p.refused == "" }) {
		p := propertyTable[name]
		what := p.as
		switch {
		case p.key != "":
			what = "the key `" + p.key + "`"
			if key, value, ok := strings.Cut(p.also, "="); ok {
				what += ", with `" + key + ": " + value + "`"
			}
			if p.whole {
				what += "; not in `AdditionalConfig`"
			}
		case p.only != "":
			what = "only `" + p.only + "`: " + p.why
		}
		fmt.Fprintf(b, "| %s | %s |\n", alsoCalled(name), what)
	}
}

func writeRefused(b *bytes.Buffer) {
	b.WriteString("\n### Refused properties\n\n| property | reason |\n|---|---|\n")
	for _, name := range propertyNames(func(p property) bool { return p.refused != "" }) {
		fmt.Fprintf(b, "| %s | %s |\n", alsoCalled(name), propertyTable[name].refused)
	}
}

// TestReferenceNamesKeysNotFields, not of Go.
func TestReferenceNamesKeysNotFields(t *testing.T) {
	text := string(reference(t))
	for i := range reflect.TypeFor[Config]().NumField() {
		name := reflect.TypeFor[Config]().Field(i).Name
		if camel := regexp.MustCompile(`[a-z][A-Z]`); camel.MatchString(name) && regexp.MustCompile(`[^.]\b`+name+`\b`).MatchString(text) &&
			!slices.Contains([]string{"OnError", "OAuthToken", "Logger", "GroupID"}, name) {
			t.Errorf("%s", name)
		}
	}
}
