package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// loadFile loads testdata/name. A first line `# NAME=value …` is its environment.
func loadFile(t *testing.T, name string) (*Loaded, error) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: "testdata", File: name, FileGiven: true}
	if line, _, _ := strings.Cut(string(b), "\n"); strings.HasPrefix(line, "# ") && strings.Contains(line, "=") {
		o.Environ = strings.Fields(line[2:])
	}
	return Load(o)
}

// TestBadFiles loads each testdata/*.bad.yml and compares every word that a user
// gets to read.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) != len(badFiles) {
		t.Errorf("%d files, %d expectations, %v", len(files), len(badFiles), err)
	}
	for name, want := range badFiles {
		t.Run(name, func(t *testing.T) {
			file := name + ".bad.yml"
			l, err := loadFile(t, file)
			if err == nil || l != nil {
				t.Fatalf("loaded: %v", l)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), file, "$"), "\n")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Error("the message shows a secret")
			}
		})
	}
}

// badFiles has the message for each file, with $ for the file's name.
var badFiles = map[string][]string{
	"boolean": {
		`$:2:3: daemonize: "maybe" is not true or false`,
	},
	"brokers-bad": {
		`$:2: brokers: "kafka+ssl://kafka1:9096" has a scheme (kafka+ssl://): write host:port`,
		`$:2: brokers: "kafka1:port" has no proper port: write host:port`,
		`$:2: brokers: "a b:9092" has no proper host: write host:port`,
		`$:2: brokers: "kafka:99999" has no proper port: write host:port`,
		`$:2: brokers: "…@y:9092" has no proper host: write host:port`,
	},
	"brokers-none": {
		`$:2: brokers: must not be empty: name at least one, as host:port`,
	},
	"dead-letter-topic": {
		`$:2: dead_letter_topic: "dead letters!" cannot be a topic: use up to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'`,
	},
	"duplicate-key": {
		`$:4:3: client_id is given twice in this section: keep one`,
	},
	"duplicate-section": {
		`$:3:1: common is given twice in this section: keep one`,
	},
	"duration-hex": {
		`$:2:3: session_timeout: "0x1e" is not a number of seconds (example: 30)`,
	},
	"duration-inf": {
		`$:2:3: session_timeout: ".inf" is not a number of seconds (example: 30)`,
	},
	"duration": {
		`$:2:3: session_timeout: "30 seconds" is not a number of seconds (example: 30)`,
	},
	"erb-default-ruby": {
		`$:2:14: client_id: the default in <%= ENV.fetch("X", Socket.gethostname) %> is Ruby, which is not run here: use a plain text or number`,
	},
	"erb-fetch-unset": {
		`$:2:14: client_id: <%= ENV.fetch("X") %>: the variable X is not set: set it, or give a default`,
	},
	"erb-open": {
		`$:2:14: <% without %> on the same line`,
	},
	"erb-ruby": {
		`$:2:14: client_id: <%= Rails.application.class.name %> is Ruby, which is not run here: use <%= ENV["NAME"] %>, <%= ENV.fetch("NAME", "default") %> or ${NAME:-default}, or set the key in racecar.Configure`,
	},
	"erb-statement": {
		`$:2:1: <% if ENV["X"] %> is Ruby, which is not run here: use <%= ENV["NAME"] %>, <%= ENV.fetch("NAME", "default") %> or ${NAME:-default}, or set the key in racecar.Configure`,
		`$:4:1: <% end %> is Ruby, which is not run here: use <%= ENV["NAME"] %>, <%= ENV.fetch("NAME", "default") %> or ${NAME:-default}, or set the key in racecar.Configure`,
	},
	"common-unmerged": {
		`$:6:1: production does not merge common, which has the anchor &common: Ruby's Racecar would read production alone, this one reads common as well; write <<: *common into production, or remove the anchor to share common with all`,
	},
	"indented-oddly": {
		"$:3:1: \u00a0\u00a0client_id stands outside of any section (it is indented with U+00A0, which YAML does not take for a space): put it under common: or development:",
		"$:4:1: \u00a0\u00a0brokers stands outside of any section (it is indented with U+00A0, which YAML does not take for a space): put it under common: or development:",
	},
	"outside": {
		`$:4:1: kafka_brokers stands outside of any section: put it under common: or development:`,
		`$:5:1: extra stands outside of any section: put it under common: or development:`,
	},
	"pem-as-path": {
		`$:3:3: sasl_password: contains the control character U+0007: only one line of text belongs here`,
		`$:4:3: ssl_key_location: this is a key, not a path: use ssl_key_pem`,
		`$:9:3: ssl_keystore_location: this is a certificate, not a path`,
		`$:10:3: client_id: contains a line break: only one line of text belongs here`,
		`$:11:3: log_format: contains a line break: only one line of text belongs here`,
		`$:12:3: fetch_messages: [PEM, not shown] is not a whole number (example: 1000)`,
		`$:13:3: ssl_ca_pem: this is a path, not PEM: use ssl_ca_location`,
		`$:8: sasl_mechanism: PLAIN needs sasl_username`,
	},
	"octal": {
		`$:2:3: fetch_messages: 010 would be 8 for Ruby, which reads a leading 0 as octal: write the number without it`,
		`$:3:3: session_timeout: 0030 would be 24 for Ruby, which reads a leading 0 as octal: write the number without it`,
	},
	"protocol-unknown": {
		`$:2: security_protocol: "tls" is not one of plaintext, ssl, sasl_plaintext, sasl_ssl (did you mean "ssl"?)`,
	},
	"erb-type": {
		`$:3:3: fetch_messages: "ten" is not a whole number (example: 1000)`,
	},
	"fetch-min": {
		`$:2: fetch_min_bytes: 20971520 bytes is more than max_bytes, 10485760: brokers would always wait for max_wait_time`,
	},
	"float": {
		`$:2:3: pause_jitter: "a lot" is not a number (example: 0.1)`,
	},
	"heartbeat-poll": {
		`heartbeat_interval: 1 s must be shorter than max_poll_interval ($:2), 0.5 s: a rebalance would be over before the worker learns of it`,
	},
	"heartbeat": {
		`$:2: heartbeat_interval: 30 s must be shorter than session_timeout, 30 s, by a third or more: the group would drop the worker between two heartbeats`,
	},
	"integer-empty": {
		`$:2:3: fetch_messages: empty, where a whole number (example: 1000) belongs`,
	},
	"integer-fraction": {
		`$:2:3: fetch_messages: "1.5" is not a whole number (example: 1000)`,
	},
	"integer": {
		`$:2:3: fetch_messages: "abc" is not a whole number (example: 1000)`,
	},
	"key-is-erb": {
		`$:2:3: <%= ENV["KEY"] %>: a variable cannot name a key`,
	},
	"keys-for-number": {
		`$:3:8: fetch_messages: keys, where a whole number (example: 1000) belongs`,
	},
	"list-for-text": {
		`$:2:3: client_id: a list, where a text belongs`,
	},
	"list-of-lists": {
		`$:3:7: brokers: a list, where a text belongs`,
	},
	"log-level": {
		`$:2: log_level: "loud" is not one of debug, info, warn, error`,
	},
	"max-pause": {
		`$:2: max_pause_timeout: only makes sense with pause_with_exponential_backoff: set that to true, or leave this out`,
	},
	"membership": {
		`$:2: membership: "static" is not one of run, host, dynamic`,
	},
	"merged": {
		`$:3:3: unknown key "nope"`,
		`$:2:3: fetch_messages: "many" is not a whole number (example: 1000)`,
	},
	"merge-of-text": {
		`$:2:7: <<: only sections can be merged`,
	},
	"milliseconds": {
		`$:2:3: sasl_kerberos_min_time_before_relogin: "soon" is not a number of milliseconds (example: 60000)`,
	},
	"nesting": {
		`$: brackets nested more than 50 deep`,
	},
	"no-section": {
		`$: neither common nor a section "development" (neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set): it has staging, productoin`,
	},
	"not-utf8": {
		`$:2:17: not valid UTF-8: save the file in that encoding`,
	},
	"other-tag": {
		`$:2:14: client_id: a YAML tag, where a text belongs`,
	},
	"outside-section": {
		`$:1:1: brokers stands outside of any section: put it under common: or development:`,
		`$:2:1: client_id stands outside of any section: put it under common: or development:`,
	},
	"partitioner-near": {
		`$:2: partitioner: ":consistant_random" is not one of consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random (did you mean "consistent_random"?)`,
	},
	"partitioner": {
		`$:2: partitioner: "nope" is not one of consistent, consistent_random, murmur2, murmur2_random, fnv1a, fnv1a_random`,
	},
	"pem": {
		`$:7:3: ssl_key_pem: holds no PEM (-----BEGIN …): for a file use ssl_key_location`,
		`$:4: ssl_ca_pem: cannot be combined with ssl_ca_location ($:3): leave one out`,
	},
	"property-form": {
		`$:2: consumer: "client.rack": write name=value`,
	},
	"property-key": {
		`$:3: consumer: session.timeout.ms contradicts $:2: session_timeout: leave one out`,
	},
	"property-refused": {
		`$:2: consumer: enable.auto.commit: "false" cannot be honoured, only true: positions are committed by the worker, after the message and its output are done`,
		`$:2: consumer: queued.max.messages.kbytes: cannot be honoured: there is no such queue here; max_bytes and min_message_queue_size bound what is fetched ahead`,
		`$:2: consumer: group.id: cannot be honoured: set group_id, or GroupID in the Spec`,
		`$:6: producer: transactional.id: cannot be honoured: ids are made for each consumer instance: set Transactional in the Spec`,
	},
	"property-secret": {
		`$:2: consumer: sasl.passwd: librdkafka has no such property, or it cannot be set here (did you mean "sasl.password"?)`,
		`$:2: consumer: ssl.key.pem: holds no PEM (-----BEGIN …): for a file use ssl_key_location`,
		`$:2: consumer: [hidden]: write name=value`,
	},
	"property-side": {
		`$:2: consumer: linger.ms: is a producer property: put it under producer`,
		`$:3: producer: auto.offset.reset: is a consumer property: put it under consumer`,
	},
	"property-twice": {
		`$:2: consumer: max.partition.fetch.bytes: the same as fetch.message.max.bytes: keep one`,
	},
	"property-unknown": {
		`$:2: consumer: bogus.property: librdkafka has no such property, or it cannot be set here`,
		`$:2: consumer: fetch.wait.max.m: librdkafka has no such property, or it cannot be set here (did you mean "fetch.wait.max.ms"?)`,
	},
	"property-value": {
		`$:2: consumer: auto.offset.reset: "newest" is not one of earliest, smallest, beginning, latest, largest, end`,
		`$:2: consumer: session.timeout.ms: "soon" is not a number of milliseconds`,
		`$:2: consumer: isolation.level: "x" is not one of read_committed, read_uncommitted`,
		`$:3: producer: acks: "2" is not one of all, -1, 1, 0`,
		`$:3: producer: linger.ms: "-1" is not a number of milliseconds from 0 to 900000`,
		`$:3: producer: compression.codec: "brotli" is not one of none, gzip, snappy, lz4, zstd`,
		`$:3: producer: sasl.kerberos.min.time.before.relogin: "x" is not a number of milliseconds`,
	},
	"range-high": {
		`$:4: session_timeout: 9999999 s is longer than Kafka can be told (about 24 days)`,
		`$:5: max_bytes: 4294967296 bytes is more than Kafka can be told (2147483647)`,
		`$:3: datadog_port: 70000 must be at most 65535 (or 0)`,
		`$:2: pause_jitter: 2 must be at most 1`,
	},
	"range-low": {
		`$:2: fetch_messages: 0 must be at least 1`,
		`$:4: session_timeout: 0 s must be more than 0`,
		`$:3: parallel_workers: -2 must be at least 1`,
	},
	"range-special": {
		`$:2: pause_timeout: -2 s must be at least 0 (or -1)`,
		`$:3: worker_restart_limit: -5 must be at least 0 (or -1)`,
		`$:4: worker_memory_limit: 512 bytes must be at least 16777216 (or 0)`,
	},
	"sasl-mechanism": {
		`$:2: security_protocol: sasl_plaintext without sasl_mechanism means GSSAPI, which takes no user name and password: set sasl_mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`,
	},
	"sasl-oauth": {
		`$:3: sasl_mechanism: OAUTHBEARER needs sasl_oauthbearer_token_file, or OAuthToken in racecar.Configure`,
	},
	"sasl-password": {
		`$:3: sasl_mechanism: SCRAM-SHA-256 needs sasl_username`,
		`$:3: sasl_mechanism: SCRAM-SHA-256 needs sasl_password`,
	},
	"sasl-protocol": {
		`$:3: sasl_mechanism: has no effect with security_protocol ssl: set security_protocol to sasl_ssl`,
		`$:4: sasl_username: has no effect with security_protocol ssl: set security_protocol to sasl_ssl`,
		`$:5: sasl_password: has no effect with security_protocol ssl: set security_protocol to sasl_ssl`,
	},
	"second-document": {
		`$:3:7: a second YAML document: put everything into one`,
	},
	"section-is-list": {
		`$:1:1: the section development must hold keys, each on a line of its own below it`,
	},
	"section-is-text": {
		`$:1:1: the section development must hold keys, each on a line of its own below it`,
	},
	"several": {
		`$:4:3: unknown key "nope"`,
		`$:3:3: fetch_messages: "abc" is not a whole number (example: 1000)`,
		`$:6:3: daemonize: "2" is not true or false`,
		`$:7:3: session_timeout: "x" is not a number of seconds (example: 30)`,
		`RACECAR_NOPE: unknown environment variable`,
		`RACECAR_MAX_BYTES: "many" is not a number of bytes (example: 10485760)`,
	},
	"shell-odd": {
		`$:2:14: client_id: ${x.y} is not understood: write ${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for a literal ${`,
	},
	"shell-open": {
		`$:2:14: ${ without } on the same line`,
	},
	"size": {
		`$:2:3: worker_memory_limit: "512 XB" is not a number of bytes (example: 512MiB)`,
	},
	"socket-timeout-section": {
		`$:5: socket_timeout: 20 s must be longer than max_wait_time ($:3), 40 s: connections would time out while brokers wait for messages`,
	},
	"socket-timeout": {
		`$:2: socket_timeout: 1 s must be longer than max_wait_time, 1 s: connections would time out while brokers wait for messages`,
	},
	"status-addr": {
		`$:2: status_addr: "9394" is not an address: write host:port, for example 127.0.0.1:9394, or unix:PATH`,
	},
	"status-token-short": {
		"$:3: status_token: shorter than 16 characters, with status_addr ($:2) where other hosts can guess it: make one with `openssl rand -hex 16`",
	},
	"status-unix": {
		`$:2: status_addr: unix: names no socket: write unix:PATH`,
	},
	"status-token": {
		`$:2: status_addr: ":9394" can be reached from other hosts: set status_token, or use 127.0.0.1`,
	},
	"strategy-none": {
		`$:2: partition_assignment_strategy: empty: name at least one of range, roundrobin, sticky, cooperative-sticky`,
	},
	"strategy-twice": {
		`$:2: partition_assignment_strategy: "range" is given twice`,
	},
	"strategy": {
		`$:2: partition_assignment_strategy: "cooperative" is not one of range, roundrobin, sticky, cooperative-sticky (did you mean "cooperative-sticky"?)`,
	},
	"syntax-flow": {
		`$:1:23: not valid YAML: sequence end token ']' not found`,
	},
	"syntax-indent": {
		`$:3:2: not valid YAML: value is not allowed in this context`,
	},
	"syntax-quote": {
		`$:2:14: not valid YAML: could not find end character of double-quoted text`,
	},
	"syntax-tab": {
		`$:2:1: not valid YAML: found character '\t' that cannot start any token`,
	},
	"tls-both": {
		`$:3: ssl_certificate_location: cannot be combined with ssl_keystore_location ($:5): both hold the client's certificate and key; leave one out`,
		`$:4: ssl_key_location: cannot be combined with ssl_keystore_location ($:5): both hold the client's certificate and key; leave one out`,
	},
	"tls-files": {
		`$:2: ssl_ca_location: has no effect with security_protocol plaintext: set security_protocol to ssl`,
		`$:3: ssl_key_password: has no effect with security_protocol plaintext: set security_protocol to ssl`,
	},
	"tls-pair": {
		`$:3: ssl_certificate_location: needs ssl_key_location as well (one PEM file may hold both)`,
		`$:4: ssl_keystore_password: needs ssl_keystore_location`,
	},
	"top-list": {
		`$:1:1: sections such as common: and production: belong here, each with its keys below it`,
	},
	"top-text": {
		`$:1:1: sections such as common: and production: belong here, each with its keys below it`,
	},
	"unknown-alias": {
		`$:2:7: *base: there is no anchor &base before it`,
		`$:3:14: *name: there is no anchor &name before it`,
	},
	"unknown-key": {
		`$:2:3: unknown key "no_such_key"`,
		`$:3:3: unknown key "fetch_mesages" (did you mean "fetch_messages"?)`,
		`$:4:3: unknown key "group-id" (did you mean "group_id"?)`,
	},
}
