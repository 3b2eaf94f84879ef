package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/racecar"
	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// settingsOf is what a supervisor at these brokers knows of a consumer.
func settingsOf(consumer, group, brokers string, topics ...string) Settings {
	c := config.Default()
	c.Brokers, c.GroupID = []string{brokers}, group
	return Settings{Consumer: consumer, Topics: topics, Config: config.WithSecrets(c)}
}

// supervised starts a stand-in for a supervisor that runs these consumers.
func (k *kafkaRun) supervised(all ...Settings) *fakeSupervisor {
	k.t.Helper()
	if k.dir == "" {
		k.dir = filepath.Join(k.t.TempDir(), "run")
	}
	sup := &fakeSupervisor{st: status.Status{Version: 1, PID: 1, State: status.Running}, sets: map[string]Settings{}}
	for _, s := range all {
		sup.sets[s.Consumer] = s
		sup.st.Consumers = append(sup.st.Consumers, status.Consumer{Name: s.Consumer, Group: s.Config.GroupID})
	}
	ln, err := Runtime{Dirs: []string{k.dir}}.Listen()
	if err != nil {
		k.t.Fatal(err)
	}
	srv := NewServer(sup, logrus.New())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	k.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			k.t.Error(err)
		}
		if err := <-done; err != nil {
			k.t.Error(err)
		}
	})
	return sup
}

// Commands take group, topics and brokers from the supervisor, not from the name.
func TestCommandsUseTheGroupOfTheRunningConsumer(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 1)
	k.broker.Topic("own-group.dlq", 1)
	k.broker.Produce(deadLettersOf("own-group", 1, "t", "own-group.dlq")...)
	k.supervised(settingsOf("OwnConsumer", "own-group", k.addr, "t"))
	k.env = []string{"RACECAR_BROKERS=127.0.0.1:1"} // the supervisor has others
	out, errs, code := k.run("", "reset-offsets", "OwnConsumer", "--to", "latest")
	if code != 0 || !strings.HasSuffix(out, "Reset 1 partition of group own-group\n") || !strings.HasPrefix(errs, "=> The brokers are those of the running supervisor") {
		t.Errorf("reset-offsets: exit %d, %q, %q", code, out, errs)
	}
	if got := k.broker.Committed("own-group", "t"); len(got) != 1 {
		t.Errorf("the group has %v", got)
	}
	if got := k.broker.Committed("own-consumer", "t"); len(got) != 0 {
		t.Errorf("a group derived from the name has %v", got)
	}
	for _, args := range [][]string{{"dlq", "list", "OwnConsumer"}, {"dlq", "list"}, {"dlq", "list", "--group", "own-group"}} {
		if out, errs, code := k.run("", args...); code != 0 || !strings.Contains(out, "t/0@100") {
			t.Errorf("%q: exit %d, %q, %q", args, code, out, errs)
		}
	}
	if out, errs, code := k.run("", "lag", "--group", "own-group"); code != 0 || !strings.Contains(out, "t/0") {
		t.Errorf("lag: exit %d, %q, %q", code, out, errs)
	}
	k.fails("", "no broker reachable, tried 127.0.0.1:2", "dlq", "list", "OwnConsumer", "--brokers", "127.0.0.1:2")
	k.fails("", `no consumer is called "Other"`, "lag", "Other", "--socket", mustSocket(t, k.dir))
}

func mustSocket(t *testing.T, dir string) string {
	t.Helper()
	all, err := Runtime{Dirs: []string{dir}}.Find(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0]
}

// Nothing is derived from a name that neither a supervisor nor this program knows.
func TestCommandsDoNotGuessAGroup(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 1)
	commands := [][]string{
		{"reset-offsets", "-t", "t", "--to", "latest"}, {"lag"}, {"dlq", "list"}, {"dlq", "replay"},
	}
	for _, c := range commands {
		k.fails("", `Error: no running supervisor runs consumer "NoSuch", and this program does not register it: give --group ID, or use the application's own binary under the name racecarctl`,
			append(c, "NoSuch")...)
	}
	k.supervised(settingsOf("A", "a", k.addr), settingsOf("B", "b", k.addr))
	k.fails("", `Error: no running supervisor runs consumer "NoSuch"`, "reset-offsets", "-t", "t", "--to", "latest", "NoSuch")
	k.fails("", "Error: several consumers run here: name one of A, B", "reset-offsets", "-t", "t", "--to", "latest")
	k.fails("", "Error: several consumers run here: name one of A, B", "dlq", "list")
	if groups := k.broker.Committed("no-such", "t"); len(groups) != 0 {
		t.Errorf("committed %v", groups)
	}
	k.supervised(settingsOf("A", "a2", k.addr))
	k.fails("", "Error: 2 are running; choose one with --pidfile or --socket:", "reset-offsets", "A", "-t", "t", "--to", "latest")
	k.fails("", "Error: 2 are running; name a consumer, or choose one with --pidfile or --socket:", "reset-offsets", "-t", "t", "--to", "latest")
	k.ok("", "PARTITION  FROM  TO         MOVED\nt/0           -  → 0  none before\nReset 1 partition of group a2\n", "",
		"reset-offsets", "--group", "a2", "-t", "t", "--to", "latest")
}

