package docs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tool is a command line program as its --help describes it.
type tool struct {
	name string
	// flags says of each, with its dashes, whether a value follows.
	flags map[string]bool
	// commands by name, "dlq replay"; what goes with all of them is in flags.
	commands map[string]map[string]bool
	// words says that a first word which is no command may be anything that begins
	// with a capital letter: a consumer.
	words bool
}

var (
	helpFlag    = regexp.MustCompile(`^\s+(?:(-\w), )?--(\[no-\])?([\w-]+)(=|\[=)?`)
	helpCommand = regexp.MustCompile(`^  ([a-z][\w-]*(?: [a-z][\w-]*)?)(?:  | [^a-z]|$)`)
)

// readTool asks a program for its help; ask runs it with arguments.
func readTool(name string, words bool, ask func(args ...string) (string, error)) (*tool, error) {
	help, err := ask("--help-all")
	if err != nil {
		help, err = ask("--help")
	}
	if err != nil {
		return nil, err
	}
	t := &tool{name: name, flags: helpFlags(help), commands: map[string]map[string]bool{}, words: words}
	among := false
	for line := range strings.SplitSeq(help, "\n") {
		switch m := helpCommand.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "Commands") && strings.HasSuffix(line, ":"):
			among = true
		case line != "" && line[0] != ' ':
			among = false
		case among && m != nil:
			sub, err := ask(append(strings.Fields(m[1]), "--help")...)
			if err != nil {
				return nil, err
			}
			t.commands[m[1]] = helpFlags(sub)
		}
	}
	return t, nil
}

func helpFlags(help string) map[string]bool {
	flags := map[string]bool{"--help": false, "-h": false}
	for line := range strings.SplitSeq(help, "\n") {
		m := helpFlag.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		short, negatable, name, value := m[1], m[2] != "", m[3], m[4] != ""
		flags["--"+name] = value
		if short != "" {
			flags[short] = value
		}
		if negatable {
			flags["--no-"+name] = false
		}
		if name == "logfile" {
			flags["--log"] = true // another name for it, as upstream
		}
	}
	return flags
}

// check says what is wrong with a command line of the program, without its name.
func (t *tool) check(args []string) error {
	command, own := "", map[string]bool(nil)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--" || placeholder(arg) && command == "" && !t.words:
			return nil
		case strings.HasPrefix(arg, "-") && len(arg) > 1 && (arg[1] < '0' || arg[1] > '9'):
			name, _, joined := strings.Cut(arg, "=")
			if name[1] != '-' && len(name) > 2 { // -rDIR
				name, joined = name[:2], true
			}
			value, there := own[name]
			if !there {
				value, there = t.flags[name]
			}
			if !there {
				return fmt.Errorf("%s has no flag %s", strings.TrimSpace(t.name+" "+command), name)
			}
			if value && !joined {
				i++
			}
		case own == nil:
			both := arg
			if i+1 < len(args) {
				both += " " + args[i+1]
			}
			switch {
			case t.commands[both] != nil:
				command, own = both, t.commands[both]
				i++
			case t.commands[arg] != nil:
				command, own = arg, t.commands[arg]
			case t.words && (placeholder(arg) || strings.ToUpper(arg[:1]) == arg[:1]):
				own = map[string]bool{}
			default:
				return fmt.Errorf("%s has no command %q", t.name, arg)
			}
		}
	}
	return nil
}

// placeholder says whether a word stands for others: CONSUMER, <consumer>, …
func placeholder(word string) bool {
	return word == "…" || word == "..." || strings.HasPrefix(word, "<") || strings.HasPrefix(word, "[") ||
		strings.HasPrefix(word, "$") || strings.ToUpper(word) == word && strings.ToLower(word) != word
}

var (
	// prefix is what may stand before a command: a prompt, a key of systemd or a name
	// of a Procfile, and variables.
	prefix = regexp.MustCompile(`^(?:\$ |# |=> )?(?:Exec\w+=-?|(?:[\w-]+): )?(?:(?:exec|sudo|time|env) )*(?:[A-Z_][A-Z0-9_]*=(?:"[^"]*"|'[^']*'|\S*) +)*`)
	goRun  = regexp.MustCompile(`^go (?:run|tool) (\.|\./cmd/racecarctl|github\.com/racecar-go/racecar(?:/cmd/racecarctl)?)(?:@\S+)?(?: |$)`)
	list   = regexp.MustCompile(`\[\s*"(?:[\w/.-]*/)?(racecar|racecarctl)"[^\]]*\]`)
)

// commandLines are the calls of racecar and racecarctl in a text, the program's
// name first.
func commandLines(text string) [][]string {
	var all [][]string
	for _, m := range list.FindAllString(text, -1) {
		var words []string
		if json.Unmarshal([]byte(m), &words) == nil {
			words[0] = words[0][strings.LastIndex(words[0], "/")+1:]
			all = append(all, words)
		}
	}
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		for _, part := range splitCommands(line) {
			part = strings.TrimSpace(part)
			part = part[len(prefix.FindString(part)):]
			if m := goRun.FindStringSubmatch(part); m != nil {
				name := "racecar"
				if strings.HasSuffix(m[1], "racecarctl") {
					name = "racecarctl"
				}
				part = name + " " + part[len(m[0]):]
			}
			words := shellWords(part)
			if len(words) == 0 {
				continue
			}
			name := words[0][strings.LastIndex(words[0], "/")+1:]
			if name == "racecar" || name == "racecarctl" {
				words[0] = name
				all = append(all, words)
			}
		}
	}
	return all
}

// splitCommands takes a line apart at && || | ; and &, and drops a comment.
func splitCommands(line string) []string {
	var parts []string
	var b strings.Builder
	quote := rune(0)
	before := ' '
scan:
	for _, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '#' && (before == ' ' || before == '\t') && strings.TrimSpace(b.String()) != "":
			break scan
		case r == ';' || r == '|' || r == '&':
			parts = append(parts, b.String())
			b.Reset()
			before = ' '
			continue
		}
		b.WriteRune(r)
		before = r
	}
	return append(parts, b.String())
}

// shellWords takes a command apart as a shell does, until it redirects.
func shellWords(command string) []string {
	var words []string
	var b strings.Builder
	quote, word := rune(0), false
	for _, r := range command + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			quote, word = r, true
		case r == ' ' || r == '\t':
			if word {
				words = append(words, b.String())
			}
			b.Reset()
			word = false
		default:
			b.WriteRune(r)
			word = true
		}
	}
	if i := slices.IndexFunc(words, func(w string) bool {
		return strings.HasPrefix(w, ">") || strings.HasPrefix(w, "2>") || strings.HasPrefix(w, "<") && !strings.HasSuffix(w, ">")
	}); i >= 0 {
		words = words[:i]
	}
	return words
}

// badCommands says which command lines of the page there are not.
func (p *page) badCommands(tools map[string]*tool) []string {
	var wrong []string
	check := func(line int, text string) {
		for _, words := range commandLines(text) {
			if err := tools[words[0]].check(words[1:]); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %q: %v", p.at(line), strings.Join(words, " "), err))
			}
		}
	}
	for _, b := range p.blocks {
		if b.lang != "go" && b.lang != "diff" && b.lang != "ruby" && b.lang != "output" {
			check(b.line, b.code)
		}
	}
	for _, s := range p.spans {
		check(s.line, s.code)
	}
	return wrong
}
