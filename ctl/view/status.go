package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

// Sums are figures of a worker, a consumer or the whole, added up.
type Sums struct {
	Rate       float64
	Lag        int64 // -1: unknown of all partitions
	Partitions int
	Known      bool // somebody reported
}

// Sum adds up what a worker reported.
func Sum(w status.Worker) Sums {
	s := Sums{Lag: -1}
	if w.Report == nil {
		return s
	}
	s.Known = true
	for _, p := range w.Report.Partitions {
		s.Partitions++
		s.Rate += p.Rate
		if p.Lag >= 0 {
			s.Lag = max(0, s.Lag) + p.Lag
		}
	}
	return s
}

// SumAll adds up all workers.
func SumAll(workers []status.Worker) Sums {
	all := Sums{Lag: -1}
	for _, w := range workers {
		s := Sum(w)
		all.Rate += s.Rate
		all.Partitions += s.Partitions
		all.Known = all.Known || s.Known
		if s.Lag >= 0 {
			all.Lag = max(0, all.Lag) + s.Lag
		}
	}
	return all
}

// Headline is the whole in one line.
func Headline(st status.Status, now time.Time) string {
	sums := SumAll(st.Workers)
	rss := st.RSS
	live := 0
	for _, w := range st.Workers {
		if w.Report != nil {
			rss += w.Report.RSS
		}
		if w.PID != 0 {
			live++
		}
	}
	rate := Unknown
	if sums.Known {
		rate = Rate(sums.Rate)
	}
	up := Unknown
	if !st.StartedAt.IsZero() { // zero: nobody has answered yet
		up = Duration(now.Sub(st.StartedAt))
	}
	return fmt.Sprintf("%s  up %s  %s  %s  %s msg/s  lag %s  %s",
		Line(string(st.State)), up, plural(live, "worker"), plural(sums.Partitions, "partition"),
		rate, Count(sums.Lag), Bytes(rss))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", Count(int64(n)), noun)
}

// Workers is the table of workers.
func Workers(st status.Status, now time.Time, width int) []string {
	columns := []Column{
		{Title: "WORKER", Middle: true}, {Title: "PID", Right: true, Spare: true}, {Title: "STATE"}, {Title: "UP", Right: true, Spare: true},
		{Title: "RESTARTS", Right: true, Spare: true}, {Title: "PARTS", Right: true}, {Title: "MSG/S", Right: true},
		{Title: "LAG", Right: true}, {Title: "RSS", Right: true, Spare: true}, {Title: "CPU", Right: true, Optional: true},
	}
	parallel := slices.ContainsFunc(st.Workers, func(w status.Worker) bool { return w.Report != nil && w.Report.Concurrency > 1 })
	if parallel {
		columns = append(columns, Column{Title: "CALLS", Right: true})
	}
	mixed := mixedReleases(st.Workers)
	if mixed {
		columns = append(columns, Column{Title: "RELEASE", Right: true})
	}
	outage := slices.ContainsFunc(st.Workers, func(w status.Worker) bool { return len(w.Outages) > 0 })
	if outage {
		columns = append(columns, Column{Title: "OUTAGE", Middle: true})
	}
	rows := make([][]string, 0, len(st.Workers))
	for _, w := range st.Workers {
		row := workerRow(w, now)
		if parallel {
			row = append(row, Parallelism(w))
		}
		if mixed {
			row = append(row, fmt.Sprint(w.Release))
		}
		if outage {
			row = append(row, outageCell(w.Outages))
		}
		rows = append(rows, row)
	}
	return Table(columns, rows, width)
}

// Parallelism is how many calls a worker has in hand, and how many it can have: 12/50.
func Parallelism(w status.Worker) string {
	if w.Report == nil || w.Report.Concurrency == 0 {
		return Unknown
	}
	return fmt.Sprintf("%d/%d", w.Report.InHand, w.Report.Concurrency)
}

// outageCell names the dependencies that a worker waits for.
func outageCell(dependencies []string) string {
	var names []string
	for _, d := range dependencies {
		if d == "" {
			d = "unnamed"
		}
		names = append(names, d)
	}
	return strings.Join(names, ", ")
}

// outageDetail says how an outage goes.
func outageDetail(o status.Outage, now time.Time) string {
	what := "has an outage"
	if o.Dependency != "" {
		what += " of " + o.Dependency
	}
	text := fmt.Sprintf("%s for %s, %s held, %s", what, Duration(now.Sub(o.Since)), Count(int64(o.Held)), plural(o.Probes, "probe"))
	if o.Prober != "" {
		text += ", " + o.Prober + " probes now"
	}
	return text
}

