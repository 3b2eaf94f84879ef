package config

import (
	"context"
	"time"
)

// PauseForever as PauseTimeout pauses a failing partition until it is resumed
// by hand (`racecarctl resume`) or its assignment changes. Upstream writes -1.
const PauseForever = -1 * time.Second

// NeverGiveUp as WorkerRestartLimit restarts a crashing worker for ever.
const NeverGiveUp = -1

// Membership says whose the places in the consumer group are.
type Membership string

const (
	// MembershipRun gives each worker slot an instance id (KIP-345) that lives
	// as long as one supervisor run; a stop removes the members.
	MembershipRun Membership = "run"
	// MembershipHost derives the instance ids from StaticID and keeps the
	// members over a stop, so that a deploy rebalances nothing.
	MembershipHost Membership = "host"
	// MembershipDynamic uses no instance ids, for brokers without KIP-345.
	MembershipDynamic Membership = "dynamic"
)

// Config holds the value of every key, as read and checked.
//
// Durations are written as seconds ("10", "0.5") or as Go durations ("1m30s") in
// files, variables and flags, sizes as bytes ("1048576") or with a unit ("1MiB",
// "1MB").
//
// The tags are the key's record, from which all else derives: `key` its name
// (flag: `_` becomes `-`; variable: RACECAR_ and upper case), `default` its default
// as a user would write it, `help` its line in --help, `unit` when it is not the
// type's (s), `range` and `special` what is allowed, `enum` the words allowed, `alias`
// other words for them (word=meaning),
// `secret` that it is never shown, `group` on a theme's first key: the theme of
// this and the following keys in --help.
//
// Printed, logged or encoded as JSON it hides its secrets; WithSecrets is what holds
// them on the way to the workers.
type Config struct {
	// Kafka: where the cluster is and who we are there.

	// Brokers are the addresses the cluster is first asked at, host:port each; the
	// port is 9092 when left out. Defaults to localhost:9092.
	Brokers []string `key:"brokers" group:"Kafka" default:"localhost:9092" help:"Kafka's bootstrap brokers, host:port; port 9092 when left out"`
	// ClientID names this client in the broker's logs, metrics and quotas, and begins
	// the instance ids of the workers. Defaults to racecar.
	ClientID string `key:"client_id" default:"racecar" help:"names this client in logs, metrics and quotas"`
	// GroupID is the consumer group. Empty: derived from the consumer's name as upstream
	// does (UserBanConsumer: user-ban-consumer; see GroupIDFor). Moving a consumer to
	// another group replays its topics, so a Spec's GroupID cannot be changed by a
	// variable or flag. Defaults to empty.
	GroupID string `key:"group_id" help:"consumer group; derived from the consumer's name when empty"`
	// GroupIDPrefix is put before a derived group id and not before a given one.
	// Defaults to empty.
	GroupIDPrefix string `key:"group_id_prefix" help:"put before a derived group id"`
	// SocketTimeout is how long to wait for a connection to, or an answer of, a
	// broker. It must be longer than MaxWaitTime. Defaults to 30 s (librdkafka:
	// socket.timeout.ms, whose own default is 60 s).
	SocketTimeout time.Duration `key:"socket_timeout" default:"30" range:">0" help:"how long a broker may take to answer"`
	// TopicMetadataRefreshInterval is how often the partitions of the subscribed
	// topics, and the topics that match a pattern, are looked up. New ones are
	// consumed within about two intervals. Defaults to 60 s (librdkafka:
	// topic.metadata.refresh.interval.ms, 300 s). Not an upstream key.
	TopicMetadataRefreshInterval time.Duration `key:"topic_metadata_refresh_interval" default:"60" range:">0" help:"how often new partitions and topics are looked for"`

	// Consuming: how messages are fetched and positions kept.

	// OffsetCommitInterval is how often the positions reached are committed. They are
	// committed at a revocation, a stop and a failure as well, so this bounds only
	// what a kill -9 repeats. Defaults to 10 s.
	OffsetCommitInterval time.Duration `key:"offset_commit_interval" group:"Consuming" default:"10" range:">0" help:"how often positions are committed"`
	// SynchronousCommits commits after each message or batch and waits for the
	// answer: the fewest duplicates at the price of a round trip each. Defaults to
	// false.
	SynchronousCommits bool `key:"synchronous_commits" default:"false" help:"commit after each message or batch, and wait for it"`
	// HeartbeatInterval is how often a worker tells the group that it is alive. A
	// rebalance is learnt of with it, so it bounds how long a join takes. It must be
	// shorter than SessionTimeout and MaxPollInterval. Defaults to 1 s (upstream 10,
	// with which five workers need 11 to 22 s to settle).
	HeartbeatInterval time.Duration `key:"heartbeat_interval" default:"1" range:">0" help:"how often the group is told that a worker is alive"`
	// SessionTimeout is the silence after which the group gives a worker's partitions
	// to others. The broker bounds it (group.min.session.timeout.ms, by default 6 s,
	// and group.max.session.timeout.ms). Defaults to 30 s.
	SessionTimeout time.Duration `key:"session_timeout" default:"30" range:">0" help:"silence after which a worker loses its partitions"`
	// MaxPollInterval is the longest that one call of Process or ProcessBatch may
	// take; a longer one is taken for stuck and its worker is replaced. It is also the
	// time that a rebalance gives its members to finish what they have in hand.
	// Defaults to 300 s.
	MaxPollInterval time.Duration `key:"max_poll_interval" default:"300" range:">0" help:"the longest that one call of a consumer may take"`
	// PartitionAssignmentStrategy lists the assignors offered to the group, the most
	// preferred first: range, roundrobin, sticky, cooperative-sticky. Partitions move
	// one by one only when all listed are cooperative; to get there from an eager
	// strategy deploy twice, first with "cooperative-sticky,range", then with
	// cooperative-sticky alone. Defaults to range,roundrobin.
	PartitionAssignmentStrategy []string `key:"partition_assignment_strategy" default:"range,roundrobin" enum:"range,roundrobin,sticky,cooperative-sticky" help:"how partitions are shared out, the most preferred first"`
	// FetchMessages is the most messages one ProcessBatch call gets. Defaults to 1000.
	FetchMessages int `key:"fetch_messages" default:"1000" range:"1.." help:"most messages in one batch"`
	// FetchMinBytes is how many bytes a broker gathers, for at most MaxWaitTime,
	// before it answers a fetch. It cannot exceed MaxBytes. Defaults to 1 byte.
	FetchMinBytes int `key:"fetch_min_bytes" default:"1" unit:"bytes" range:"1.." help:"bytes a broker waits for before it answers a fetch"`
	// MaxBytes is the most a broker returns for one fetch, over all partitions (a
	// single larger record batch is returned all the same). A worker buffers at most
	// about twice as much. Defaults to 10485760 (10 MiB).
	MaxBytes int `key:"max_bytes" default:"10485760" unit:"bytes" range:"1.." help:"most bytes of one fetch from a broker; bounds a worker's memory"`
	// MaxBatchBytes is how much memory the messages of one record batch may take once they
	// are decompressed: keys, values and headers, 256 bytes a message and 64 a header. A
	// larger one would take the worker down with it: its partition is paused as poisoned
	// instead. Defaults to 67108864 (64 MiB).
	MaxBatchBytes int `key:"max_batch_bytes" default:"67108864" unit:"bytes" range:"65536..100663296" help:"most memory that the messages of one record batch may take"`
	// MaxWaitTime is how long a broker may gather messages before it answers a fetch,
	// and how long a batch may wait to be full. Defaults to 1 s.
	MaxWaitTime time.Duration `key:"max_wait_time" default:"1" range:">0" help:"how long a broker, and a batch, waits for messages"`
	// MinMessageQueueSize is how many messages a worker tries to keep ready per
	// partition, within what MaxBytes allows (librdkafka: queued.min.messages).
	// Defaults to 2000.
	MinMessageQueueSize int `key:"min_message_queue_size" default:"2000" range:"1.." help:"messages to keep ready in a worker"`
	// MultiSubscriptionStrategy is the order in which the topics of a consumer with
	// several subscriptions take turns: exhaust-topic stays with a topic while it has
	// messages, round-robin changes after each turn. Defaults to exhaust-topic.
	MultiSubscriptionStrategy string `key:"multi_subscription_strategy" default:"exhaust-topic" enum:"exhaust-topic,round-robin" help:"order of topics: exhaust-topic or round-robin"`
	// StatisticsInterval is how often a consumer that has OnStatistics is told about
	// its client. 0: never. Defaults to 1 s.
	StatisticsInterval time.Duration `key:"statistics_interval" default:"1" range:"0.." help:"how often OnStatistics is called; 0: never"`
	// Concurrency is how many partitions one worker processes at the same time, each
	// with a consumer instance of its own. A Spec overrides it. Defaults to 1. Not an
	// upstream key.
	Concurrency int `key:"concurrency" default:"1" range:"1.." help:"partitions a worker processes at the same time"`
	// Membership says how long a place in the consumer group lives. run: as long as the
	// supervisor, so that a killed worker is replaced without a rebalance; host: longer,
	// under StaticID, so that a deploy within SessionTimeout rebalances nothing; dynamic:
	// as long as the worker, for brokers without static members (KIP-345). Defaults to run. Not an upstream key.
	Membership Membership `key:"membership" default:"run" enum:"run,host,dynamic" help:"whose the places in the group are: run, host or dynamic"`
	// StaticID makes the instance ids that membership host keeps over a stop. It must
	// differ between the hosts of a group. Empty: the host's name. Not an upstream key.
	StaticID string `key:"static_id" help:"membership host: the id kept; the host's name when empty"`
	// Consumer holds properties under librdkafka's names, as name=value. Those that
	// cannot be honoured are refused; docs/configuration.md lists them. One that says
	// the same as a key must not contradict it. Defaults to none.
	Consumer []string `key:"consumer" props:"consumer" help:"librdkafka properties of the consumer, name=value"`
	// StallTimeout is how long a partition's position may stand still, though there
	// are messages to read and it is not paused, before that is reported. 0: never.
	// Defaults to 60 s. Not an upstream key.
	StallTimeout time.Duration `key:"stall_timeout" default:"60" range:"0.." help:"a partition with lag that stands still so long is reported; 0: never"`

	// Failing messages: what happens when a call of a consumer fails.

	// PauseTimeout is how long a partition pauses after a failed call, before the
	// message is tried again. 0: tried again at once (at most ten times a second);
	// PauseForever (-1): until `racecarctl resume` or a new assignment. Defaults to
	// 10 s.
	PauseTimeout time.Duration `key:"pause_timeout" group:"Failing messages" default:"10" range:"0.." special:"-1" help:"how long a partition pauses after a failure; 0: not, -1: until resumed"`
	// PauseWithExponentialBackoff doubles PauseTimeout with each failure in a row of
	// one partition, up to MaxPauseTimeout. Defaults to false.
	PauseWithExponentialBackoff bool `key:"pause_with_exponential_backoff" default:"false" help:"double the pause with each failure in a row"`
	// MaxPauseTimeout is the longest pause that PauseWithExponentialBackoff comes to;
	// without that it is refused. 0: no limit. Defaults to 0 (upstream nil).
	MaxPauseTimeout time.Duration `key:"max_pause_timeout" range:"0.." help:"longest pause with backoff; 0: no limit"`
	// PauseJitter is the share of a backoff pause that is drawn at random, so that
	// partitions that failed together do not return together. From 0 to 1; it acts
	// only with PauseWithExponentialBackoff. Defaults to 0.1. Not an upstream key.
	PauseJitter float64 `key:"pause_jitter" default:"0.1" range:"0..1" help:"share of a backoff pause that is drawn at random, 0 to 1"`
	// MaxRetries is how often a failed message is tried again before it goes to
	// DeadLetterTopic. 0: for ever, as upstream. Defaults to 0. Not an upstream key.
	MaxRetries int `key:"max_retries" default:"0" range:"0.." help:"retries before a message is dead-lettered; 0: for ever"`
	// DeadLetterTopic is where messages go that failed MaxRetries+1 times or whose
	// error asks for it. Empty: <group_id>.dlq when MaxRetries is above 0 (see
	// DeadLetterTopicFor), else none. Not an upstream key.
	DeadLetterTopic string `key:"dead_letter_topic" help:"where messages end that finally failed; <group_id>.dlq when max_retries > 0"`

	// Producing: how what consumers produce is sent.

	// Producer holds properties under librdkafka's names, as name=value. Those that
	// cannot be honoured are refused; docs/configuration.md lists them. One that says
	// the same as a key must not contradict it. Defaults to none.
	Producer []string `key:"producer" group:"Producing" props:"producer" help:"librdkafka properties of producers, name=value"`
	// Partitioner chooses the partition of a produced message from its key, with
	// librdkafka's hashes: consistent (CRC32), murmur2 (Java's), fnv1a (sarama's); with
	// _random a message without key goes to a random one. Defaults to
	// consistent_random.
	Partitioner string `key:"partitioner" default:"consistent_random" enum:"consistent,consistent_random,murmur2,murmur2_random,fnv1a,fnv1a_random" help:"how the partition of a produced message is chosen"`
	// ProducerCompressionCodec compresses what is produced: none, gzip, snappy, lz4 or
	// (ours) zstd. Empty: none. Defaults to empty.
	ProducerCompressionCodec string `key:"producer_compression_codec" enum:"none,gzip,snappy,lz4,zstd" help:"none, gzip, snappy, lz4 or zstd; empty: none"`
	// MessageTimeout is how long delivering a produced message is tried before it is
	// given up; the message being processed is then tried again. Defaults to 300 s.
	MessageTimeout time.Duration `key:"message_timeout" default:"300" range:">0" help:"how long delivering a produced message is tried"`
	// ProduceInFlight is how many messages of a partition may be processed while their
	// output is not yet acknowledged. 1 is upstream's stop and wait. What lies between
	// is processed again when a delivery finally fails. Defaults to 1000. Not an
	// upstream key.
	ProduceInFlight int `key:"produce_in_flight" default:"1000" range:"1.." help:"messages per partition whose output may be unacknowledged"`
	// TransactionInterval is how long a transaction of a transactional consumer takes
	// in messages before it is committed. Defaults to 0.1 s. Not an upstream key.
	TransactionInterval time.Duration `key:"transaction_interval" default:"0.1" range:">0" help:"transactional: the longest a transaction stays open"`
	// TransactionMessages is how many messages a transaction takes in at most.
	// Defaults to 1000. Not an upstream key.
	TransactionMessages int `key:"transaction_messages" default:"1000" range:"1.." help:"transactional: most messages of a transaction"`

	// Workers: the processes of one consumer.

	// ParallelWorkers is how many worker processes a consumer has; the supervisor
	// comes on top. A Spec overrides it. Defaults to 1. Upstream has it on the consumer
	// class only.
	ParallelWorkers int `key:"parallel_workers" group:"Workers" default:"1" range:"1..1000" help:"worker processes of a consumer"`
	// ShutdownTimeout is how long a stop may take. Five seconds before its end calls
	// are cancelled, at its end what is left is killed. Keep it below what your init
	// system grants (Kubernetes: 30 s). Defaults to 25 s. Not an upstream key.
	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"25" range:">0" help:"how long a stop may take before what is left is killed"`
	// WorkerBootTimeout is how long a worker may take from its start until its consumer
	// is constructed. One that takes longer counts as crashed. Defaults to 60 s. Not an
	// upstream key.
	WorkerBootTimeout time.Duration `key:"worker_boot_timeout" default:"60" range:">0" help:"how long a worker may take until its consumer is constructed"`
	// WorkerTimeout is how long a running worker may say nothing (it speaks once a
	// second) before it is taken for frozen and replaced. Defaults to 15 s. Not an
	// upstream key.
	WorkerTimeout time.Duration `key:"worker_timeout" default:"15" range:"1.." help:"silence after which a worker counts as frozen"`
	// WorkerRestartLimit is how many crashes of one worker slot within a minute are
	// answered with a restart; one more and the consumer is given up. Until the
	// consumer is ready for the first time all crashes count, however slowly they come.
	// 0: the first crash stops everything, as upstream; NeverGiveUp (-1): there is no
	// limit.
	// Defaults to 5. Not an upstream key.
	WorkerRestartLimit int `key:"worker_restart_limit" default:"5" range:"0.." special:"-1" help:"crashes of a worker per minute before giving up; 0: any, -1: never"`
	// WorkerMemoryLimit is the resident size, in bytes or as "512MiB", above which a
	// worker is drained and replaced. The Go runtime is told to keep to 0.8 of it. On
	// Linux an allocation beyond twice as much ends the process, and counts as a death
	// by the message in hand. At least 16 MiB; 0: off. Defaults to 0. Not an upstream key.
	WorkerMemoryLimit int64 `key:"worker_memory_limit" default:"0" unit:"bytes" range:"16777216.." special:"0" help:"resident size at which a worker is replaced; 0: off"`

	// The process: how the supervisor runs.

	// Daemonize runs the supervisor in the background; the command returns once it
	// runs. Defaults to false.
	Daemonize bool `key:"daemonize" group:"The process" default:"false" help:"run in the background"`
	// Pidfile is the file that holds the supervisor's pid and its lock. Empty: with
	// Daemonize "<group_id>.pid" (several consumers: "racecar.pid"), else none.
	// Defaults to empty (upstream names one always and writes it when daemonized).
	Pidfile string `key:"pidfile" help:"file that holds the pid, and its lock"`
	// ControlSocket is the unix socket that racecarctl speaks to. Empty: beside the
	// pidfile, else in XDG_RUNTIME_DIR or /tmp/racecar-UID. Not an upstream key.
	ControlSocket string `key:"control_socket" help:"unix socket for racecarctl"`
	// WithoutRails is accepted from upstream's command lines. There is no Rails to
	// boot: the launcher takes it for "do not build ./consumers". Defaults to false.
	WithoutRails bool `key:"without_rails" default:"false" help:"accepted for upstream's sake: skips building ./consumers"`

	// Logs: where the log goes and how much of it.

	// Logfile is the file the log is appended to; SIGHUP opens it anew. Empty:
	// standard output, as upstream. Defaults to empty.
	Logfile string `key:"logfile" group:"Logs" help:"file for the log; standard output when empty"`
	// LogLevel is the least severity that is logged: debug, info, warn or error; fatal
	// and unknown, which Ruby has above error, mean error. `racecarctl log-level`
	// changes it while running. Defaults to info.
	LogLevel string `key:"log_level" default:"info" enum:"debug,info,warn,error" alias:"fatal=error,unknown=error" help:"debug, info, warn or error"`
	// LogFormat is text or json; auto is text on a terminal, in colour, and JSON
	// elsewhere. Defaults to auto. Not an upstream key.
	LogFormat string `key:"log_format" default:"auto" enum:"auto,text,json" help:"text, json, or auto: text on a terminal, else JSON"`

	// Security: TLS and SASL.

	// SecurityProtocol is how brokers are spoken to: plaintext, ssl, sasl_plaintext or
	// sasl_ssl. Empty: plaintext. Defaults to empty.
	SecurityProtocol string `key:"security_protocol" group:"Security" enum:"plaintext,ssl,sasl_plaintext,sasl_ssl" help:"plaintext, ssl, sasl_plaintext or sasl_ssl"`
	// SSLCALocation is a PEM file, or a directory of them, with the certificates of
	// the authorities that may vouch for a broker. Empty: the system's. Defaults to
	// empty.
	SSLCALocation string `key:"ssl_ca_location" help:"file or directory of CA certificates; the system's when empty"`
	// SSLCRLLocation is a PEM file with revocation lists; a certificate on them, or an
	// expired list, is refused. Defaults to none.
	SSLCRLLocation string `key:"ssl_crl_location" help:"file with the authorities' certificate revocation lists"`
	// SSLKeystoreLocation is a PKCS#12 file with the client's key and certificate, in
	// place of SSLCertificateLocation and SSLKeyLocation. Defaults to none.
	SSLKeystoreLocation string `key:"ssl_keystore_location" help:"PKCS#12 file with our key and certificate"`
	// SSLKeystorePassword opens the keystore. Secret. Defaults to empty.
	SSLKeystorePassword string `key:"ssl_keystore_password" secret:"true" help:"password of the keystore"`
	// SSLCertificateLocation is a PEM file with the client's certificate and its
	// chain; SSLKeyLocation holds its key. Defaults to none.
	SSLCertificateLocation string `key:"ssl_certificate_location" help:"PEM file with our certificate"`
	// SSLKeyLocation is a PEM file with the client's private key. Defaults to none.
	SSLKeyLocation string `key:"ssl_key_location" help:"PEM file with our private key"`
	// SSLKeyPassword opens the private key. Secret. Defaults to empty.
	SSLKeyPassword string `key:"ssl_key_password" secret:"true" help:"password of the private key"`
	// SSLCAPEM, SSLCertificatePEM and SSLKeyPEM hold in themselves, in PEM, what the
	// files of SSLCALocation, SSLCertificateLocation and SSLKeyLocation would: for
	// platforms that hand certificates over in the environment and have no disk to
	// keep them on. SSLKeyPEM is secret. Default to empty. Not upstream keys
	// (librdkafka: ssl.ca.pem, ssl.certificate.pem, ssl.key.pem).
	SSLCAPEM          string `key:"ssl_ca_pem" help:"CA certificates in PEM, in place of ssl_ca_location"`
	SSLCertificatePEM string `key:"ssl_certificate_pem" help:"our certificate in PEM, in place of ssl_certificate_location"`
	SSLKeyPEM         string `key:"ssl_key_pem" secret:"true" help:"our private key in PEM, in place of ssl_key_location"`
	// SSLVerifyHostname checks that a broker's certificate names its host. With false
	// the certificate's chain is still verified (upstream verifies nothing then).
	// Defaults to true.
	SSLVerifyHostname bool `key:"ssl_verify_hostname" default:"true" help:"check that the broker's certificate is for its host"`
	// SASLMechanism is how we prove who we are with a sasl_ protocol: GSSAPI, PLAIN,
	// SCRAM-SHA-256, SCRAM-SHA-512 or (ours) OAUTHBEARER. Empty: GSSAPI, as librdkafka.
	// Defaults to empty.
	SASLMechanism string `key:"sasl_mechanism" enum:"GSSAPI,PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER" help:"GSSAPI, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"`
	// SASLKerberosServiceName is the principal that Kafka runs as, without
	// /hostname@REALM. Empty: kafka, as librdkafka. Defaults to empty.
	SASLKerberosServiceName string `key:"sasl_kerberos_service_name" help:"Kerberos principal Kafka runs as; kafka when empty"`
	// SASLKerberosPrincipal is the client's own principal, with or without @REALM.
	// Defaults to empty.
	SASLKerberosPrincipal string `key:"sasl_kerberos_principal" help:"our Kerberos principal"`
	// SASLKerberosKinitCmd is a command that obtains a ticket; %{config.prop.name} is
	// replaced by librdkafka's property of that name and %{broker.name} by the broker's
	// host. Each value is one word of the shell, in quotes or not, and nothing in it is
	// run. Empty: none is run. Defaults to empty.
	SASLKerberosKinitCmd string `key:"sasl_kerberos_kinit_cmd" help:"command that obtains a ticket; %{…} are replaced"`
	// SASLKerberosKeytab is the keytab to log in with. Empty: the ticket cache.
	// Defaults to empty.
	SASLKerberosKeytab string `key:"sasl_kerberos_keytab" help:"keytab file; the ticket cache when empty"`
	// SASLKerberosMinTimeBeforeRelogin is the least time between two logins, written in
	// milliseconds. 0: a ticket is not renewed before it expires. Defaults to 60000 ms
	// (upstream nil, which is librdkafka's 60000).
	SASLKerberosMinTimeBeforeRelogin time.Duration `key:"sasl_kerberos_min_time_before_relogin" default:"60000" unit:"ms" range:"0.." help:"least time between two logins, in milliseconds"`
	// SASLUsername is the user of PLAIN and SCRAM. Defaults to empty.
	SASLUsername string `key:"sasl_username" help:"user name for PLAIN and SCRAM"`
	// SASLPassword is the password of PLAIN and SCRAM. Secret. Defaults to empty.
	SASLPassword string `key:"sasl_password" secret:"true" help:"password for PLAIN and SCRAM"`
	// SASLOverSSL is accepted from upstream's configurations and does nothing there
	// either: SecurityProtocol decides. Defaults to true.
	SASLOverSSL bool `key:"sasl_over_ssl" default:"true" help:"accepted for upstream's sake: security_protocol decides"`
	// SASLOAuthBearerTokenFile holds the token for OAUTHBEARER; it is read anew for
	// each connection. See also OAuthToken. Defaults to none. Not an upstream key.
	SASLOAuthBearerTokenFile string `key:"sasl_oauthbearer_token_file" help:"file with the token for OAUTHBEARER"`

	// Monitoring: metrics, status page and liveness.

	// DatadogEnabled sends metrics to a Datadog agent, under upstream's names.
	// Defaults to false.
	DatadogEnabled bool `key:"datadog_enabled" group:"Monitoring" default:"false" help:"send metrics to a Datadog agent"`
	// DatadogHost is the agent's host. Empty: 127.0.0.1, as upstream. Defaults to
	// empty.
	DatadogHost string `key:"datadog_host" help:"the agent's host; 127.0.0.1 when empty"`
	// DatadogPort is the agent's port. 0: 8125, as upstream. Defaults to 0.
	DatadogPort int `key:"datadog_port" range:"1..65535" special:"0" help:"the agent's port; 8125 when empty"`
	// DatadogSocketPath is the agent's unix datagram socket; it goes before host and
	// port. Defaults to empty.
	DatadogSocketPath string `key:"datadog_socket_path" help:"the agent's unix socket, in place of host and port"`
	// DatadogNamespace is put before the metrics' names. Empty: racecar, as upstream.
	// Defaults to empty.
	DatadogNamespace string `key:"datadog_namespace" help:"put before the metrics' names; racecar when empty"`
	// DatadogTags are set on all metrics. Defaults to none.
	DatadogTags []string `key:"datadog_tags" help:"tags on all metrics"`
	// StatusAddr is the host:port that status page, /metrics, /healthz and /readyz are
	// served at, or unix:PATH for a socket that this user alone can reach. An address
	// that is not loopback needs StatusToken. Empty: off. Defaults to empty. Not an
	// upstream key.
	StatusAddr string `key:"status_addr" help:"address of status page, /metrics, /healthz; off when empty"`
	// StatusToken is what the status page and /metrics ask for before they show or do
	// anything: at least 16 characters where other hosts can reach StatusAddr. Secret.
	// Defaults to empty. Not an upstream key.
	StatusToken string `key:"status_token" secret:"true" help:"token that the status page and /metrics ask for"`
	// StatusMetricsPublic serves /metrics without StatusToken. Defaults to false. Not an
	// upstream key.
	StatusMetricsPublic bool `key:"status_metrics_public" default:"false" help:"serve /metrics without the status token"`
	// LivenessProbeEnabled touches LivenessProbeFilePath as long as every worker is
	// alive, for `racecarctl liveness_probe`. Defaults to false.
	LivenessProbeEnabled bool `key:"liveness_probe_enabled" default:"false" help:"touch a file as long as every worker is alive"`
	// LivenessProbeFilePath is that file. It is made for its user alone, and neither
	// supervisor nor probe use one that another user has made. Empty: named for the group,
	// in the folder racecar-UID of the directory for temporary files (several consumers:
	// racecar.liveness); a probe that is told no path takes the only file there. Defaults
	// to empty (upstream: racecar-liveness in the directory for temporary files, which
	// every user shares).
	LivenessProbeFilePath string `key:"liveness_probe_file_path" help:"the file that is touched; a folder of the user's own when empty"`
	// LivenessProbeMaxInterval is how old that file may be for the probe to succeed.
	// Defaults to 5 s.
	LivenessProbeMaxInterval time.Duration `key:"liveness_probe_max_interval" default:"5" range:">0" help:"the probe's limit: oldest the file may be"`
	// LivenessProbeSkipConfigFiles makes `racecarctl liveness_probe` read no
	// configuration file, only variables. Defaults to false.
	LivenessProbeSkipConfigFiles bool `key:"liveness_probe_skip_config_files" default:"false" help:"the probe reads variables only, no file"`

	// Functions, set by racecar.Configure only; they never leave the process.

	// OnError is told of every failed call of consumer code and of every
	// delivery that finally failed. It may be called from several goroutines at
	// once. A panic in it is contained and logged.
	OnError func(ctx context.Context, err error, info ErrorInfo) `json:"-"`
	// Logger replaces the log that logfile and log_format describe: a *slog.Logger, a
	// *logrus.Logger or a *logrus.Entry. It gets what log_level lets through.
	Logger any `json:"-"`
	// OAuthToken supplies tokens for sasl_mechanism OAUTHBEARER. It is called
	// for each new connection and may be called concurrently.
	OAuthToken func(ctx context.Context) (OAuthToken, error) `json:"-"`
	// Review looks at each consumer that is to run once all of its configuration is
	// known and returns what to warn of, one line each: for integrations that know
	// what a platform asks for. One that sets it should call the one before.
	Review func(Reviewed) []string `json:"-"`
}

// Reviewed is what a Review function is told of a consumer.
type Reviewed struct {
	Consumer string
	Group    string   // effective
	Topics   []string // subscribed to by name
}

// OAuthToken is a bearer token with its optional SASL extensions.
type OAuthToken struct {
	Token      string
	Extensions map[string]string
}

// ErrorInfo says what an error handed to OnError was about. Fields that do not
// apply are zero; FirstOffset and LastOffset are equal for a single message.
type ErrorInfo struct {
	Consumer    string
	Group       string
	Topic       string
	Partition   int32
	FirstOffset int64
	LastOffset  int64
	Messages    int    // number of messages in the call; 0 when no call failed
	Retries     int    // failed attempts before this one
	Stack       string // of a panic, else empty
	// UnrecoverableDelivery is true when output of the call was finally not
	// delivered (upstream: unrecoverable_delivery_error).
	UnrecoverableDelivery bool
}
