package monitor

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// A client that waits for ever delays nobody else: others get an answer, or an error when
// their time is over.
func TestSilentSupervisorBlocksNobody(t *testing.T) {
	asked, release := make(chan struct{}, 1), make(chan struct{})
	c := newCached(func(ctx context.Context) (status.Status, error) {
		asked <- struct{}{}
		<-release
		return status.Status{State: status.Running}, nil
	}, time.Hour)
	first := make(chan error, 1)
	go func() {
		_, err := c.status(context.Background())
		first <- err
	}()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.status(ctx); err == nil {
		t.Error("there was an answer")
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if st, err := c.status(t.Context()); err != nil || st.State != status.Running {
		t.Errorf("%v, %v", st.State, err)
	}
}

// Health checks need no token. A flood of them must not keep the supervisor from its
// workers.
func TestHealthChecksAskTheSupervisorTenTimesASecond(t *testing.T) {
	var questions atomic.Int64
	s := serve(t, ServerOptions{Brief: func(context.Context) (status.Status, error) {
		questions.Add(1)
		return status.Status{State: status.Running}, nil
	}})
	begun := time.Now()
	client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}}
	for range 500 {
		resp, err := client.Get("http://" + s.Addr() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
	}
	if most := 2 + int64(time.Since(begun)/briefFresh); questions.Load() > most {
		t.Errorf("%d questions for 500 checks within %v, want at most %d", questions.Load(), time.Since(begun), most)
	}
}

// A name may hold any bytes; a scrape succeeds all the same.
func TestMetricsOfNamesThatAreNotText(t *testing.T) {
	const odd = "\xffConsumer\n\"x\""
	s := serve(t, ServerOptions{Status: func(context.Context) (status.Status, error) {
		return status.Status{
			State: status.Running, Consumers: []status.Consumer{{Name: odd, Group: odd}},
			Workers: []status.Worker{{Consumer: odd, Group: odd, State: status.Running, Report: &status.Report{Partitions: []status.Partition{{Topic: "t"}}}}},
		}, nil
	}})
	code, body, _ := get(t, s, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, `racecar_workers_desired{consumer="`+"\uFFFD"+`Consumer\n\"x\"",group=`) {
		t.Errorf("%d\n%s", code, body)
	}
}

// A panic of a handler is a bug of ours, so the log shows it at its default level.
func TestPanicOfAHandlerIsLogged(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	s := serve(t, ServerOptions{Log: log, Brief: func(context.Context) (status.Status, error) { panic("broken") }})
	if resp, err := http.Get("http://" + s.Addr() + "/healthz"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
	for _, e := range hook.AllEntries() {
		if detail, _ := e.Data["detail"].(string); e.Level.String() == "error" && strings.Contains(detail, "broken") {
			return
		}
	}
	t.Errorf("not logged: %v", hook.AllEntries())
}

// While a partition moves, two workers may report it. It counts once.
func TestHistoryCountsAMovingPartitionOnce(t *testing.T) {
	worker := func(index int, position int64) status.Worker {
		return status.Worker{Consumer: "C", Index: index, Report: &status.Report{Partitions: []status.Partition{{Topic: "t", Position: position, Lag: 100 - position, Rate: 5}}}}
	}
	h := newHistory()
	h.take(status.Status{Workers: []status.Worker{worker(0, 60), worker(1, 50)}})
	j := h.json()
	if j.Lag[0] != 40 || j.Rate[0] != 5 || j.Partitions["C t/0"][0] != 40 {
		t.Errorf("lag %v, rate %v, partition %v", j.Lag, j.Rate, j.Partitions)
	}
}
