package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/nearest"
	"github.com/racecar-go/racecar/internal/printable"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/version"
	"github.com/racecar-go/racecar/kafka/access"
	"golang.org/x/term"
)

// Exit codes of racecarctl.
const (
	exitOK         = 0
	exitFailed     = 1
	exitNotRunning = 3 // status --check
)

// grammar is racecarctl's command line. The first three commands are upstream's
// and keep its words and exit codes.
type grammar struct {
	Version kong.VersionFlag `help:"Show the version."`

	Status        statusCmd       `cmd:"" help:"Show whether it is running, and its state"`
	Stop          stopCmd         `cmd:"" help:"Stop the supervisor gracefully and wait until it has exited"`
	Produce       produceCmd      `cmd:"" help:"Send messages to a topic"`
	Consume       consumeCmd      `cmd:"" help:"Show the messages of a topic"`
	LivenessProbe livenessCmd     `cmd:"" name:"liveness_probe" aliases:"liveness-probe" help:"Exit 0 if the liveness file is fresh (for Kubernetes)"`
	Restart       restartCmd      `cmd:"" help:"Replace the workers one by one"`
	Scale         scaleCmd        `cmd:"" help:"Set the number of workers"`
	Pause         pauseCmd        `cmd:"" help:"Pause a topic or partition"`
	Resume        resumeCmd       `cmd:"" help:"Resume a topic or partition that is paused, failing or poisoned"`
	Quiet         quietCmd        `cmd:"" help:"Finish the messages in progress and take no new ones"`
	Continue      continueCmd     `cmd:"" help:"Take new messages again after quiet"`
	Top           topCmd          `cmd:"" help:"Watch workers and partitions"`
	Config        configCmd       `cmd:"" help:"Show the configuration in effect, and where each value comes from"`
	LogLevel      logLevelCmd     `cmd:"" help:"Change the log level of a running supervisor"`
	Dump          dumpCmd         `cmd:"" help:"Write goroutine stacks of all processes to the log"`
	Lag           lagCmd          `cmd:"" help:"Show how far a group is behind"`
	ResetOffsets  resetOffsetsCmd `cmd:"" help:"Move a stopped group to other offsets"`
	DLQ           dlqCmd          `cmd:"" name:"dlq" help:"Show and replay dead letters"`
	Completion    completionCmd   `cmd:"" help:"Print the script that completes racecarctl in a shell"`
	Man           manCmd          `cmd:"" help:"Print the man page: racecarctl man | man -l -"`
}

// app is one run of racecarctl.
type app struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	runtime  Runtime
	now      func() time.Time
}

// Main runs racecarctl with args (without the program's name) and returns its
// exit code. Results go to stdout; errors, as one line, and everything else to
// stderr.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr, environ: os.Environ(), now: time.Now}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it at once
	return a.bounded(ctx, args, interruptTimeout)
}

// interruptTimeout is how long a command has to end once it is interrupted. Some ask
// the brokers where no context reaches.
const interruptTimeout = 5 * time.Second

// bounded runs a command and gives it up when it does not end within the timeout
// after an interrupt.
func (a *app) bounded(ctx context.Context, args []string, timeout time.Duration) int {
	code := make(chan int, 1)
	go func() { code <- a.run(ctx, args) }()
	select {
	case c := <-code:
		return c
	case <-ctx.Done():
	}
	select {
	case c := <-code:
		return c
	case <-time.After(timeout):
		return a.failed(fmt.Errorf("interrupted while %s was waiting for an answer", strings.Join(args[:min(1, len(args))], "")))
	}
}

// exit as an error ends racecarctl with that code and without another word.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func (a *app) run(ctx context.Context, args []string) (code int) {
	var g grammar
	parser, err := kong.New(&g,
		kong.Name("racecarctl"),
		kong.Description("Rule running Racecar consumers.\n\nWithout --pidfile and --socket it finds what runs for this user.\n\n"+
			"Example: racecarctl scale UserBanConsumer 5"),
		kong.Vars{"version": version.Full()},
		kong.Writers(a.out, a.err),
		kong.Exit(func(code int) { panic(exit(code)) }), // after --help and --version; kong has no other way
		kong.Help(help),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80}),
	)
	if err != nil {
		panic("racecarctl: " + err.Error()) // the grammar is wrong: any test of Main sees it
	}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case exit:
			code = int(p)
		default:
			panic(p)
		}
	}()
	commands := names(parser.Model)
	if len(args) == 0 {
		a.printf("No command specified. Commands:\n")
		for _, name := range commands {
			a.printf(" - %s\n", name)
		}
		return exitOK
	}
	if name := args[0]; !strings.HasPrefix(name, "-") && !known(parser.Model, name) {
		hint := nearest.Hint(name, commands)
		if hint == "" {
			hint = " (racecarctl --help lists the commands)"
		}
		return a.failed(fmt.Errorf("invalid command: %s%s", name, hint))
	}
	k, err := parser.Parse(args)
	if err != nil {
		var wrong *kong.ParseError
		if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
			err = fmt.Errorf("%s; see %s --help", plainError(err.Error()), pathOf(wrong.Context.Selected()))
		}
		return a.failed(err)
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(parser.Model)
	return a.failed(k.Run(a))
}

// failed prints err and returns the exit code it calls for.
func (a *app) failed(err error) int {
	var code exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	a.note("Error: %v\n", withBrokersHint(err, len(registered.Consumers())+len(registered.Configures()) == 0))
	return exitFailed
}

// withBrokersHint says where other brokers may be configured when only the default ones
// were tried. plain: this is no application's binary, so that it does not know what
// racecar.Configure sets there.
func withBrokersHint(err error, plain bool) error {
	var away *access.UnreachableError
	if !plain || !errors.As(err, &away) || !slices.Equal(away.Addrs, config.Default().Brokers) {
		return err
	}
	return fmt.Errorf("%w: no brokers are configured here: give --brokers, or use the application's own binary under the name racecarctl, which knows what racecar.Configure sets", err)
}

func names(m *kong.Application) []string {
	var all []string
	for _, c := range m.Children {
		all = append(all, c.Name)
	}
	return all
}

func known(m *kong.Application, name string) bool {
	for _, c := range m.Children {
		if c.Name == name {
			return true
		}
		for _, alias := range c.Aliases {
			if alias == name {
				return true
			}
		}
	}
	return false
}

// printf writes to stdout. A closed pipe there is not our error to report.
func (a *app) printf(format string, args ...any) { printable.Fprintf(a.out, format, args...) }

// note writes to stderr what is not a result.
func (a *app) note(format string, args ...any) { printable.Fprintf(a.err, format, args...) }

// getenv looks into the environment this run was given; the last value counts.
func (a *app) getenv(name string) string {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(a.environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// terminal says whether w is one, and how wide.
func terminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return defaultWidth, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		return defaultWidth, true
	}
	return width, true
}

const defaultWidth = 80

// span is a duration as the configuration writes it: seconds ("10", "0.5") or
// "1m30s".
type span time.Duration

// UnmarshalText reads it.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if seconds, ferr := strconv.ParseFloat(string(text), 64); ferr == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration: write seconds (30, 0.5) or 1m30s", text)
	}
	*s = span(d)
	return nil
}

func (s span) duration() time.Duration { return time.Duration(s) }
