package config

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	list := func(items ...string) []string { return items }
	for _, tt := range []struct {
		key, text string
		want      any // nil: refused
	}{
		{"daemonize", "true", true}, {"daemonize", "Yes", true}, {"daemonize", "on", true}, {"daemonize", " 1 ", true},
		{"daemonize", "FALSE", false}, {"daemonize", "no", false}, {"daemonize", "off", false}, {"daemonize", "0", false},
		{"daemonize", "2", nil}, {"daemonize", "", nil}, {"daemonize", "truee", nil},

		{"fetch_messages", "10", int64(10)}, {"fetch_messages", "-3", int64(-3)}, {"fetch_messages", "1_000", int64(1000)},
		{"fetch_messages", "1__0", nil}, {"fetch_messages", "_1", nil}, {"fetch_messages", "1e3", nil},
		{"fetch_messages", "10.0", int64(10)}, {"fetch_messages", "10.", nil}, {"fetch_messages", "0x10", nil}, {"fetch_messages", "9223372036854775808", nil},
		{"fetch_messages", "10s", nil}, {"fetch_messages", "010", nil}, {"fetch_messages", "0", int64(0)},
		{"max_wait_time", "010", nil}, {"max_wait_time", "08", 8 * time.Second}, {"max_bytes", "0777", nil},

		{"max_bytes", "1024", int64(1024)}, {"max_bytes", "1KiB", int64(1024)}, {"max_bytes", "1 kb", int64(1000)},
		{"max_bytes", "2M", int64(2 << 20)}, {"max_bytes", "1.5GiB", int64(3 << 29)}, {"max_bytes", "10B", int64(10)},
		{"max_bytes", "0.0001KiB", nil}, {"max_bytes", "MiB", nil}, {"max_bytes", "1TiB", nil}, {"max_bytes", "9e99GiB", nil},

		{"pause_jitter", "0.25", 0.25}, {"pause_jitter", "1e-1", 0.1}, {"pause_jitter", "nan", nil}, {"pause_jitter", "inf", nil},
		{"pause_jitter", "0x1p-2", nil}, {"pause_jitter", "1e999", nil},

		{"max_wait_time", "1", time.Second}, {"max_wait_time", "0.5", 500 * time.Millisecond}, {"max_wait_time", "1m30s", 90 * time.Second},
		{"max_wait_time", "250ms", 250 * time.Millisecond}, {"max_wait_time", "-1", -time.Second}, {"max_wait_time", "1e2", 100 * time.Second},
		{"max_wait_time", ".5", 500 * time.Millisecond}, {"max_wait_time", "5 s", nil}, {"max_wait_time", "1e300", nil}, {"max_wait_time", "1d", nil},
		{"max_wait_time", "0.1", 100 * time.Millisecond},
		{"sasl_kerberos_min_time_before_relogin", "60000", time.Minute}, {"sasl_kerberos_min_time_before_relogin", "1.5", 1500 * time.Microsecond},
		{"sasl_kerberos_min_time_before_relogin", "2s", 2 * time.Second},

		{"brokers", "a,b:1, c ,,", list("a", "b:1", "c")}, {"brokers", "", list()},
		{"consumer", "a=1,b=2", list("a=1", "b=2")}, {"consumer", "a=1,2,b=3", list("a=1,2", "b=3")}, {"consumer", "x,a=1", list("x", "a=1")},
		{"datadog_tags", "a,b", list("a", "b")},
		{"partition_assignment_strategy", ":Range, STICKY,x", list("range", "sticky", "x")},

		{"client_id", " a ", "a"}, {"client_id", "a\r\n", "a"}, {"client_id", "\ufeffa\u00a0", "a"}, {"client_id", "a\nb", nil}, {"client_id", "\xff", nil}, {"brokers", "a,\xff", nil},
		{"partitioner", ":murmur2", "murmur2"}, {"partitioner", "MURMUR2", "murmur2"}, {"partitioner", ":nope", ":nope"},
		{"sasl_mechanism", "scram-sha-512", "SCRAM-SHA-512"}, {"log_level", "DEBUG", "debug"},
	} {
		k, ok := Lookup(tt.key)
		if !ok {
			t.Fatal(tt.key)
		}
		got, err := k.parse(input{text: tt.text})
		if tt.want == nil {
			if err == nil {
				t.Errorf("%s %q: %v was accepted", tt.key, tt.text, got)
			}
			continue
		}
		if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", tt.want) && !(reflect.ValueOf(got).Kind() == reflect.Slice && reflect.ValueOf(got).Len() == 0 && reflect.ValueOf(tt.want).Len() == 0) {
			t.Errorf("%s %q: %#v (%v), want %#v", tt.key, tt.text, got, err, tt.want)
		}
	}
}

func TestKeys(t *testing.T) {
	keys := Keys()
	if keys[0].Name != "brokers" || keys[58].Name != "multi_subscription_strategy" || !keys[58].Upstream || keys[59].Upstream {
		t.Error("the 59 keys of upstream are not first")
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.Name] || k.Help == "" || k.Group == "" || len(k.Help) > 80 {
			t.Errorf("%s: twice, or without help or theme, or with too much", k.Name)
		}
		seen[k.Name] = true
		got, ok := Lookup(k.Name)
		if !ok || !reflect.DeepEqual(got, k) {
			t.Errorf("Lookup does not find %s", k.Name)
		}
	}
	n := 0
	for _, theme := range Themes() {
		n += len(theme.Keys)
	}
	if n != len(keys) || len(Themes()) != 9 {
		t.Errorf("%d keys in %d themes", n, len(Themes()))
	}
	k, _ := Lookup("sasl_password")
	if k.Flag != "sasl-password" || k.Env != "RACECAR_SASL_PASSWORD" || !k.Secret || k.Type != TypeString || k.Group != "Security" {
		t.Errorf("%+v", k)
	}
	k, _ = Lookup("max_bytes")
	if k.Type != TypeSize || k.Unit != "bytes" || k.Default != "10485760" {
		t.Errorf("%+v", k)
	}
}

// TestDefaultsAreValid so that nobody has to write anything.
func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.HeartbeatInterval != time.Second || c.MaxPollInterval != 5*time.Minute || c.MaxBytes != 10<<20 || !c.SASLOverSSL ||
		c.WorkerRestartLimit != 5 || c.PauseJitter != 0.1 || c.Membership != MembershipRun || len(c.PartitionAssignmentStrategy) != 2 {
		t.Errorf("%v", c)
	}
}

func TestClone(t *testing.T) {
	a := Default()
	b := a.Clone()
	b.Brokers[0], b.PartitionAssignmentStrategy[0] = "x", "y"
	if a.Brokers[0] != "localhost:9092" || a.PartitionAssignmentStrategy[0] != "range" {
		t.Error("a clone shares its lists")
	}
}
