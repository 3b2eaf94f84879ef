package config

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoodFiles loads each testdata/*.good.yml and compares what it changes and
// what it warns of.
func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yml")
	if err != nil || len(files) != len(goodFiles) {
		t.Errorf("%d files, %d expectations, %v", len(files), len(goodFiles), err)
	}
	for name, want := range goodFiles {
		t.Run(name, func(t *testing.T) {
			file := name + ".good.yml"
			l, err := loadFile(t, file)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := Dump(&out, l.Config, l.Sources, DumpOptions{Changed: true}); err != nil {
				t.Fatal(err)
			}
			got := out.String()
			for _, w := range l.Warnings {
				got += "warning: " + w + "\n"
			}
			got = tidy(strings.ReplaceAll(got, file, "$"))
			if got != tidy(want) {
				t.Errorf("got\n%s\nwant\n%s", got, tidy(want))
			}
		})
	}
}

// tidy makes runs of blanks one.
func tidy(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(lines, "\n")
}

// goodFiles has what each file says, with $ for the file's name.
var goodFiles = map[string]string{
	"bom": `
client_id = "x" # $:2
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"booleans": `
synchronous_commits = true # $:3
sasl_over_ssl = true # $:6
daemonize = true # $:2
datadog_enabled = true # $:4
ssl_verify_hostname = false # $:5
liveness_probe_enabled = true # $:7
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
warning: $:6: sasl_over_ssl: has no effect: security_protocol decides, sasl_ssl or sasl_plaintext
`,
	"common-only": `
client_id = "x" # $:3
warning: $: no section "staging" (RACK_ENV) (did you mean "stagign"?): only common is used
`,
	"crlf": `
client_id = "x" # $:2
fetch_messages = 3 # $:4
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"empty-section": ``,
	"empty": `
warning: $: the file is empty: defaults are used
`,
	"inert": `
pause_timeout = 0.0 # $:5
pause_with_exponential_backoff = true # $:6
sasl_over_ssl = true # $:2
without_rails = true # $:3
static_id = "a" # $:4
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
warning: $:2: sasl_over_ssl: has no effect: security_protocol decides, sasl_ssl or sasl_plaintext
warning: $:3: without_rails: there is no Rails here: accepted, and it skips building ./consumers
warning: $:6: pause_with_exponential_backoff: has no effect with pause_timeout 0: there is no pause to double
warning: $:4: static_id: has no effect without membership: host
`,
	"lists": `
brokers = ["kafka1:9092", "kafka2:9092", "kafka3:1"] # $:2
partition_assignment_strategy = "range,sticky" # partition.assignment.strategy ($:4: consumer)
consumer = ["client.rack=r1", "partition.assignment.strategy=range,sticky"] # $:4
producer = ["linger.ms=0.5", "compression.level=3", "acks=all"] # $:5
datadog_tags = ["a:1", "b:2", "c"] # $:3
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"merged": `
client_id = "a" # $:2
warning: $:2:14: client_id: the variable X is not set: it counts as empty
`,
	"merges": `
client_id = "base" # $:3
fetch_messages = 2 # $:7
session_timeout = 40.0 # $:11
max_bytes = 1048576 # $:8
datadog_namespace = "shop" # $:13
datadog_tags = ["env:production", "shop"] # $:14
`,
	"common-shared": `
ssl_ca_location = "ca.pem" # $:4
sasl_username = "me" # $:3
warning: $:4: ssl_ca_location: has no effect with security_protocol plaintext: set security_protocol to ssl
warning: $:3: sasl_username: has no effect with security_protocol plaintext: set security_protocol to sasl_ssl or sasl_plaintext
`,
	"ends": `
client_id = "x" # $:4
group_id = "g" # $:3
`,
	"flow": `
brokers = ["localhost:9092", "b:1", "c:9092"] # $:1
client_id = "a:b" # $:1
datadog_tags = ["env:x"] # $:1
`,
	"ruby": `
brokers = ["a:1", "b:2"] # $:4
client_id = "x" # $:3
fetch_messages = 10 # $:6
log_level = "error" # $:7
datadog_tags = ["a", "b"] # $:8
parallel_workers = 7 # $:9
`,
	"null": ``,
	"properties": `
consumer = ["session.timeout.ms = 45000", "group.instance.id=host-1", "auto.offset.reset=smallest", "enable.auto.offset.store=false", "sasl.password=[hidden]", "socket.timeout.ms=60000"] # $:2
producer = ["message.timeout.ms=1500", "compression.type=zstd"] # $:9
session_timeout = 45.0 # session.timeout.ms ($:2: consumer)
message_timeout = 1.5 # message.timeout.ms ($:9: producer)
producer_compression_codec = :zstd # compression.type ($:9: producer)
membership = "host" # group.instance.id ($:2: consumer)
static_id = "host-1" # group.instance.id ($:2: consumer)
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"section-only": `
client_id = "x" # $:1
log_level = "debug" # $:1
`,
	"security": `
security_protocol = :sasl_ssl # $:2
ssl_ca_location = "certs" # $:3
ssl_keystore_location = "client.p12" # $:4
ssl_keystore_password = "[hidden]" # $:5
sasl_mechanism = "SCRAM-SHA-512" # $:6
sasl_username = "me" # $:7
sasl_password = "[hidden]" # $:8
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"symbols": `
partition_assignment_strategy = "cooperative-sticky" # $:5
partitioner = :murmur2_random # $:3
security_protocol = :ssl # $:2
sasl_over_ssl = false # $:6
producer_compression_codec = :lz4 # $:4
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
warning: $:6: sasl_over_ssl: has no effect: security_protocol decides, sasl_ssl or sasl_plaintext
`,
	"template": `
brokers = ["kafka1.myapp.com:9092", "kafka2.myapp.com:9092", "10.0.0.3:9092", "[::1]:9092", "[::1]:9092", "localhost:9093"] # $:14
client_id = "shop" # $:5
`,
	"texts": `
client_id = "007" # $:2
group_id_prefix = "no" # $:4
group_id = "true" # $:3
logfile = "log/é.log" # $:10
sasl_kerberos_kinit_cmd = "kinit -R -t \"%{sasl.kerberos.keytab}\" # %{broker.name}" # $:5
datadog_host = "dd" # $:8
datadog_namespace = "racecar" # $:6
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"units": `
offset_commit_interval = 0.5 # $:2
fetch_messages = 10000 # $:11
pause_timeout = -1.0 # $:7
max_poll_interval = 90 # $:3
max_wait_time = 0.25 # $:4
message_timeout = 100.0 # $:6
max_bytes = 5000000 # $:10
sasl_kerberos_min_time_before_relogin = 1000 # $:5
worker_restart_limit = -1 # $:8
worker_memory_limit = 1610612736 # $:9
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
	"variables": `
brokers = ["b:9092", "c:9092"] # $:4
client_id = "a-7-z" # $:3
fetch_messages = 7 # $:10
fetch_min_bytes = 3 # $:11
group_id_prefix = "." # $:17
security_protocol = :sasl_plaintext # $:6
sasl_mechanism = "PLAIN" # $:7
sasl_username = "me" # $:8
sasl_password = "[hidden]" # $:9
datadog_host = nil # $:12
datadog_namespace = "blk" # $:13
datadog_tags = ["env:test", "really", "a: 7", "${A}"] # $:5
statistics_interval = 5 # $:18
warning: $:15:12: logfile: the variable NOPE is not set: it counts as not given
warning: $:16:14: log_level: the variable NOPE is not set: the default "info" is used
warning: $:17:20: group_id_prefix: the variable NOPE is not set: it counts as empty
warning: $:19:12: pidfile: the variable NOPE is not set: it counts as not given
warning: $: no section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): only common is used
`,
}