// mixedReleases reports whether workers of one consumer differ in their release: a
// rolling restart is under way, or was stopped halfway.
func mixedReleases(workers []status.Worker) bool {
	release := map[string]int{}
	for _, w := range workers {
		if other, ok := release[w.Consumer]; ok && other != w.Release {
			return true
		}
		release[w.Consumer] = w.Release
	}
	return false
}

func workerRow(w status.Worker, now time.Time) []string {
	pid, up, parts, rate, lag, rss, cpu := Unknown, Unknown, Unknown, Unknown, Unknown, Unknown, Unknown
	if w.PID != 0 {
		pid = fmt.Sprint(w.PID)
		if w.StartedAt != nil {
			up = Duration(now.Sub(*w.StartedAt))
		}
	}
	if s := Sum(w); s.Known {
		parts, rate, lag, rss = Count(int64(s.Partitions)), Rate(s.Rate), Count(s.Lag), Bytes(w.Report.RSS)
		cpu = Duration(time.Duration(w.Report.CPU * float64(time.Second)))
	}
	return []string{w.Name(), pid, string(w.State), up, fmt.Sprint(w.Restarts), parts, rate, lag, rss, cpu}
}

// Partitions is the table of all partitions, in order of their names.
func Partitions(st status.Status, width int) []string {
	columns := []Column{
		{Title: "PARTITION", Middle: true}, {Title: "WORKER", Middle: true, Spare: true}, {Title: "STATE"},
		{Title: "POSITION", Right: true, Spare: true}, {Title: "COMMITTED", Right: true, Optional: true}, {Title: "END", Right: true, Optional: true},
		{Title: "LAG", Right: true}, {Title: "BEHIND", Right: true, Spare: true}, {Title: "MSG/S", Right: true}, {Title: "ERRORS", Right: true, Optional: true},
	}
	byKey := slices.ContainsFunc(st.Workers, func(w status.Worker) bool { return w.Report != nil && w.Report.Ordering != "" })
	if byKey {
		columns = append(columns, Column{Title: "FINISHED BEYOND", Right: true, Optional: true}, Column{Title: "WAITING KEYS", Right: true, Optional: true})
	}
	var rows [][]string
	for _, p := range AllPartitions(st) {
		state := string(p.State)
		if p.Stalled && p.State == status.PartitionRunning {
			state = "stalled"
		}
		row := []string{
			p.Name(), p.Worker, state, Count(p.Position), Count(p.Committed), Count(p.End), Count(p.Lag),
			lagAge(p.Partition), Rate(p.Rate), Count(int64(p.Errors)),
		}
		if byKey {
			row = append(row, Count(p.Beyond), Count(int64(p.WaitingKeys)))
		}
		rows = append(rows, row)
	}
	return Table(columns, rows, width)
}

// WaitingKeys is the table of the keys that wait for another attempt, as far as they were
// reported; nil: none.
func WaitingKeys(st status.Status, now time.Time, width int) []string {
	var rows [][]string
	for _, p := range AllPartitions(st) {
		for _, k := range p.OldestWaiting {
			rows = append(rows, []string{k.Key, p.Name(), fmt.Sprint(k.Offset), Count(int64(k.Attempts)), Duration(now.Sub(k.Since)), nextAttempt(k, now)})
		}
		if more := p.WaitingKeys - len(p.OldestWaiting); more > 0 && len(p.OldestWaiting) > 0 {
			rows = append(rows, []string{fmt.Sprintf("and %s more", Count(int64(more))), p.Name(), "", "", "", ""})
		}
	}
	if rows == nil {
		return nil
	}
	return Table([]Column{
		{Title: "WAITING KEY", Flexible: true}, {Title: "PARTITION", Middle: true}, {Title: "OFFSET", Right: true},
		{Title: "FAILURES", Right: true}, {Title: "FOR", Right: true}, {Title: "RETRIED"},
	}, rows, width)
}

// nextAttempt says when a message is retried.
func nextAttempt(k status.WaitingKey, now time.Time) string {
	if k.Until == nil {
		return "now, or when resumed"
	}
	return "in " + Duration(k.Until.Sub(now))
}

func lagAge(p status.Partition) string {
	if p.Lag < 0 {
		return Unknown
	}
	return Duration(time.Duration(p.LagSeconds * float64(time.Second)))
}

// OwnedPartition is a partition with the worker that has it.
type OwnedPartition struct {
	status.Partition
	Worker string
}

// Name is TOPIC/PARTITION, as the commands take it.
func (p OwnedPartition) Name() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition.Partition) }

