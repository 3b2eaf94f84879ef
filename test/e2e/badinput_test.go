package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
)

// Each mistake gives a line that says what, where and what to do, and exit code 1.
func TestMistakesGiveOneClearLine(t *testing.T) {
	sections := filepath.Join(t.TempDir(), "f.yml")
	if err := os.WriteFile(sections, []byte("common:\n  consumers:\n    Jurnal:\n      max_retries: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no consumer":      {nil, `=> Crashed: no consumer specified: name one or more of Journal, JournalBatch, JournalTx, or use --all`},
		"unknown consumer": {[]string{"Jurnal"}, `=> Crashed: no consumer is called "Jurnal" (did you mean "Journal"?); registered: Journal, JournalBatch, JournalTx`},
		"named twice":      {[]string{"Journal", "Journal"}, `=> Crashed: consumer Journal is named twice; use --parallel-workers for more workers`},
		"unknown flag":     {[]string{"Journal", "--brokrs", "x"}, `=> Crashed: unknown flag --brokrs (did you mean "--brokers"?)`},
		"wrong type":       {[]string{"Journal", "--fetch-messages", "abc"}, `=> Crashed: --fetch-messages: `},
		"missing file":     {[]string{"Journal", "--config", "nowhere.yml"}, `nowhere.yml`},
		"open status page": {[]string{"Journal", "--status-addr", ":0"}, `=> Crashed: --status-addr: ":0" can be reached from other hosts: set status_token, or use 127.0.0.1`},
		"properties against transactions, at a check": {
			[]string{"JournalTx", "--check", "--producer", "enable.idempotence=false"},
			`=> Crashed: --producer: enable.idempotence=false does not go with JournalTx, which is Transactional: leave it out`,
		},
		"missing certificate, at a check": {
			[]string{"Journal", "--check", "--security-protocol", "ssl", "--ssl-ca-location", "nowhere.pem"},
			`=> Crashed: --ssl-ca-location: stat nowhere.pem: no such file or directory; correct the path, or make what is missing`,
		},
		"missing certificate": {
			[]string{"Journal", "--security-protocol", "ssl", "--ssl-ca-location", "nowhere.pem"},
			`=> Crashed: --ssl-ca-location: stat nowhere.pem: no such file or directory; correct the path, or make what is missing`,
		},
		"missing keytab of a daemon": {
			[]string{"Journal", "--daemonize", "--security-protocol", "sasl_plaintext", "--sasl-mechanism", "GSSAPI", "--sasl-kerberos-principal", "a@REALM", "--sasl-kerberos-keytab", "/nowhere.keytab"},
			`=> Crashed: --sasl-kerberos-keytab: open /nowhere.keytab: no such file or directory; correct the path, or make what is missing`,
		},
		"a section of no consumer, at a check": {
			[]string{"Journal", "--check", "--config", sections},
			`f.yml:3:5: consumers.Jurnal: this program has no consumer of that name (did you mean "Journal"?); it has Journal, JournalBatch, JournalTx`,
		},
		"too many workers": {[]string{"Journal", "--parallel-workers", "1001"}, `=> Crashed: --parallel-workers: 1001 must be at most 1000`},
		"--dev":            {[]string{"Journal", "--dev"}, `=> Crashed: --dev belongs to the racecar command`},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.Start(t, harness.Command{Role: "app", Args: test.args})
			if code := p.Wait(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
			if len(lines) != 1 || !strings.Contains(lines[0], test.want) {
				t.Errorf("stderr:\n%s\nwant one line with %s", p.Stderr(), test.want)
			}
			if p.Stdout() != "" {
				t.Errorf("stdout: %s", p.Stdout())
			}
		})
	}
}

