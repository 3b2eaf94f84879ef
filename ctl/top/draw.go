package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
)

// The sixteen colours of the terminal's own theme, so that it is readable on
// light and dark alike.
var (
	bold    = lipgloss.NewStyle().Bold(true)
	faint   = lipgloss.NewStyle().Faint(true)
	reverse = lipgloss.NewStyle().Reverse(true)
	green   = lipgloss.NewStyle().Foreground(lipgloss.Green)
	yellow  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	red     = lipgloss.NewStyle().Foreground(lipgloss.Red)
	cyan    = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
)

// View draws the screen: head, extra lines, tabs, a table, and the keys.
func (m Model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = m.o.Title
	return v
}

func (m Model) screen() string {
	head := m.head()
	foot := m.foot()
	var body []string
	switch {
	case m.help:
		body = m.helpLines()
	case m.have:
		body = m.table()
	default:
		body = []string{faint.Render("Waiting for the first answer …")}
	}
	room := max(0, m.height-len(head)-len(foot))
	body = body[:min(len(body), room)]
	for len(body) < room {
		body = append(body, "")
	}
	lines := append(append(head, body...), foot...)
	lines = lines[:min(len(lines), max(1, m.height))]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "") // a very small window
	}
	return strings.Join(lines, "\n")
}

// tableRoom is how many lines the table keeps in a small window: its titles and three rows.
const tableRoom = 4

// head is everything above the table. Of what stands between title and tabs, a small
// window shows the first lines, and help none.
func (m Model) head() []string {
	if m.help {
		return []string{m.title()}
	}
	var between []string
	if m.have {
		between = append(between, m.graphs())
	}
	if m.o.Extra != nil {
		for _, l := range m.o.Extra(m.width) {
			between = append(between, view.Cut(l, m.width))
		}
	}
	room := max(0, m.height-len(m.foot())-tableRoom-2)
	lines := append([]string{m.title()}, between[:min(room, len(between))]...)
	return append(lines, m.tabs())
}

func (m Model) title() string {
	text := m.o.Title + "  "
	if !m.have {
		return bold.Render(view.Cut(text, m.width))
	}
	// The state first and coloured, then the figures as far as they fit.
	headline := view.Headline(m.st, m.o.Now())
	state, rest, _ := strings.Cut(headline, " ")
	left := m.width - view.Width(text) - view.Width(state)
	return bold.Render(text) + stateStyle(status.State(state)).Bold(true).Render(state) + view.Cut(" "+rest, left)
}

// graphs are the last minutes of rate and lag, side by side.
func (m Model) graphs() string {
	const left, right = "msg/s ", "  lag "
	each := (m.width - view.Width(left) - view.Width(right)) / 2
	if each < 4 {
		return ""
	}
	return faint.Render(left) + green.Render(spark(m.rates, each)) + faint.Render(right) + yellow.Render(spark(m.lags, each))
}

// bars are the heights of a graph's columns.
var bars = []rune(" ▁▂▃▄▅▆▇█")

