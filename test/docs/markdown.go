package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// page is one Markdown file, taken apart.
type page struct {
	name   string // relative to the root, with slashes
	links  []link
	spans  []span // code within a line
	blocks []block
	// anchors are those of its headings, as GitHub makes them.
	anchors map[string]bool
}

// link is a link or a picture.
type link struct {
	line   int
	target string
}

// span is `code` within a line.
type span struct {
	line int
	code string
}

// block is a fenced or indented block of code.
type block struct {
	line int    // of its first line of code
	lang string // first word after the fence; empty: none
	code string
	// with is the text of a comment <!-- with: … --> right before the block: code that
	// the snippet needs in order to compile and that a reader does not. Empty: there
	// is no such comment.
	with string
}

// at says where something is.
func (p *page) at(line int) string { return fmt.Sprintf("%s:%d", p.name, line) }

// readPages reads all Markdown files below root but those of tests, of version
// control and of what was left by trying examples.
func readPages(root string) (map[string]*page, error) {
	pages := map[string]*page{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if path != root && (base == "testdata" || base == "tmp" || base == "node_modules" || strings.HasPrefix(base, ".") && base != ".github") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(base) != ".md" {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		pages[name] = parsePage(name, source)
		return nil
	})
	return pages, err
}

// parsePage takes a Markdown text apart.
func parsePage(name string, source []byte) *page {
	p := &page{name: name, anchors: map[string]bool{}}
	seen := map[string]int{}
	root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	line := 1
	at := func(offset int) int { return 1 + strings.Count(string(source[:offset]), "\n") }
	with := ""
	// The walk reports no error: this function returns none.
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
			line = at(n.Lines().At(0).Start)
		}
		switch n := n.(type) {
		case *ast.HTMLBlock:
			html := string(n.Lines().Value(source))
			if n.HasClosure() {
				html += string(n.ClosureLine.Value(source))
			}
			if text, ok := comment(html); ok {
				with = text
			}
			return ast.WalkSkipChildren, nil
		case *ast.FencedCodeBlock:
			p.blocks = append(p.blocks, block{line: line, lang: string(n.Language(source)), code: string(n.Lines().Value(source)), with: with})
		case *ast.CodeBlock:
			p.blocks = append(p.blocks, block{line: line, code: string(n.Lines().Value(source)), with: with})
		case *ast.Heading:
			a := anchor(plain(n, source))
			seen[a]++
			if k := seen[a]; k > 1 {
				a = fmt.Sprintf("%s-%d", a, k-1)
			}
			p.anchors[a] = true
		case *ast.Link:
			p.links = append(p.links, link{lineOf(n, source, line), string(n.Destination)})
		case *ast.Image:
			p.links = append(p.links, link{lineOf(n, source, line), string(n.Destination)})
		case *ast.AutoLink:
			p.links = append(p.links, link{line, string(n.URL(source))})
		case *ast.CodeSpan:
			p.spans = append(p.spans, span{lineOf(n, source, line), plain(n, source)})
		}
		if n.Type() == ast.TypeBlock && n.Kind() != ast.KindDocument {
			with = ""
		}
		return ast.WalkContinue, nil
	})
	return p
}

// comment returns the text of <!-- with: text -->.
func comment(html string) (text string, ok bool) {
	text, ok = strings.CutPrefix(strings.TrimSpace(html), "<!-- with:")
	if !ok {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimSpace(text), "-->") + "\n", true
}

// lineOf finds the line of an inline node by the first text in it.
func lineOf(n ast.Node, source []byte, fallback int) int {
	for c := n.FirstChild(); c != nil; c = c.FirstChild() {
		if t, ok := c.(*ast.Text); ok {
			return 1 + strings.Count(string(source[:t.Segment.Start]), "\n")
		}
	}
	return fallback
}

// plain is the text in a node without its marks.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.Write(c.Segment.Value(source))
			if c.SoftLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(c.Value)
		default:
			b.WriteString(plain(c, source))
		}
	}
	return b.String()
}

// anchor is what GitHub makes of a heading: letters, digits, - and _ stay, blanks
// become dashes, all else goes.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.TrimSpace(heading))
}

var scheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)

// brokenLinks says what is wrong with the page's links within the repository.
func (p *page) brokenLinks(root string, pages map[string]*page) []string {
	var wrong []string
	for _, l := range p.links {
		if scheme.MatchString(l.target) {
			continue // elsewhere
		}
		path, fragment, hasFragment := strings.Cut(l.target, "#")
		name := p.name
		if path != "" {
			if strings.HasPrefix(path, "/") {
				wrong = append(wrong, fmt.Sprintf("%s: link to %s: write it relative to the file", p.at(l.line), l.target))
				continue
			}
			name = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), filepath.FromSlash(path)))
			if _, err := os.Stat(filepath.Join(root, name)); err != nil || strings.HasPrefix(name, "..") {
				wrong = append(wrong, fmt.Sprintf("%s: link to %s: there is no such file", p.at(l.line), l.target))
				continue
			}
		}
		if !hasFragment {
			continue
		}
		to := pages[name]
		if to == nil || !to.anchors[fragment] {
			wrong = append(wrong, fmt.Sprintf("%s: link to %s: there is no such heading in %s", p.at(l.line), l.target, name))
		}
	}
	return wrong
}

// repoPath is how a file of the repository is written.
var repoPath = regexp.MustCompile(`^(\./)?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+/?$`)

// users are paths in a user's module, whose names are those of ours as well.
var users = []string{"config/racecar.yml", "config/racecar.rb"}

// missingPaths says which files and folders of the repository the page names that
// are not there: `docs/faq.md`, `worker/commit.go`. A path is one of the repository
// if its first part is a folder at the root.
func (p *page) missingPaths(root string) []string {
	var wrong []string
	for _, s := range p.spans {
		path, _, _ := strings.Cut(s.code, ".Test") // test/e2e.TestDaemonize
		if !repoPath.MatchString(path) || slices.Contains(users, path) {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "./"), "/")
		if info, err := os.Stat(filepath.Join(root, first)); err != nil || !info.IsDir() {
			continue
		}
		_, there := os.Stat(filepath.Join(root, path))
		_, beside := os.Stat(filepath.Join(root, filepath.Dir(p.name), path))
		if there != nil && beside != nil {
			wrong = append(wrong, fmt.Sprintf("%s: `%s` is named and not there", p.at(s.line), s.code))
		}
	}
	return wrong
}
