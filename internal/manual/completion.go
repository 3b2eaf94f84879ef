// Package manual makes shell completions and man pages of a command line's
// grammar: what --help says, for a shell and for man.
package manual

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Commands are those of the launcher, which carries them out itself: Help is their part of
// --help, Grammar (kong.DynamicCommand) their part of completions and man page.
type Commands struct {
	Help    string
	Grammar []kong.Option
}

// Shells are those that Completion knows.
var Shells = []string{"bash", "zsh", "fish"}

// Completion returns the script that completes a command line in shell (one of
// Shells). words, when not empty, is a command that prints what may stand beside
// the commands, such as names of consumers, one a line, and no errors.
func Completion(shell string, m *kong.Application, words string) (string, error) {
	switch shell {
	case "bash":
		return bash(m, words), nil
	case "zsh":
		// zsh runs the completions of bash.
		return "#compdef " + m.Name + "\nautoload -U +X bashcompinit && bashcompinit\n" + bash(m, words), nil
	case "fish":
		return fish(m, words), nil
	}
	return "", fmt.Errorf("shell %q is not known: use %s", shell, strings.Join(Shells, ", "))
}

// word is a name fit for a shell's function.
var word = regexp.MustCompile(`[^A-Za-z0-9_]`)

// bash looks up the words of a command line one by one: as long as they are
// commands, what may follow is that command's.
func bash(m *kong.Application, words string) string {
	var b strings.Builder
	function := "_" + word.ReplaceAllString(m.Name, "_")
	fmt.Fprintf(&b, "%s() {\n\tlocal path= i cur=${COMP_WORDS[COMP_CWORD]}\n", function)
	b.WriteString("\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase \"$path ${COMP_WORDS[i]}\" in\n")
	each(m, func(n *kong.Node, path []string) {
		if len(path) > 0 {
			fmt.Fprintf(&b, "\t\t%q) path=%q ;;\n", " "+strings.Join(path, " "), " "+strings.Join(path, " "))
		}
	})
	b.WriteString("\t\tesac\n\tdone\n\tlocal all=\n\tcase $path in\n")
	each(m, func(n *kong.Node, path []string) {
		key := ""
		if len(path) > 0 {
			key = " " + strings.Join(path, " ")
		}
		fmt.Fprintf(&b, "\t%q) all=%q ;;\n", key, strings.Join(slices.Concat(commands(n), flags(n, m)), " "))
	})
	b.WriteString("\tesac\n")
	if words != "" {
		fmt.Fprintf(&b, "\tif [[ $cur != -* && -z $path ]]; then all+=\" $(%s)\"; fi\n", words)
	}
	// Without an answer of ours, files: for --config and the like.
	fmt.Fprintf(&b, "\tmapfile -t COMPREPLY < <(compgen -W \"$all\" -- \"$cur\")\n}\ncomplete -o default -F %s %s\n", function, m.Name)
	return b.String()
}

func fish(m *kong.Application, words string) string {
	var b strings.Builder
	each(m, func(n *kong.Node, path []string) {
		when := "__fish_use_subcommand"
		if len(path) > 0 {
			when = "__fish_seen_subcommand_from " + path[len(path)-1]
		}
		for _, c := range shown(n) {
			fmt.Fprintf(&b, "complete -c %s -n %s -f -a %s -d %s\n", m.Name, quote(when), quote(c.Name), quote(c.Help))
		}
		for _, f := range n.Flags {
			if f.Hidden && len(path) > 0 {
				continue
			}
			fmt.Fprintf(&b, "complete -c %s", m.Name)
			if len(path) > 0 { // the program's own go with every command
				fmt.Fprintf(&b, " -n %s", quote(when))
			}
			fmt.Fprintf(&b, " -l %s", f.Name)
			if f.Short != 0 {
				fmt.Fprintf(&b, " -s %c", f.Short)
			}
			if !f.IsBool() {
				b.WriteString(" -r")
			}
			fmt.Fprintf(&b, " -d %s\n", quote(f.Help))
		}
	})
	if words != "" {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -f -a %s\n", m.Name, quote("("+words+")"))
	}
	return b.String()
}

func quote(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }

// each visits the program and its commands, outer ones first.
func each(m *kong.Application, visit func(n *kong.Node, path []string)) {
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		visit(n, path)
		for _, c := range shown(n) {
			walk(c, append(path[:len(path):len(path)], c.Name))
		}
	}
	walk(m.Node, nil)
}

// shown are the commands of a node that are no secret.
func shown(n *kong.Node) []*kong.Node {
	var all []*kong.Node
	for _, c := range n.Children {
		if c.Type == kong.CommandNode && !c.Hidden {
			all = append(all, c)
		}
	}
	return all
}

func commands(n *kong.Node) []string {
	var names []string
	for _, c := range shown(n) {
		names = append(names, c.Name)
	}
	return names
}

// flags are a command's own and the program's.
func flags(n *kong.Node, m *kong.Application) []string {
	var names []string
	add := func(all []*kong.Flag) {
		for _, f := range all {
			names = append(names, "--"+f.Name)
			if f.Tag.Negatable != "" {
				names = append(names, "--no-"+f.Name)
			}
		}
	}
	if n != m.Node {
		add(n.Flags)
	}
	add(m.Flags)
	return names
}