type specConsumer struct{}

func (specConsumer) Process(context.Context, *racecar.Message) error { return nil }

// In an application's binary a consumer that does not run is known by its Spec.
func TestCommandsUseTheSpecOfARegisteredConsumer(t *testing.T) {
	racecar.Register(func(racecar.Runtime) (specConsumer, error) { return specConsumer{}, nil }, racecar.Spec{
		Name: "SpecConsumer", GroupID: "spec-group", DeadLetterTopic: "spec-letters", Subscriptions: []racecar.Subscription{{Topic: "spec-topic"}},
	})
	k := newKafkaRun(t)
	k.broker.Topic("spec-topic", 1)
	k.broker.Topic("spec-letters", 1)
	k.broker.Produce(deadLettersOf("spec-group", 1, "spec-topic", "spec-letters")...)
	k.ok("", "PARTITION     FROM  TO         MOVED\nspec-topic/0     -  → 0  none before\nReset 1 partition of group spec-group\n", "",
		"reset-offsets", "SpecConsumer", "--to", "latest")
	if out, errs, code := k.run("", "dlq", "list", "SpecConsumer"); code != 0 || !strings.Contains(out, "spec-topic/0@100") {
		t.Errorf("dlq list: exit %d, %q, %q", code, out, errs)
	}
	k.fails("", `Error: no running supervisor runs consumer "SpecConsume", and this program does not register it (did you mean "SpecConsumer"?): give --group ID`, "lag", "SpecConsume")
}

// The control socket serves the secrets; the status page does not.
func TestOnlyTheSocketServesSecrets(t *testing.T) {
	s := settingsOf("A", "a", "k:9092")
	s.Config.SASLPassword = "geheim"
	sup := &fakeSupervisor{sets: map[string]Settings{"A": s}}
	srv := NewServer(sup, logrus.New())
	for _, test := range []struct {
		h    http.Handler
		code int
	}{{srv.Handler(), http.StatusNotFound}, {srv.socketHandler(), http.StatusOK}} {
		w := httptest.NewRecorder()
		test.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/settings?consumer=A", nil))
		if has := strings.Contains(w.Body.String(), "geheim"); w.Code != test.code || has != (test.code == http.StatusOK) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// setTopicConfig changes a topic's configuration at its broker.
func setTopicConfig(ctx context.Context, t *testing.T, addr, topic, key, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	set.Name, set.Value = key, &value
	resource.Configs = append(resource.Configs, set)
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(ctx, client)
	if err != nil || resp.Resources[0].ErrorCode != 0 {
		t.Fatalf("%v, %+v", err, resp)
	}
}

func TestPatternsMeanNoDeadLetterTopics(t *testing.T) {
	for _, test := range []struct {
		pattern, topic string
		want           bool
	}{
		{`orders\..*`, "orders.eu", true}, {`orders\..*`, "orders.eu.dlq", false}, {`orders\..*\.dlq`, "orders.eu.dlq", true}, {`orders\..*`, "my.orders.eu", false},
	} {
		s := &subject{}
		if err := s.subscribe(nil, []string{test.pattern}); err != nil {
			t.Fatal(err)
		}
		if got := s.subscribes(test.topic); got != test.want {
			t.Errorf("%s %s: %t", test.pattern, test.topic, got)
		}
	}
}

// A racecarctl that is no application's binary says who knows other brokers, when it only
// tried the default ones.
func TestPlainRacecarctlSaysWhoKnowsTheBrokers(t *testing.T) {
	const hint = "which knows what racecar.Configure sets"
	away := func(addrs ...string) error {
		return fmt.Errorf("lag: %w", &access.UnreachableError{Addrs: addrs, Errs: make([]error, len(addrs))})
	}
	for _, tc := range []struct {
		err   error
		plain bool
		want  bool
	}{
		{away(config.Default().Brokers...), true, true},
		{away(config.Default().Brokers...), false, false}, // Configure was asked
		{away("kafka:9092"), true, false},                 // somebody named it
		{errNoTopic, true, false},
	} {
		got := withBrokersHint(tc.err, tc.plain)
		if strings.Contains(got.Error(), hint) != tc.want || !errors.Is(got, tc.err) {
			t.Errorf("%v, plain %t: %v", tc.err, tc.plain, got)
		}
	}
}