// spark draws the newest values, the highest of them as a full column.
func spark(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		i := 0
		if highest > 0 && v > 0 {
			i = max(1, int(v/highest*float64(len(bars)-1)+0.5))
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}

func (m Model) tabs() string {
	var b strings.Builder
	used := 0
	for i, name := range tableNames {
		n := 0
		switch table(i) {
		case workers:
			n = len(m.st.Workers)
		case partitions:
			n = view.SumAll(m.st.Workers).Partitions
		case problems:
			n = len(m.problemLines())
		}
		label := fmt.Sprintf(" %s %d ", name, n)
		if used += view.Width(label) + 1; used > m.width {
			break
		}
		style := faint
		switch {
		case table(i) == m.shown:
			style = reverse.Bold(true)
		case table(i) == problems && n > 0:
			style = yellow
		}
		b.WriteString(style.Render(label) + " ")
	}
	return b.String()
}

// rows is how many rows of the table fit.
func (m Model) rows() int {
	// One line is the table's titles.
	return max(1, m.height-len(m.head())-len(m.foot())-1)
}

func (m Model) table() []string {
	now := m.o.Now()
	var lines []string
	style := func(int) lipgloss.Style { return lipgloss.NewStyle() }
	switch m.shown {
	case workers:
		lines = view.Workers(m.st, now, m.width)
		style = func(i int) lipgloss.Style { return stateStyle(m.st.Workers[i].State) }
	case partitions:
		lines = view.Partitions(m.st, m.width)
		all := view.AllPartitions(m.st)
		style = func(i int) lipgloss.Style { return partitionStyle(all[i].Partition) }
	default:
		lines = append([]string{""}, m.problemLines()...)
	}
	if m.count() == 0 {
		return []string{faint.Render([tables]string{"No workers", "No partitions assigned", "No problems"}[m.shown])}
	}
	out := []string{faint.Render(lines[0])}
	first := m.offset[m.shown]
	for i := first; i < min(m.count(), first+m.rows()); i++ {
		line := lines[i+1]
		if i == m.cursor[m.shown] {
			line += strings.Repeat(" ", max(0, m.width-view.Width(line)))
			out = append(out, style(i).Reverse(true).Render(line))
			continue
		}
		out = append(out, style(i).Render(line))
	}
	return out
}

func (m Model) problemLines() []string {
	lines := view.Problems(m.st, m.o.Now())
	for i := range lines {
		lines[i] = view.Cut(lines[i], m.width)
	}
	return lines
}

// foot says what is selected, what came of the last key, and the keys.
func (m Model) foot() []string {
	if m.help && m.asking == nil {
		return []string{m.keys()}
	}
	var line string
	switch {
	case m.asking != nil:
		line = yellow.Bold(true).Render(view.Cut(m.asking.Ask(m.Selection())+" (y/n)", m.width))
	case m.err != nil:
		line = red.Render(view.Cut(view.Line(m.err.Error()), m.width))
	case m.message != "" && m.failed:
		line = red.Render(view.Cut(m.message, m.width))
	case m.message != "":
		line = green.Render(view.Cut(m.message, m.width))
	default:
		line = faint.Render(view.Cut(m.detail(), m.width))
	}
	return []string{line, m.keys()}
}

// detail is what the table has no room for about the selected row.
func (m Model) detail() string {
	i := m.cursor[m.shown]
	switch {
	case m.shown == workers && i < len(m.st.Workers):
		w := m.st.Workers[i]
		parts := []string{w.Name(), "group " + w.Group}
		if r := w.Report; r != nil && r.Concurrency > 1 {
			parts = append(parts, view.Parallelism(w)+" calls in hand")
		}
		for _, p := range w.Members {
			if p.InstanceID != "" {
				parts = append(parts, "as "+p.InstanceID)
			}
		}
		if w.Detail != "" {
			parts = append(parts, w.Detail)
		}
		if w.LastExit != "" {
			parts = append(parts, "last exit: "+w.LastExit)
		}
		return view.Line(strings.Join(parts, ", "))
	case m.shown == problems:
		if all := view.Problems(m.st, m.o.Now()); i < len(all) {
			return cutHead(all[i], m.width)
		}
	case m.shown == partitions && i < m.count():
		p := view.AllPartitions(m.st)[i]
		if why := view.PartitionProblem(p.Partition, m.o.Now()); why != "" {
			return view.Line(p.Name() + " " + why)
		}
		return fmt.Sprintf("%s of %s, %s in flight", view.Line(p.Name()), view.Line(p.Worker), view.Count(int64(p.InFlight)))
	}
	return ""
}

// cutHead shows the end of what the row above has no room for.
func cutHead(s string, width int) string {
	if view.Width(s) <= width {
		return ""
	}
	r := []rune(s)
	for len(r) > 0 && view.Width(string(r)) > width-1 {
		r = r[1:]
	}
	return "…" + string(r)
}

func (m Model) keys() string {
	pairs := [][2]string{{"q", "quit"}, {"tab", "view"}, {"?", "help"}}
	for _, a := range m.o.Actions {
		pairs = append(pairs, [2]string{a.Key, a.Help})
	}
	var b strings.Builder
	used := 0
	for _, p := range pairs {
		if used += view.Width(p[0]) + view.Width(p[1]) + 3; used > m.width {
			break
		}
		b.WriteString(cyan.Bold(true).Render(p[0]) + " " + p[1] + "  ")
	}
	return b.String()
}

// narrow is the width below which keys and their meaning do not stand in two columns.
const narrow = 60

func (m Model) helpLines() []string {
	pairs := [][2]string{
		{"tab, 1-3", "change the table"}, {"up, down, pgup, pgdn, home, end", "move"}, {"?", "this help"}, {"q", m.o.Quit},
	}
	for _, a := range m.o.Actions {
		pairs = append(pairs, [2]string{a.Key, a.Help})
	}
	format := "  %-32s %s"
	if m.width < narrow {
		format = "%s: %s"
	}
	var lines []string
	for _, p := range pairs {
		lines = append(lines, fmt.Sprintf(format, p[0], p[1]))
	}
	return view.Wrap(append(lines, "", "MSG/S and LAG are as the workers report; BEHIND is the age of the next message.",
		fmt.Sprintf("Asked every %s.", m.o.Every.Round(time.Millisecond))), m.width)
}

func stateStyle(s status.State) lipgloss.Style {
	switch s {
	case status.Running:
		return green
	case status.Fatal:
		return red
	case status.Backoff, status.Waiting:
		return yellow
	case status.Quiet, status.Exited:
		return faint
	default:
		return cyan
	}
}

func partitionStyle(p status.Partition) lipgloss.Style {
	switch {
	case p.State == status.PartitionPoisoned, p.State == status.PartitionBlocked:
		return red
	case p.State == status.PartitionBackoff, p.Stalled:
		return yellow
	case p.State == status.PartitionPaused:
		return faint
	default:
		return lipgloss.NewStyle()
	}
}