// AllPartitions are the partitions of all workers, in order of their names.
func AllPartitions(st status.Status) []OwnedPartition {
	var all []OwnedPartition
	for _, w := range st.Workers {
		if w.Report == nil {
			continue
		}
		for _, p := range w.Report.Partitions {
			all = append(all, OwnedPartition{p, w.Name()})
		}
	}
	slices.SortStableFunc(all, func(a, b OwnedPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition.Partition) - int(b.Partition.Partition)
	})
	return all
}

// Problems are the lines about what does not run as it should: consumers given
// up, workers that wait, crash or have crashed, and partitions that stand still.
// They are of any width; Cut or Wrap them.
func Problems(st status.Status, now time.Time) []string {
	var lines []string
	add := func(who, what, why string) {
		if why != "" {
			what += ": " + why
		}
		lines = append(lines, Line(who+" "+what))
	}
	if st.LogProblem != "" {
		add("Supervisor:", st.LogProblem, "")
	}
	for _, c := range st.Consumers {
		if c.Reason != "" {
			add(c.Name, string(c.State), c.Reason)
		}
		for _, o := range c.Outages {
			add(c.Name, outageDetail(o, now), o.Error)
		}
		for _, p := range c.Paused {
			if !assigned(st, c.Name, p) {
				add(pausedName(p)+" of "+c.Name, "is paused by an operator; no worker is assigned to it", "")
			}
		}
	}
	for _, w := range st.Workers {
		switch {
		case w.Detail != "":
			add(w.Name(), string(w.State), w.Detail)
		case w.LastExit != "" && w.State != status.Running:
			add(w.Name(), string(w.State), w.LastExit)
		case w.LastExit != "":
			add(w.Name(), "was restarted", w.LastExit)
		}
		if w.Report != nil && w.Report.LogProblem != "" {
			add(w.Name()+":", w.Report.LogProblem, "")
		}
	}
	for _, p := range AllPartitions(st) {
		if why := PartitionProblem(p.Partition, now); why != "" {
			add(p.Name()+" of "+p.Worker, why, "")
		}
	}
	return lines
}

// assigned reports whether a worker of the consumer has a partition of what is paused.
func assigned(st status.Status, consumer string, paused status.Paused) bool {
	for _, w := range st.Workers {
		if w.Consumer != consumer || w.Report == nil {
			continue
		}
		for _, p := range w.Report.Partitions {
			if p.Topic == paused.Topic && (paused.Partition < 0 || p.Partition == paused.Partition) {
				return true
			}
		}
	}
	return false
}

// pausedName is TOPIC/PARTITION, or TOPIC.
func pausedName(p status.Paused) string {
	if p.Partition < 0 {
		return p.Topic
	}
	return fmt.Sprintf("%s/%d", p.Topic, p.Partition)
}

// PartitionProblem says why a partition stands still; empty: it does not.
func PartitionProblem(p status.Partition, now time.Time) string {
	var b strings.Builder
	switch p.State {
	case status.PartitionRunning, "":
		switch {
		case p.WindowFull != nil || p.WaitingKeys > 0:
			return keyProblem(p, now)
		case p.Stalled:
			return fmt.Sprintf("is stalled at offset %d, lag %s", p.Position, Count(p.Lag))
		}
		return ""
	case status.PartitionBackoff:
		b.WriteString("is paused")
		if p.Until != nil {
			fmt.Fprintf(&b, " for %s", Duration(p.Until.Sub(now)))
		}
		fmt.Fprintf(&b, " after %s at offset %d", plural(p.Retries, "failure"), p.Position)
	default:
		fmt.Fprintf(&b, "is %s", p.State)
	}
	switch {
	case p.Reason != "":
		b.WriteString(": " + p.Reason)
	case p.LastError != "":
		b.WriteString(": " + p.LastError)
	}
	return b.String()
}

// keyProblem says which message holds up a partition that is processed by key, or how many
// keys wait.
func keyProblem(p status.Partition, now time.Time) string {
	message := func(k status.WaitingKey) string {
		return fmt.Sprintf("offset %d, key %s, %s, for %s", k.Offset, k.Key, plural(k.Attempts, "failure"), Duration(now.Sub(k.Since)))
	}
	var b strings.Builder
	switch {
	case p.WindowFull != nil:
		b.WriteString("begins no more messages, window full: " + message(*p.WindowFull))
	case len(p.OldestWaiting) > 0:
		b.WriteString("has " + plural(p.WaitingKeys, "waiting key") + ", the oldest: " + message(p.OldestWaiting[0]))
	default:
		b.WriteString("has " + plural(p.WaitingKeys, "waiting key"))
	}
	if p.LastError != "" {
		b.WriteString(": " + p.LastError)
	}
	return b.String()
}
