// Package top shows a running supervisor in a terminal, live: the picture of
// `racecarctl top` and of the demo. It is a Bubble Tea model fed by a function
// that returns a status; what the keys do beyond looking around is given to it.
// It is not covered by the compatibility promise.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
)

// Options say what is shown and what the keys do.
type Options struct {
	// Title stands first in the top line. Default: racecar.
	Title string
	// Status is asked every Every (default a second), never twice at once.
	Status func(context.Context) (status.Status, error)
	Every  time.Duration
	// Extra returns lines that stand between the head and the table, at most as
	// wide as asked; nil: none.
	Extra func(width int) []string
	// Actions are the keys that do something; the help lists them before those that move.
	Actions []Action
	// Quit is what the help says of q. Default: that the supervisor keeps running.
	Quit string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Action is a key that does something.
type Action struct {
	// Key as Bubble Tea writes it: "r", "+", "ctrl+r".
	Key string
	// Help is one or two words.
	Help string
	// Ask returns the question that must be answered with y first; nil or empty: none.
	Ask func(Selection) string
	// Do does it and returns what to tell; it may take its time.
	Do func(context.Context, Selection) (string, error)
}

// Selection is what the cursor is on.
type Selection struct {
	Consumer string
	Worker   string // `UserBanConsumer[2]`
	// Topic and Partition are set in the partitions' table.
	Topic     string
	Partition int32
	Paused    bool // that partition does not run
	Workers   int  // of the consumer
}

// Run shows it until q, ctrl+c, or the end of ctx.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	_, err := tea.NewProgram(New(ctx, o), tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil //nolint:nilerr // who looks at it has seen enough
	}
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// table is which of the tables is shown.
type table int

const (
	workers table = iota
	partitions
	problems
	tables // their number
)

var tableNames = [tables]string{"Workers", "Partitions", "Problems"}

// history is how many samples the little graphs keep.
const history = 240

// Model is the picture. Use it as any Bubble Tea model.
type Model struct {
	ctx     context.Context //nolint:containedctx // Bubble Tea's commands take none
	o       Options
	width   int
	height  int
	shown   table
	cursor  [tables]int
	offset  [tables]int // first row on the screen
	help    bool
	asking  *Action
	message string
	failed  bool // message is an error

	st    status.Status
	have  bool
	err   error
	rates []float64
	lags  []float64
}

// New returns the model; ctx bounds what it asks and does.
func New(ctx context.Context, o Options) Model {
	if o.Title == "" {
		o.Title = "racecar"
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Quit == "" {
		o.Quit = "quit; the supervisor keeps running"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return Model{ctx: ctx, o: o, width: 80, height: 24}
}

// Results of requests for the status and of actions.
type (
	sample struct {
		st  status.Status
		err error
	}
	tick struct{}
	done struct {
		message string
		err     error
	}
)

// Init asks for the first time.
func (m Model) Init() tea.Cmd { return m.ask() }

func (m Model) ask() tea.Cmd {
	return func() tea.Msg {
		st, err := m.o.Status(m.ctx)
		return sample{st, err}
	}
}

// Update takes one event.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case sample:
		m.take(msg)
		return m, tea.Tick(m.o.Every, func(time.Time) tea.Msg { return tick{} })
	case tick:
		return m, m.ask()
	case done:
		m.message, m.failed = view.Line(msg.message), msg.err != nil
		if msg.err != nil {
			m.message = view.Line(msg.err.Error())
		}
	case tea.KeyPressMsg:
		return m.press(msg.String())
	}
	m.keepInView()
	return m, nil
}

func (m *Model) take(s sample) {
	m.err = s.err
	if s.err != nil {
		return // the last picture stays, with the error
	}
	m.st, m.have = s.st, true
	sums := view.SumAll(s.st.Workers)
	m.rates = push(m.rates, sums.Rate)
	m.lags = push(m.lags, float64(max(0, sums.Lag)))
	m.keepInView()
}

func push(values []float64, v float64) []float64 {
	// A copy: a Model is a value, and an older one must not change.
	next := append(append(make([]float64, 0, len(values)+1), values...), v)
	return next[max(0, len(next)-history):]
}

func (m Model) press(key string) (tea.Model, tea.Cmd) {
	if m.asking != nil {
		action := *m.asking
		m.asking = nil
		if key == "y" || key == "Y" {
			return m, m.do(action)
		}
		m.message, m.failed = "Left as it is", false
		return m, nil
	}
	m.message = ""
	for i := range m.o.Actions {
		if m.o.Actions[i].Key == key {
			return m.act(m.o.Actions[i])
		}
	}
	page := max(1, m.rows()-1)
	switch key {
	case "q", "ctrl+c", "esc":
		if m.help && key == "esc" {
			m.help = false
			break
		}
		return m, tea.Quit
	case "?", "h":
		m.help = !m.help
	case "tab", "right", "l":
		m.shown = (m.shown + 1) % tables
	case "shift+tab", "left":
		m.shown = (m.shown + tables - 1) % tables
	case "1", "2", "3":
		m.shown = table(key[0] - '1')
	case "up", "k":
		m.cursor[m.shown]--
	case "down", "j":
		m.cursor[m.shown]++
	case "pgup", "ctrl+b":
		m.cursor[m.shown] -= page
	case "pgdown", "ctrl+f", "space":
		m.cursor[m.shown] += page
	case "home", "g":
		m.cursor[m.shown] = 0
	case "end", "G":
		m.cursor[m.shown] = m.count() - 1
	}
	m.keepInView()
	return m, nil
}

func (m Model) act(a Action) (tea.Model, tea.Cmd) {
	if a.Ask != nil && a.Ask(m.Selection()) != "" {
		m.asking = &a
		return m, nil
	}
	return m, m.do(a)
}

func (m Model) do(a Action) tea.Cmd {
	selection := m.Selection()
	return func() tea.Msg {
		message, err := a.Do(m.ctx, selection)
		return done{message, err}
	}
}

// Selection is what the cursor is on.
func (m Model) Selection() Selection {
	var s Selection
	i := m.cursor[m.shown]
	switch m.shown {
	case workers:
		if i < len(m.st.Workers) {
			s.Consumer, s.Worker = m.st.Workers[i].Consumer, m.st.Workers[i].Name()
		}
	case partitions:
		if all := view.AllPartitions(m.st); i < len(all) {
			p := all[i]
			s.Topic, s.Partition, s.Worker = p.Topic, p.Partition.Partition, p.Worker
			s.Paused = p.State != status.PartitionRunning && p.State != ""
			for _, w := range m.st.Workers {
				if w.Name() == p.Worker {
					s.Consumer = w.Consumer
				}
			}
		}
	}
	if s.Consumer == "" && len(m.st.Consumers) == 1 {
		s.Consumer = m.st.Consumers[0].Name
	}
	for _, c := range m.st.Consumers {
		if c.Name == s.Consumer {
			s.Workers = c.Workers
		}
	}
	return s
}

// count is the number of rows of the table that is shown.
func (m Model) count() int {
	switch m.shown {
	case workers:
		return len(m.st.Workers)
	case partitions:
		return len(view.AllPartitions(m.st))
	default:
		return len(m.problemLines())
	}
}

func (m *Model) keepInView() {
	c, o := &m.cursor[m.shown], &m.offset[m.shown]
	*c = max(0, min(*c, m.count()-1))
	rows := m.rows()
	*o = max(0, min(*o, *c, max(0, m.count()-rows)))
	if *c >= *o+rows {
		*o = *c - rows + 1
	}
}
