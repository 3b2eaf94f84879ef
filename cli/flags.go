package cli

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/nearest"
)

// keyFlags makes each configuration key a flag of a kong grammar, on its root, so
// that it goes with every subcommand. It only collects their texts: package config parses
// the values, as it does those of files and variables, and reports all problems at once.
type keyFlags struct {
	keys   []config.Key
	fields reflect.Value // pointer to a struct with one field per key
	// all is set by --help-all; commands is what --help says below the program's own.
	all      bool
	commands string
}

// newKeyFlags prepares the flags of all keys.
func newKeyFlags() *keyFlags {
	var keys []config.Key
	for _, t := range config.Themes() {
		keys = append(keys, t.Keys...)
	}
	fields := make([]reflect.StructField, len(keys))
	for i, k := range keys {
		fields[i] = reflect.StructField{
			Name: "Key" + strings.ReplaceAll(k.Name, "_", ""),
			Type: flagType(k),
			Tag:  flagTag(k),
		}
	}
	return &keyFlags{keys: keys, fields: reflect.New(reflect.StructOf(fields))}
}

// Options adds the flags to a grammar: kong.New(&grammar, append(options,
// flags.Options()...)...).
func (f *keyFlags) Options() []kong.Option {
	var groups []kong.Group
	for _, t := range config.Themes() {
		groups = append(groups, kong.Group{Key: t.Name, Title: t.Name + ":"})
	}
	return []kong.Option{
		kong.Embed(f.fields.Interface()),
		kong.ExplicitGroups(groups),
		kong.Help(f.printHelp),
		kong.Bind(f), // for helpAll
	}
}

// Given returns the flags that the command line has, by key, once it is parsed.
func (f *keyFlags) Given() map[string]config.Flag {
	given := map[string]config.Flag{}
	for i, k := range f.keys {
		flag := config.Flag{As: "--" + k.Flag}
		switch v := f.fields.Elem().Field(i).Interface().(type) {
		case *bool:
			if v == nil {
				continue
			}
			if flag.Text = fmt.Sprint(*v); !*v {
				flag.As = "--no-" + k.Flag
			}
		case flagText:
			if !v.given {
				continue
			}
			flag.Text = v.text
		case flagList:
			if v == nil {
				continue
			}
			flag.Text = strings.Join(v, ",")
		}
		given[k.Name] = flag
	}
	return given
}

func flagType(k config.Key) reflect.Type {
	switch k.Type {
	case config.TypeBoolean:
		return reflect.TypeFor[*bool]() // nil: not given
	case config.TypeList:
		return reflect.TypeFor[flagList]()
	}
	return reflect.TypeFor[flagText]()
}

// flagTag is what kong has to know of a key.
func flagTag(k config.Key) reflect.StructTag {
	help := k.Help
	if k.Default != "" && k.Default != "false" && k.Default != "0" {
		def := k.Default
		if k.Unit == "s" {
			def += " s"
		}
		help += " (" + def + ")"
	}
	tag := fmt.Sprintf(`name:%q group:%q help:%q`, k.Flag, k.Group, help)
	if k.Type == config.TypeBoolean {
		return reflect.StructTag(tag + ` negatable:""`)
	}
	tag += fmt.Sprintf(` placeholder:%q`, placeholder(k))
	if k.Name == "logfile" {
		tag += ` short:"l" aliases:"log"` // upstream: -l, --log
	}
	return reflect.StructTag(tag)
}

func placeholder(k config.Key) string {
	switch {
	case k.Unit == "ms":
		return "MS"
	case k.Type == config.TypeDuration:
		return "SECONDS"
	case k.Type == config.TypeSize:
		return "BYTES"
	case k.Type == config.TypeList:
		return "LIST"
	case k.Type == config.TypeString:
		return "STRING"
	}
	return "N"
}

// flagText is a flag's value as typed. A flag given twice has its last value.
type flagText struct {
	text  string
	given bool
}

// Decode implements kong.MapperValue.
func (t *flagText) Decode(ctx *kong.DecodeContext) error {
	text, err := popText(ctx)
	if err != nil {
		return err
	}
	*t = flagText{text, true}
	return nil
}

// flagList is a list: --consumer a=1,b=2 or --consumer a=1 --consumer b=2.
type flagList []string

// Decode implements kong.MapperValue.
func (l *flagList) Decode(ctx *kong.DecodeContext) error {
	text, err := popText(ctx)
	if err != nil {
		return err
	}
	*l = append(*l, text)
	return nil
}

// popText takes a flag's value. One that begins with a dash is a value after `=`,
// and after a space when it is a number, since -1 is a value that upstream's manual
// names (--pause-timeout -1).
func popText(ctx *kong.DecodeContext) (string, error) {
	t := ctx.Scan.Peek()
	text, isText := t.Value.(string)
	negative := len(text) > 1 && text[0] == '-' && text[1] >= '0' && text[1] <= '9'
	switch {
	case !isText || t.IsEOL():
		return "", fmt.Errorf("missing value: write --%s=%s", ctx.Value.Name, ctx.Value.Flag.PlaceHolder)
	case t.InferredType() == kong.FlagValueToken, t.Type == kong.ShortFlagTailToken, !strings.HasPrefix(text, "-"), negative:
		ctx.Scan.Pop()
		return text, nil
	}
	return "", fmt.Errorf("missing value (%q is a flag): write --%s=%s", text, ctx.Value.Name, ctx.Value.Flag.PlaceHolder)
}

// unknownFlag begins kong's message about one.
const unknownFlag = "unknown flag --"

// Explain adds the flags that were probably meant to kong's error about an unknown flag,
// including the --no- forms. It returns other errors unchanged.
func (f *keyFlags) Explain(k *kong.Kong, err error) error {
	rest, ok := strings.CutPrefix(fmt.Sprint(err), unknownFlag)
	if err == nil || !ok {
		return err
	}
	name, _, _ := strings.Cut(rest, ",")
	var names []string
	for _, flag := range k.Model.Flags {
		names = append(names, "--"+flag.Name)
		for _, alias := range flag.Aliases {
			names = append(names, "--"+alias)
		}
		if flag.Tag.Negatable != "" {
			names = append(names, "--no-"+flag.Name)
		}
	}
	return fmt.Errorf("%s%s%s", unknownFlag, name, nearest.Hint("--"+name, names))
}
