package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/IBM/sarama"
	"github.com/charmbracelet/x/ansi"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/ctl/top"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
)

// scrape reads /metrics: values by name and labels, as they are written there.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	code, body := ask(t, "GET", url+"/metrics", "", "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	got := map[string]float64{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[line[:i]] = v
	}
	return got
}

// shows waits until /metrics has these values.
func shows(t *testing.T, url string, want map[string]float64) {
	t.Helper()
	harness.Eventually(t, "the metrics", func() error {
		got := scrape(t, url)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if v, ok := got[name]; !ok || v != want[name] {
				return fmt.Errorf("%s is %v (%t), want %v", name, v, ok, want[name])
			}
		}
		return nil
	})
}

// counters never go back: what only ever grows must not be lower in after.
func wantGrown(t *testing.T, before, after map[string]float64) {
	t.Helper()
	for name, v := range before {
		bare, _, _ := strings.Cut(name, "{")
		grows := strings.HasSuffix(bare, "_total") || strings.HasPrefix(bare, "racecar_process_seconds_")
		if now, ok := after[name]; grows && (!ok || now < v) {
			t.Errorf("%s went from %v to %v (%t)", name, v, now, ok)
		}
	}
}

// lagOf is the lag of a group by others' means: the ends of the log less what is
// committed.
func (b *bed) lagOf(partition int32) int64 {
	b.t.Helper()
	c, err := sarama.NewClient(b.broker.Addrs(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	end, err := c.GetOffset(b.topic, partition, sarama.OffsetNewest)
	if err != nil {
		b.t.Fatal(err)
	}
	return end - max(0, b.broker.Committed(b.group, b.topic, partition))
}

// /metrics counts what happened, over all workers, also when one is killed and
// replaced meanwhile, and has the brokers' lag, also of what is paused.
func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	// A message fails three times and goes to the dead-letter topic.
	p := b.start([]string{"JOURNAL_TRAP=3-4=fail"}, "--status-addr", "127.0.0.1:0", "--parallel-workers", "2",
		"--max-retries", "2", "--pause-timeout", "0.1", "--offset-commit-interval", "0.2", "Journal")
	url := pageOf(p)
	b.awaitProcessed(79)
	label := fmt.Sprintf(`{consumer="Journal",group="%s"}`, b.group)
	in := func(metric string, partition int) string {
		return fmt.Sprintf(`racecar_%s{consumer="Journal",group="%s",partition="%d",topic="%s"}`, metric, b.group, partition, b.topic)
	}
	shows(t, url, map[string]float64{
		"racecar_messages_total" + label: 80, "racecar_errors_total" + label: 3, "racecar_dead_letters_total" + label: 1,
		"racecar_pauses_total" + label: 2, "racecar_skipped_total" + label: 0, "racecar_offset_gaps_total" + label: 0,
		"racecar_process_seconds_count" + label:                                                         82,
		fmt.Sprintf(`racecar_process_seconds_bucket{consumer="Journal",group="%s",le="+Inf"}`, b.group): 82,
		fmt.Sprintf(`racecar_workers{consumer="Journal",group="%s",state="running"}`, b.group):          2,
		"racecar_workers_desired" + label:                                                               2, in("partition_lag_messages", 3): 0, in("partition_position", 3): 10, in("partition_committed", 3): 10,
		in("partition_lag_seconds", 3): 0, in("partition_stalled", 3): 0,
	})
	before := scrape(t, url)
	for _, name := range []string{"racecar_rebalances_total", "racecar_joins_total", "racecar_commits_total", "racecar_process_seconds_sum", "racecar_cpu_seconds_total"} {
		if before[name+label] <= 0 {
			t.Errorf("%s is %v", name, before[name+label])
		}
	}

	if err := syscall.Kill(workers(p)["Journal[1]"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the restart in the metrics", func() error {
		after := scrape(t, url)
		wantGrown(t, before, after)
		before = after
		if n := after[`racecar_worker_restarts_total{reason="killed"}`]; n != 1 {
			return fmt.Errorf("%v restarts", n)
		}
		return nil
	})
	b.produce(80)
	b.awaitProcessed(159)
	harness.Eventually(t, "counting on", func() error {
		after := scrape(t, url)
		wantGrown(t, before, after)
		before = after
		// What the killed one had done since its last sign of life is not known.
		if n := after["racecar_messages_total"+label]; n < 159 || n > 161 {
			return fmt.Errorf("%v messages", n)
		}
		return nil
	})

	if _, body := ask(t, "GET", url+"/v1/status", "", ""); !strings.Contains(body, `"processed"`) {
		t.Fatal(body)
	}
	socket := ctl.NewClient(statusOf(t, url, "").Socket)
	defer socket.Close()
	if err := socket.Pause(context.Background(), "", b.topic, 5); err != nil {
		t.Fatal(err)
	}
	b.produce(80)
	b.awaitProcessed(159 + 70)
	paused := strings.Replace(in("partition_stopped", 5), `,topic=`, `,state="paused",topic=`, 1)
	harness.Eventually(t, "the brokers' lag", func() error {
		got := scrape(t, url)
		for n := range partitions {
			lag, want := b.lagOf(int32(n)), int64(0)
			if n == 5 {
				want = 10
			}
			if shown := int64(got[in("partition_lag_messages", n)]); shown != lag || lag != want {
				return fmt.Errorf("partition %d: lag %d, by the broker %d, want %d", n, shown, lag, want)
			}
		}
		if got[in("partition_lag_seconds", 5)] <= 0 || got[paused] != 1 {
			return fmt.Errorf("behind %v s, paused %v", got[in("partition_lag_seconds", 5)], got[paused])
		}
		return nil
	})
	stop(t, p)
}

// The page's feed, /metrics, status --json and top say the same.
func TestAllThatIsShownAgrees(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	p := b.start(nil, "--status-addr", "127.0.0.1:0", "--parallel-workers", "3", "--offset-commit-interval", "0.2", "Journal")
	url := pageOf(p)
	b.awaitProcessed(80)
	first := statusOf(t, url, "")
	socket := ctl.NewClient(first.Socket)
	defer socket.Close()
	if err := socket.Pause(context.Background(), "", b.topic, -1); err != nil {
		t.Fatal(err)
	}
	b.produce(8 * 1234)

	harness.Eventually(t, "all to agree", func() error {
		page := statusOf(t, url, "")
		lags := 0
		for _, w := range page.Workers {
			if w.Report == nil {
				return fmt.Errorf("%s did not report", w.Name())
			}
			for _, part := range w.Report.Partitions {
				if part.Lag != 1234 || part.Committed != 10 || b.lagOf(part.Partition) != 1234 {
					return fmt.Errorf("%s/%d: lag %d, committed %d", part.Topic, part.Partition, part.Lag, part.Committed)
				}
				lags++
			}
		}
		if lags != partitions {
			return fmt.Errorf("%d partitions", lags)
		}
		if err := agrees(byCommand(t, page.Socket), page); err != nil {
			return fmt.Errorf("status --json: %w", err)
		}
		if err := metricsAgree(scrape(t, url), page); err != nil {
			return fmt.Errorf("/metrics: %w", err)
		}
		return topAgrees(socket, page)
	})
	stop(t, p)
}

// byCommand is what racecarctl status --json writes.
func byCommand(t *testing.T, socket string) status.Status {
	t.Helper()
	var out, words strings.Builder
	if code := ctl.Main([]string{"status", "--json", "--socket", socket}, strings.NewReader(""), &out, &words); code != 0 {
		t.Fatalf("exit %d: %s", code, words.String())
	}
	var st status.Status
	if err := json.Unmarshal([]byte(out.String()), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// agrees compares what stands still in two statuses.
func agrees(got, want status.Status) error {
	if fmt.Sprint(got.Totals, got.RestartsBy, got.State, got.PID) != fmt.Sprint(want.Totals, want.RestartsBy, want.State, want.PID) {
		// Commits go on.
		delete(got.Totals, status.CountCommits)
		delete(want.Totals, status.CountCommits)
		if fmt.Sprint(got.Totals) != fmt.Sprint(want.Totals) {
			return fmt.Errorf("totals %v, the page has %v", got.Totals, want.Totals)
		}
	}
	a, b := view.AllPartitions(got), view.AllPartitions(want)
	if len(a) != len(b) || len(got.Workers) != len(want.Workers) {
		return fmt.Errorf("%d partitions of %d workers, the page has %d of %d", len(a), len(got.Workers), len(b), len(want.Workers))
	}
	for i := range a {
		a[i].LagSeconds, b[i].LagSeconds, a[i].Rate, b[i].Rate = 0, 0, 0, 0
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Errorf("%+v, the page has %+v", a[i], b[i])
		}
	}
	for i, w := range got.Workers {
		if v := want.Workers[i]; w.PID != v.PID || w.State != v.State || w.Restarts != v.Restarts || w.Processed != v.Processed {
			return fmt.Errorf("%+v, the page has %+v", w, v)
		}
	}
	return nil
}

// metricsAgree compares /metrics with a status.
func metricsAgree(got map[string]float64, st status.Status) error {
	for _, c := range st.Consumers {
		for _, name := range []string{status.CountMessages, status.CountErrors, status.CountDeadLetters, status.CountRebalances, status.CountPauses} {
			metric := fmt.Sprintf(`racecar_%s_total{consumer="%s",group="%s"}`, name, c.Name, c.Group)
			if v, ok := got[metric]; !ok || v != float64(c.Totals[name]) {
				return fmt.Errorf("%s is %v (%t), the page has %d", metric, v, ok, c.Totals[name])
			}
		}
	}
	for _, w := range st.Workers {
		for _, p := range w.Report.Partitions {
			for name, want := range map[string]int64{"lag_messages": p.Lag, "position": p.Position, "committed": p.Committed, "end": p.End} {
				metric := fmt.Sprintf(`racecar_partition_%s{consumer="%s",group="%s",partition="%d",topic="%s"}`, name, w.Consumer, w.Group, p.Partition, p.Topic)
				if v, ok := got[metric]; !ok || v != float64(want) {
					return fmt.Errorf("%s is %v (%t), the page has %d", metric, v, ok, want)
				}
			}
		}
	}
	return nil
}

// topAgrees compares the pictures of top with a status.
func topAgrees(client *ctl.Client, st status.Status) error {
	var m tea.Model = top.New(context.Background(), top.Options{Status: client.Status})
	ask := m.Init()
	m, _ = m.Update(tea.WindowSizeMsg{Width: 200, Height: 50})
	m, _ = m.Update(ask())
	rows := func() map[string][]string {
		found := map[string][]string{}
		for line := range strings.Lines(ansi.Strip(m.View().Content)) {
			if fields := strings.Fields(strings.Trim(line, " >▸│\n")); len(fields) > 2 && found[fields[0]] == nil {
				found[fields[0]] = fields
			}
		}
		return found
	}
	shown := rows()
	for _, w := range st.Workers {
		row := shown[w.Name()]
		if len(row) < 3 || row[1] != strconv.Itoa(w.PID) || row[2] != string(w.State) {
			return fmt.Errorf("top: %s is %q", w.Name(), row)
		}
	}
	m, _ = m.Update(tea.KeyPressMsg{Code: tea.KeyTab})
	shown = rows()
	for _, p := range view.AllPartitions(st) {
		row := shown[p.Name()]
		want := []string{p.Name(), p.Worker, string(p.State), view.Count(p.Position), view.Count(p.Committed), view.Count(p.End), view.Count(p.Lag)}
		if len(row) < len(want) || !slices.Equal(row[:len(want)], want) {
			return fmt.Errorf("top: %q, the page has %q", row, want)
		}
	}
	return nil
}
