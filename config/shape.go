package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file has the rules for the shape of text values from all sources, and for what
// messages must not repeat of them. Deployment tools add line ends, quotes and escapes, and
// leave placeholders unfilled: such a value is corrected, or refused with its key.

// shape is the kind of text that a key takes.
type shape int

const (
	shapeWord   shape = iota // names, addresses, words: one line, no spaces around it
	shapePath                // the path of a file or folder
	shapePEM                 // certificates or a key in PEM
	shapeSecret              // a password or token: spaces belong to it
	shapeShell               // a command line
)

func (k Key) shape() shape {
	switch {
	case strings.HasSuffix(k.Name, "_pem"):
		return shapePEM
	case k.Secret:
		return shapeSecret
	case k.Name == kinitCommand:
		return shapeShell
	case strings.HasSuffix(k.Name, "_location"), strings.HasSuffix(k.Name, "_file"), strings.HasSuffix(k.Name, "_path"),
		k.Name == "sasl_kerberos_keytab", k.Name == "pidfile", k.Name == "logfile", k.Name == "control_socket":
		return shapePath
	}
	return shapeWord
}

// tidy gives a text the shape that its key takes, or returns an error, which repeats
// nothing of a value that may be a secret.
func (k Key) tidy(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errors.New("not valid UTF-8")
	}
	shape := k.shape()
	if shape == shapeSecret {
		text = strings.TrimRight(text, "\r\n") // a file's last line end
	} else {
		text = strings.TrimFunc(text, blank)
	}
	switch {
	case shape == shapePEM:
		return k.tidyPEM(text)
	case shape == shapePath && looksLikePEM(text):
		return "", errors.New("this is " + pemKind(text) + ", not a path" + k.useInstead())
	case looksLikePEM(text) && k.props != "":
		return text, nil
	case looksLikePEM(text):
		return "", errors.New("this is " + pemKind(text) + ", which does not belong here")
	case shape == shapeShell:
		return text, nil
	}
	if i := strings.IndexFunc(text, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return "", fmt.Errorf("contains %s: only one line of text belongs here", controlName(r))
	}
	if q, quoted := quotes(text); quoted && shape != shapeSecret && k.props == "" {
		return "", fmt.Errorf("stands in quotes (%s): leave them out", q)
	}
	return text, nil
}

// blank are the characters that are removed at both ends of a value.
func blank(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }

func controlName(r rune) string {
	switch r {
	case '\n', '\r':
		return "a line break"
	case '\t':
		return "a tab"
	case 0:
		return "a NUL character"
	}
	return fmt.Sprintf("the control character %U", r)
}

// placeholder matches a value that a deployment tool should have replaced: a shell's or compose's ${X}, Kubernetes' $(X), Helm's and Ansible's
// {{ x }}, ERB.
var placeholder = regexp.MustCompile(`^(\$\{\w+\}|\$\(\w+\)|\{\{[^{}]*\}\}|<%=.*%>)$`)

// filled refuses a placeholder. In a file, $${X} is a literal ${X}.
func (k Key) filled(text string) error {
	text = strings.TrimSpace(text)
	if placeholder.MatchString(text) {
		if k.Secret && strings.HasPrefix(text, "{{") {
			text = hidden // what stands in braces may be the secret itself
		}
		return fmt.Errorf("%s is a placeholder that nothing has replaced: check the tool that should have", text)
	}
	return nil
}

// quotes reports whether text stands in quotes, as where docker's --env-file kept them.
func quotes(text string) (string, bool) {
	if len(text) < 2 || text[0] != text[len(text)-1] || text[0] != '"' && text[0] != '\'' {
		return "", false
	}
	return text[:1], true
}

const pemBegin = "-----BEGIN "

func looksLikePEM(text string) bool { return strings.Contains(text, pemBegin) }

func pemKind(text string) string {
	if strings.Contains(text, "PRIVATE KEY-----") {
		return "a key"
	}
	return "a certificate"
}

// useInstead names the key that takes the text itself in place of its path.
func (k Key) useInstead() string {
	instead, isLocation := strings.CutSuffix(k.Name, "_location")
	if _, ok := Lookup(instead + "_pem"); isLocation && ok {
		return ": use " + instead + "_pem"
	}
	return ""
}

// pemBlock matches one block of PEM, whatever separates its parts.
var pemBlock = regexp.MustCompile(`-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END ([A-Z0-9 ]+)-----`)

// tidyPEM restores the line breaks of PEM that came as one line: with \n spelled out
// (JSON), with spaces in their place, in quotes, or as base64 of the whole.
func (k Key) tidyPEM(text string) (string, error) {
	if _, quoted := quotes(text); quoted {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	if text == "" {
		return "", nil
	}
	if !looksLikePEM(text) {
		if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil && looksLikePEM(string(b)) {
			return k.tidyPEM(strings.TrimSpace(string(b)))
		}
		location := strings.TrimSuffix(k.Name, "_pem") + "_location"
		if strings.ContainsAny(text, "/\\") && len(text) < 256 && !strings.ContainsAny(text, "\r\n") {
			return "", fmt.Errorf("this is a path, not PEM: use %s", location)
		}
		return "", fmt.Errorf("holds no PEM (%s…): for a file use %s", pemBegin, location)
	}
	text = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", "\r\n", "\n", "\r", "\n").Replace(text)
	return pemBlock.ReplaceAllStringFunc(text, func(block string) string {
		m := pemBlock.FindStringSubmatch(block)
		body := m[2]
		if !strings.Contains(strings.TrimSpace(body), "\n") && !strings.Contains(body, ":") {
			body = strings.Join(strings.Fields(body), "\n") // headers (Proc-Type) need their own lines
			body = "\n" + body + "\n"
		}
		return pemBegin + m[1] + "-----" + body + "-----END " + m[3] + "-----"
	}), nil
}

// maxEcho is the maximum length of a value that a message repeats.
const maxEcho = 200

// echo quotes a value in a message. It describes a value with several lines or with PEM,
// which may be a private key, instead of repeating it.
func echo(text string) string {
	switch {
	case looksLikePEM(text):
		return "[PEM, not shown]"
	case strings.ContainsAny(text, "\r\n"):
		return "[several lines, not shown]"
	case len(text) > maxEcho:
		return fmt.Sprintf("%q", strings.ToValidUTF8(text[:maxEcho], "")+"…")
	}
	return fmt.Sprintf("%q", text)
}

// shownText is a value as a dump shows it.
func shownText(text string) string {
	if looksLikePEM(text) {
		return "[PEM]"
	}
	return text
}
