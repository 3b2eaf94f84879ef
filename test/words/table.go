package words

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Places in which a word can be refused.
const (
	inName  = "name"  // an identifier that is this word and nothing else
	inFunc  = "func"  // a function, method or type that is this word
	inPart  = "part"  // an identifier that contains it: letterBox contains "letter"
	inParam = "param" // a parameter or local variable that is this word
	inText  = "text"  // log, error and help texts: string literals outside of tests
	inProse = "prose" // comments and documentation
)

// word is one row of the table.
type word struct {
	retired string
	instead string
	places  []string
	except  *regexp.Regexp // phrases that stay allowed
	outside []string       // paths in which the word stays allowed
	name    *regexp.Regexp // matches a spaced identifier
	phrase  *regexp.Regexp // matches a text
}

// readTable reads words.txt: "retired | instead | where | exceptions". Retired words are
// separated by commas; one that begins with "re:" is a regular expression.
func readTable(path string) ([]word, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var table []word
	for n, line := range strings.Split(string(source), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		w, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
		table = append(table, w)
	}
	return table, nil
}

func parseRow(line string) (word, error) {
	columns := strings.Split(line, " | ")
	if len(columns) < 3 || len(columns) > 4 {
		return word{}, fmt.Errorf("want 3 or 4 columns: %q", line)
	}
	w := word{retired: columns[0], instead: columns[1], places: commaList(columns[2])}
	for _, p := range w.places {
		if !slices.Contains([]string{inName, inFunc, inPart, inParam, inText, inProse}, p) {
			return word{}, fmt.Errorf("unknown place %q", p)
		}
	}
	pattern, err := alternatives(commaList(columns[0]))
	if err != nil {
		return word{}, err
	}
	w.phrase = pattern
	w.name = pattern
	if len(columns) == 4 {
		var phrases []string
		for _, e := range commaList(columns[3]) {
			if path, ok := strings.CutPrefix(e, "@"); ok {
				w.outside = append(w.outside, path)
			} else {
				phrases = append(phrases, e)
			}
		}
		if len(phrases) > 0 {
			w.except, err = alternatives(phrases)
		}
	}
	return w, err
}

func commaList(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// alternatives matches any of the phrases as whole words, in any case.
func alternatives(phrases []string) (*regexp.Regexp, error) {
	var all []string
	for _, p := range phrases {
		if re, ok := strings.CutPrefix(p, "re:"); ok {
			all = append(all, re)
			continue
		}
		all = append(all, `\b`+strings.ReplaceAll(regexp.QuoteMeta(p), " ", `\s+`)+`\b`)
	}
	return regexp.Compile("(?i)" + strings.Join(all, "|"))
}

func (w *word) refusedIn(place string) bool { return slices.Contains(w.places, place) }

func (w *word) allowedAt(path string) bool {
	return slices.ContainsFunc(w.outside, func(p string) bool { return within(path, p) })
}

// within reports whether path is the file or lies in the folder.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// inIdentifier reports whether the identifier is, or contains, the retired word.
func (w *word) inIdentifier(id identifier) bool {
	spaced := spaced(id.Name)
	if w.except != nil {
		spaced = w.except.ReplaceAllString(spaced, "·")
	}
	found := w.name.FindString(spaced)
	whole := w.refusedIn(inName) || w.refusedIn(inFunc) && !id.value
	return found != "" && (w.refusedIn(inPart) || whole && found == spaced)
}

// find returns the retired phrase with some of the text around it, or "".
func (w *word) find(text string) string {
	if w.except != nil {
		text = w.except.ReplaceAllString(text, "·")
	}
	at := w.phrase.FindStringIndex(text)
	if at == nil {
		return ""
	}
	from, to := max(0, at[0]-40), min(len(text), at[1]+40)
	return strings.ToValidUTF8(text[from:to], "")
}

// spaced splits an identifier into words in lower case: "deadLetterBox" is "dead letter box".
func spaced(id string) string {
	var b strings.Builder
	runes := []rune(id)
	for i, r := range runes {
		if r == '_' {
			b.WriteByte(' ')
			continue
		}
		upper := unicode.IsUpper(r)
		if i > 0 && upper && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.TrimSpace(b.String())
}
