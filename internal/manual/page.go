package manual

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// Section is one of a man page's that the grammar does not tell of.
type Section struct{ Title, Text string }

// Page returns the man page of a program in roff, section 1 of the manual: what
// --help says of its commands and flags, and the sections given at its end.
func Page(m *kong.Application, version string, more ...Section) string {
	var b strings.Builder
	name, summary := m.Name, firstLine(m.Help)
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s\n", strings.ToUpper(name), argument(version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", text(name), text(strings.TrimSuffix(lowerFirst(summary), ".")))
	b.WriteString(".SH SYNOPSIS\n")
	if d := m.DefaultCmd; d != nil { // the main use
		fmt.Fprintf(&b, ".B %s\n%s\n.br\n", text(name), text(strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(d.Summary(), name+" "), d.Name))))
	}
	fmt.Fprintf(&b, ".B %s\n%s\n", text(name), text(strings.TrimSpace(strings.TrimPrefix(m.Summary(), name))))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", paragraphs(m.Help))
	b.WriteString(".SH COMMANDS\n")
	each(m, func(n *kong.Node, path []string) {
		if len(path) == 0 || len(shown(n)) > 0 {
			return
		}
		fmt.Fprintf(&b, ".SS %s\n%s\n", argument(strings.TrimSpace(strings.TrimPrefix(n.Summary(), name))), paragraphs(n.Help))
		for _, f := range n.Flags {
			if !f.Hidden {
				writeFlag(&b, f)
			}
		}
	})
	b.WriteString(".SH OPTIONS\n")
	group := ""
	for _, f := range m.Flags {
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&b, ".SS %s\n", argument(strings.TrimSuffix(group, ":")))
		}
		writeFlag(&b, f)
	}
	for _, s := range more {
		fmt.Fprintf(&b, ".SH %s\n%s\n", argument(strings.ToUpper(s.Title)), paragraphs(s.Text))
	}
	return b.String()
}

func writeFlag(b *strings.Builder, f *kong.Flag) {
	b.WriteString(".TP\n.B ")
	if f.Short != 0 {
		b.WriteString(text(fmt.Sprintf("-%c, ", f.Short)))
	}
	switch {
	case f.Tag.Negatable != "":
		b.WriteString(text("--[no-]" + f.Name))
	case f.IsBool():
		b.WriteString(text("--" + f.Name))
	default:
		b.WriteString(text("--" + f.Name + "=" + f.FormatPlaceHolder()))
	}
	fmt.Fprintf(b, "\n%s\n", text(f.Help))
}

// paragraphs of plain text; a line that begins an example is kept for itself.
func paragraphs(s string) string {
	return strings.ReplaceAll(text(strings.TrimSpace(s)), "\n\n", "\n.PP\n")
}

// text keeps roff from reading a dash, a backslash, or a line's first dot or
// quote as its own.
func text(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	var b strings.Builder
	for _, r := range strings.Join(lines, "\n") {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r) // roff reads no UTF-8
		}
	}
	return b.String()
}

// argument is a text that a macro takes as one.
func argument(s string) string { return `"` + strings.ReplaceAll(text(s), `"`, `\(dq`) + `"` }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