// Every command that needs a consumer reports all mistakes in registrations, each with its
// file and line; other commands work.
func TestMistakesOfRegister(t *testing.T) {
	run := func(args ...string) *harness.Process {
		return harness.Start(t, harness.Command{Role: "app", Args: args, Env: []string{"JOURNAL_MISTAKES=1"}})
	}
	for _, args := range [][]string{{"Journal"}, {"Journal", "--check"}, {"--all"}, {"list"}, {"config", "Other"}} {
		p := run(args...)
		if code := p.Wait(); code != 1 {
			t.Errorf("%v: exit code %d", args, code)
		}
		lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
		if len(lines) != 2 ||
			!regexp.MustCompile(`^=> Crashed: \S*test/consumers/journal\.go:\d+: Register of \*consumers\.Journal: the name "JournalTx" is taken; set Spec\.Name$`).MatchString(lines[0]) ||
			!regexp.MustCompile(`^=> Crashed: \S*test/consumers/journal\.go:\d+: Register of Other: Spec\.Subscriptions\[0\] must set exactly one of Topic and TopicPattern, and both are empty$`).MatchString(lines[1]) {
			t.Errorf("%v: stderr:\n%s", args, p.Stderr())
		}
	}
	for _, args := range [][]string{{"--help"}, {"--version"}, {"config"}, {"config", "Journal"}} {
		if p := run(args...); p.Wait() != 0 || strings.Contains(p.Stderr(), "Register") {
			t.Errorf("%v: stderr:\n%s", args, p.Stderr())
		}
	}
}

// A topic that cannot exist is refused at a check, by the name of its consumer. Others can
// be checked and run.
func TestInvalidTopicConcernsItsConsumerAlone(t *testing.T) {
	b := newBed(t, 1)
	check := func(args ...string) *harness.Process {
		return harness.Start(t, harness.Command{
			Role: "app", Args: append([]string{"--brokers", b.broker.Addrs()[0]}, args...),
			Env: []string{"JOURNAL_DIR=" + b.dir, "JOURNAL_TOPICS=" + b.topic, "JOURNAL_BAD_TOPIC=orders/eu"},
		})
	}
	const line = `test/consumers/journal\.go:\d+: Register of BadTopic: Spec\.Subscriptions\[0\]\.Topic: "orders/eu" cannot be a topic's name: [^\n]*`
	for _, args := range [][]string{{"BadTopic", "--check"}, {"Journal", "BadTopic", "--check"}, {"--all", "--check"}, {"BadTopic"}} {
		p := check(args...)
		if code := p.Wait(); code != 1 || !regexp.MustCompile(`^=> Crashed: \S*`+line+`\n$`).MatchString(p.Stderr()) || p.Stdout() != "" {
			t.Errorf("%v: exit code %d, stdout %s\nstderr %s", args, code, p.Stdout(), p.Stderr())
		}
	}
	p := check("Journal", "--check")
	if code := p.Wait(); code != 0 || !regexp.MustCompile(`^=> Warning: \S*`+line+`\n$`).MatchString(p.Stderr()) || !strings.HasPrefix(p.Stdout(), "Journal: 1 worker, group ") {
		t.Errorf("another one: exit code %d, stdout %s\nstderr %s", code, p.Stdout(), p.Stderr())
	}
	p = check("Journal")
	harness.Eventually(t, "the other one consumes", func() error {
		if n := len(b.records()); n != 1 {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
	stop(t, p)
}

// Nobody listens: the address is named, the worker keeps trying, and TERM ends
// it in order within two seconds.
func TestNoBrokerReachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, harness.Command{
		Role: "app", Args: []string{"--brokers", addr, "--log-format", "text", "Journal"}, Env: []string{"JOURNAL_DIR=" + t.TempDir()},
	})
	p.WaitLine(`127\.0\.0\.1:` + strings.Split(addr, ":")[1])
	p.WaitLine(`try 2/10`)
	within(t, "TERM without a broker", 2*time.Second, func() { stop(t, p) })
}

// A topic that is missing is named and waited for.
func TestAMissingTopicIsWaitedFor(t *testing.T) {
	b := newBed(t, 0)
	missing := b.topic + "-later"
	p := b.start([]string{"JOURNAL_TOPICS=" + missing}, "Journal")
	p.WaitLine(missing)
	b.broker.CreateTopic(missing, 1)
	b.broker.Produce(missing, 0, "one", "two")
	harness.Eventually(t, "the late topic consumed", func() error {
		if n := len(b.records()); n != 2 {
			return errCount(n)
		}
		return nil
	})
	stop(t, p)
}

type errCount int

func (n errCount) Error() string { return "processed " + strings.Repeat("|", int(n)) }
