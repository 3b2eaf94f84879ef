package config

import (
	"context"
	"time"
)

// PauseForever as PauseTimeout pauses a failing partition until somebody resumes it
// (`racecarctl resume`) or its assignment changes. Ruby's Racecar writes -1.
const PauseForever = -1 * time.Second

// NeverGiveUp as WorkerRestartLimit restarts a crashing worker without a limit.
const NeverGiveUp = -1

// Membership says how long workers stay members of the consumer group.
type Membership string

const (
	// MembershipRun gives each worker slot an instance id (KIP-345) for one run of the
	// supervisor. A shutdown removes the members.
	MembershipRun Membership = "run"
	// MembershipHost derives the instance ids from StaticID. A shutdown does not remove
	// the members, so that a deployment causes no rebalance.
	MembershipHost Membership = "host"
	// MembershipDynamic uses no instance ids, for brokers without KIP-345.
	MembershipDynamic Membership = "dynamic"
)

// Ordering says which messages a worker processes one after the other.
type Ordering string

const (
	// OrderingPartition processes the messages of a partition one after the other.
	OrderingPartition Ordering = "partition"
	// OrderingKey processes the messages of a partition that have the same key one after
	// the other, in the order of their offsets.
	OrderingKey Ordering = "key"
	// OrderingNone keeps no order.
	OrderingNone Ordering = "none"
)

// Config holds the validated value of every key.
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

	// Brokers are the addresses to which clients first connect, host:port each; the port
	// defaults to 9092. Defaults to localhost:9092.
	Brokers []string `key:"brokers" group:"Kafka" default:"localhost:9092" help:"Kafka's bootstrap brokers, host:port; the port defaults to 9092"`
	// ClientID names this client in the broker's logs, metrics and quotas. The workers'
	// instance ids begin with it. Defaults to racecar.
	ClientID string `key:"client_id" default:"racecar" help:"name of this client in the broker's logs, metrics and quotas"`
	// GroupID is the consumer group. Empty: derived from the consumer's name as in Ruby's
	// Racecar (UserBanConsumer: user-ban-consumer; see GroupIDFor). A variable or flag
	// cannot change a Spec's GroupID, because another group would process the topics again.
	// Defaults to empty.
	GroupID string `key:"group_id" help:"consumer group; by default derived from the consumer's name"`
	// GroupIDPrefix is put before a derived group id, but not before an explicit one.
	// Defaults to empty.
	GroupIDPrefix string `key:"group_id_prefix" help:"prefix of derived group ids"`
	// SocketTimeout is how long to wait for a connection to a broker, or for its answer. It
	// must be longer than MaxWaitTime. Defaults to 30 s (librdkafka: socket.timeout.ms, 60
	// s).
	SocketTimeout time.Duration `key:"socket_timeout" default:"30" range:">0" help:"how long to wait for a broker's answer"`
	// TopicMetadataRefreshInterval is how often workers look for new partitions of the
	// subscribed topics, and for new topics that match a pattern. Workers consume them
	// within about two intervals. Defaults to 60 s (librdkafka:
	// topic.metadata.refresh.interval.ms, 300 s). Not an upstream key.
	TopicMetadataRefreshInterval time.Duration `key:"topic_metadata_refresh_interval" default:"60" range:">0" help:"how often workers look for new partitions and topics"`

	// Consuming: how messages are fetched and positions kept.

	// OffsetCommitInterval is how often workers commit their positions. They also commit at
	// a rebalance, a shutdown and a failure, so the interval bounds only what is repeated
	// after a kill -9. A longer interval costs less, a shorter one repeats fewer messages.
	// Defaults to 10 s.
	OffsetCommitInterval time.Duration `key:"offset_commit_interval" group:"Consuming" default:"10" range:">0" help:"how often workers commit their positions"`
	// SynchronousCommits commits after each message or batch and waits for the answer. This
	// gives the fewest duplicates, and costs a round trip for each call. Defaults to false.
	SynchronousCommits bool `key:"synchronous_commits" default:"false" help:"commit after each message or batch, and wait for the answer"`
	// HeartbeatInterval is how often a worker tells the group's coordinator that it is
	// alive. Workers learn of a rebalance from the answer, so a shorter interval makes joins
	// faster. It must be shorter than SessionTimeout and MaxPollInterval. Defaults to 1 s
	// (Ruby's Racecar: 10 s, with which five workers need 11 to 22 s to join).
	HeartbeatInterval time.Duration `key:"heartbeat_interval" default:"1" range:">0" help:"how often a worker tells the group that it is alive"`
	// SessionTimeout is the silence after which the group gives a worker's partitions to
	// other members. The broker limits it (group.min.session.timeout.ms, by default 6 s, and
	// group.max.session.timeout.ms). Defaults to 30 s.
	SessionTimeout time.Duration `key:"session_timeout" default:"30" range:">0" help:"silence after which a worker loses its partitions"`
	// MaxPollInterval is the maximum duration of one call of Process or ProcessBatch.
	// Racecar cancels a call that takes longer, and replaces the worker if the call does not
	// return. During a rebalance, members have this time to finish their current calls.
	// Defaults to 300 s.
	MaxPollInterval time.Duration `key:"max_poll_interval" default:"300" range:">0" help:"maximum duration of one call of a consumer"`
	// PartitionAssignmentStrategy lists the assignors that a worker offers to the group, in
	// order of preference: range, roundrobin, sticky, cooperative-sticky. If all are
	// cooperative, a rebalance moves single partitions instead of revoking all. To change
	// from an eager strategy, deploy twice: first with "cooperative-sticky,range", then with
	// cooperative-sticky alone. Defaults to range,roundrobin.
	PartitionAssignmentStrategy []string `key:"partition_assignment_strategy" default:"range,roundrobin" enum:"range,roundrobin,sticky,cooperative-sticky" help:"assignors of partitions, in order of preference"`
	// FetchMessages is the maximum number of messages in a ProcessBatch call. Defaults to
	// 1000.
	FetchMessages int `key:"fetch_messages" default:"1000" range:"1.." help:"maximum number of messages in a batch"`
	// FetchMinBytes is how many bytes a broker gathers, for at most MaxWaitTime, before it
	// answers a fetch. It cannot exceed MaxBytes. Defaults to 1 byte.
	FetchMinBytes int `key:"fetch_min_bytes" default:"1" unit:"bytes" range:"1.." help:"bytes that a broker gathers before it answers a fetch"`
	// MaxBytes is the maximum size of a broker's answer to one fetch, over all partitions
	// (the broker returns a single larger record batch nevertheless). A worker buffers at
	// most about twice as much. Defaults to 10485760 (10 MiB).
	MaxBytes int `key:"max_bytes" default:"10485760" unit:"bytes" range:"1.." help:"maximum bytes of one fetch from a broker; bounds a worker's memory"`
	// MaxBatchBytes is the maximum memory for the messages of one decompressed record batch:
	// keys, values and headers, plus 256 bytes per message and 64 per header. A larger batch
	// would use up the worker's memory, so Racecar pauses its partition as poisoned.
	// Defaults to 67108864 (64 MiB).
	MaxBatchBytes int `key:"max_batch_bytes" default:"67108864" unit:"bytes" range:"65536..100663296" help:"maximum memory for the messages of one record batch"`
	// MaxWaitTime is how long a broker may gather messages before it answers a fetch, and
	// how long a batch may wait for more messages. Defaults to 1 s.
	MaxWaitTime time.Duration `key:"max_wait_time" default:"1" range:">0" help:"how long a broker, or a batch, waits for messages"`
	// MinMessageQueueSize is the number of messages per partition that a worker tries to
	// keep ready, within the limit of MaxBytes (librdkafka: queued.min.messages). Defaults
	// to 2000.
	MinMessageQueueSize int `key:"min_message_queue_size" default:"2000" range:"1.." help:"messages that a worker tries to keep ready"`
	// MultiSubscriptionStrategy is the order in which a consumer with several subscriptions
	// processes its topics: exhaust-topic stays with a topic while it has messages,
	// round-robin changes the topic after each turn. Defaults to exhaust-topic.
	MultiSubscriptionStrategy string `key:"multi_subscription_strategy" default:"exhaust-topic" enum:"exhaust-topic,round-robin" help:"order of topics: exhaust-topic or round-robin"`
	// StatisticsInterval is how often Racecar calls a consumer's OnStatistics. 0: never.
	// Defaults to 1 s.
	StatisticsInterval time.Duration `key:"statistics_interval" default:"1" range:"0.." help:"how often OnStatistics is called; 0: never"`
	// Concurrency is how many partitions one worker processes at the same time, each with a
	// separate consumer instance. With Ordering key or none it is how many calls one worker
	// makes at the same time, on whatever partitions. A Spec overrides the file. Defaults to
	// 1. Not an upstream key.
	Concurrency int `key:"concurrency" default:"1" range:"1.." help:"partitions (ordering key or none: calls) that a worker runs at once"`
	// Ordering says which messages a worker processes one after the other: partition: all of
	// a partition; key: those of a partition with the same key; none: none. With key and
	// none, Concurrency applies within a partition as well. A transactional consumer
	// accepts partition alone. A section for one consumer, a variable or a flag cannot change
	// the order that a Spec names, because the consumer relies on it. Defaults to partition.
	// Not an upstream key.
	Ordering Ordering `key:"ordering" default:"partition" enum:"partition,key,none" help:"messages stay in order by partition, by key, or not at all (none)"`
	// Membership says how long workers stay members of the group. run: as long as the
	// supervisor runs, so that a replaced worker causes no rebalance; host: longer, under
	// StaticID, so that a deployment within SessionTimeout causes no rebalance; dynamic: as
	// long as the worker, for brokers without static members (KIP-345). Defaults to run. Not
	// an upstream key.
	Membership Membership `key:"membership" default:"run" enum:"run,host,dynamic" help:"how long members stay in the group: run, host or dynamic"`
	// StaticID is the basis of the instance ids with membership host. It must differ between
	// the hosts of a group. Empty: the host's name. Not an upstream key.
	StaticID string `key:"static_id" help:"membership host: basis of the instance ids; by default the host's name"`
	// Consumer contains properties with librdkafka's names, as name=value. Racecar refuses
	// properties that it cannot support; docs/configuration.md lists them. A property that
	// corresponds to a key must not contradict it. Defaults to none.
	Consumer []string `key:"consumer" props:"consumer" help:"librdkafka properties of the consumer, name=value"`
	// StallTimeout is how long a partition with lag may make no progress, unless it is
	// paused, before Racecar reports it as stalled. 0: never. Defaults to 60 s. Not an
	// upstream key.
	StallTimeout time.Duration `key:"stall_timeout" default:"60" range:"0.." help:"report a partition with lag after this time without progress; 0: never"`

	// Failing messages: what happens when a call of a consumer fails.

	// PauseTimeout is how long a partition pauses after a failed call before Racecar retries
	// the message. 0: retry at once (at most ten times a second); PauseForever (-1): wait
	// for `racecarctl resume` or a new assignment. Defaults to 10 s.
	PauseTimeout time.Duration `key:"pause_timeout" group:"Failing messages" default:"10" range:"0.." special:"-1" help:"how long a partition pauses after a failure; 0: not, -1: until resumed"`
	// PauseWithExponentialBackoff doubles PauseTimeout with each consecutive failure of one
	// message, up to MaxPauseTimeout. Defaults to false.
	PauseWithExponentialBackoff bool `key:"pause_with_exponential_backoff" default:"false" help:"double the pause with each consecutive failure"`
	// MaxPauseTimeout is the longest pause with PauseWithExponentialBackoff, and refused
	// without it. 0: no limit. Defaults to 0 (Ruby's Racecar: nil).
	MaxPauseTimeout time.Duration `key:"max_pause_timeout" range:"0.." help:"longest pause with backoff; 0: no limit"`
	// PauseJitter is the random share of a backoff pause, from 0 to 1, so that partitions
	// that failed together do not all return at once. It has an effect only with
	// PauseWithExponentialBackoff. Defaults to 0.1. Not an upstream key.
	PauseJitter float64 `key:"pause_jitter" default:"0.1" range:"0..1" help:"random share of a backoff pause, 0 to 1"`
	// MaxRetries is how often Racecar retries a failed message before it moves the message
	// to DeadLetterTopic. 0: forever, as in Ruby's Racecar. Defaults to 0. Not an upstream
	// key.
	MaxRetries int `key:"max_retries" default:"0" range:"0.." help:"retries before a message is dead-lettered; 0: forever"`
	// DeadLetterTopic is the topic for messages that failed MaxRetries+1 times, or for which
	// the consumer returned DeadLetter. Empty: <group_id>.dlq if MaxRetries is above 0 (see
	// DeadLetterTopicFor), otherwise none. Not an upstream key.
	DeadLetterTopic string `key:"dead_letter_topic" help:"topic for messages that failed permanently; <group_id>.dlq if max_retries > 0"`
	// DeadLetterLimit is how many messages a minute a worker may dead-letter because their
	// retries are used up while none of its calls succeeds. Above it Racecar suspects an
	// outage: it holds the partition of the next such message for up to DeadLetterHold. 0:
	// off. Defaults to 0. Not an upstream key.
	DeadLetterLimit int `key:"dead_letter_limit" default:"0" range:"0.." help:"dead letters a minute without a success that hold a partition; 0: off"`
	// DeadLetterHold is the longest time for which DeadLetterLimit holds a partition; then
	// its message is dead-lettered. Defaults to 15 minutes. Not an upstream key.
	DeadLetterHold time.Duration `key:"dead_letter_hold" default:"900" range:">0" help:"how long dead_letter_limit holds a partition"`
	// OutageScope says what Racecar holds while a dependency is unavailable
	// (racecar.Unavailable). reporter: only what reported it, which is a partition, a key or
	// a message, as the consumer's ordering says. consumer: all partitions of the consumer;
	// not with Ordering key or none. Defaults to reporter. Not an upstream key.
	OutageScope string `key:"outage_scope" default:"reporter" enum:"reporter,consumer" help:"what an outage holds: what reported it, or the whole consumer"`
	// OutageMaxPause is the longest pause between two probes of an unavailable dependency.
	// The first pause is 1 s; each probe that finds it unavailable doubles it. Defaults to
	// 30 s. Not an upstream key.
	OutageMaxPause time.Duration `key:"outage_max_pause" default:"30" range:">0" help:"longest pause between probes of an unavailable dependency"`
	// OutageNotReady makes /readyz fail during an outage. A rolling deployment then waits
	// for the end of the outage. Not with Ordering key or none. Defaults to false. Not an
	// upstream key.
	OutageNotReady bool `key:"outage_not_ready" default:"false" help:"/readyz fails during an outage"`

	// Producing: how what consumers produce is sent.

	// Producer contains properties with librdkafka's names, as name=value. Racecar refuses
	// properties that it cannot support; docs/configuration.md lists them. A property that
	// corresponds to a key must not contradict it. Defaults to none.
	Producer []string `key:"producer" group:"Producing" props:"producer" help:"librdkafka properties of producers, name=value"`
	// Partitioner selects the partition of a produced message by its key, with librdkafka's
	// hashes: consistent (CRC32), murmur2 (Java's), fnv1a (sarama's). With _random, a
	// message without a key goes to a random partition. Defaults to consistent_random.
	Partitioner string `key:"partitioner" default:"consistent_random" enum:"consistent,consistent_random,murmur2,murmur2_random,fnv1a,fnv1a_random" help:"how the partition of a produced message is selected"`
	// ProducerCompressionCodec compresses produced messages: none, gzip, snappy, lz4 or (not
	// in Ruby's Racecar) zstd. Empty: none. Defaults to empty.
	ProducerCompressionCodec string `key:"producer_compression_codec" enum:"none,gzip,snappy,lz4,zstd" help:"none, gzip, snappy, lz4 or zstd; empty: none"`
	// MessageTimeout is how long Racecar tries to deliver a produced message. If it fails,
	// the consumed message is processed again. Defaults to 300 s.
	MessageTimeout time.Duration `key:"message_timeout" default:"300" range:">0" help:"how long Racecar tries to deliver a produced message"`
	// ProduceInFlight is how many messages of a partition may be processed while their
	// output is not yet acknowledged. 1 waits after each message, like Ruby's Racecar. If a
	// delivery fails, the messages since then are processed again. Defaults to 1000. Not an
	// upstream key.
	ProduceInFlight int `key:"produce_in_flight" default:"1000" range:"1.." help:"messages per partition with unacknowledged output"`
	// TransactionInterval is how long a transaction of a transactional consumer accepts
	// messages before Racecar commits it. Defaults to 0.1 s. Not an upstream key.
	TransactionInterval time.Duration `key:"transaction_interval" default:"0.1" range:">0" help:"transactional: maximum age of a transaction"`
	// TransactionMessages is the maximum number of messages in a transaction. Defaults to
	// 1000. Not an upstream key.
	TransactionMessages int `key:"transaction_messages" default:"1000" range:"1.." help:"transactional: maximum number of messages in a transaction"`

	// Workers: the processes of one consumer.

	// ParallelWorkers is the number of worker processes of a consumer, in addition to the
	// supervisor. A Spec overrides the file. Defaults to 1. In Ruby's Racecar only the consumer
	// class can set it.
	ParallelWorkers int `key:"parallel_workers" group:"Workers" default:"1" range:"1..1000" help:"worker processes of a consumer"`
	// ShutdownTimeout is how long a shutdown may take. Five seconds before the end, Racecar
	// cancels calls; at the end it kills the remaining processes. Keep it shorter than the
	// time that your init system allows (Kubernetes: 30 s). Defaults to 25 s. Not an
	// upstream key.
	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"25" range:">0" help:"how long a shutdown may take before remaining processes are killed"`
	// WorkerBootTimeout is how long a worker may take from its start until it has
	// constructed its consumer. A worker that takes longer counts as crashed. Defaults to 60
	// s. Not an upstream key.
	WorkerBootTimeout time.Duration `key:"worker_boot_timeout" default:"60" range:">0" help:"how long a worker may take to construct its consumer"`
	// WorkerTimeout is how long a running worker may be silent (it reports once a second)
	// before Racecar considers it frozen and replaces it. Defaults to 15 s. Not an upstream
	// key.
	WorkerTimeout time.Duration `key:"worker_timeout" default:"15" range:"1.." help:"silence after which a worker counts as frozen"`
	// WorkerRestartLimit is how many crashes of one worker within a minute lead to a
	// restart. After one more, the consumer stops permanently. Before the consumer has first
	// started, all crashes count. 0: the first crash stops everything, as in Ruby's Racecar;
	// NeverGiveUp (-1): no limit. Defaults to 5. Not an upstream key.
	WorkerRestartLimit int `key:"worker_restart_limit" default:"5" range:"0.." special:"-1" help:"crashes of a worker per minute before its consumer stops; 0: any, -1: no limit"`
	// WorkerMemoryLimit is the resident memory, in bytes or as "512MiB", above which Racecar
	// drains and replaces a worker. The Go runtime tries to stay below 0.8 of it. On Linux
	// an allocation beyond twice the limit ends the process, and counts as a death caused by
	// the current message. At least 16 MiB; 0: off. Defaults to 0. Not an upstream key.
	WorkerMemoryLimit int64 `key:"worker_memory_limit" default:"0" unit:"bytes" range:"16777216.." special:"0" help:"resident memory at which a worker is replaced; 0: off"`

	// The process: how the supervisor runs.

	// Daemonize runs the supervisor in the background. The command returns when the workers
	// have started. Defaults to false.
	Daemonize bool `key:"daemonize" group:"The process" default:"false" help:"run in the background"`
	// Pidfile is the locked file with the supervisor's pid. Empty: with Daemonize
	// "<group_id>.pid" (several consumers: "racecar.pid"), otherwise none. Defaults to empty
	// (Ruby's Racecar always names one, and writes it with --daemonize).
	Pidfile string `key:"pidfile" help:"locked file with the supervisor's pid"`
	// ControlSocket is the unix socket for racecarctl. Empty: next to the pidfile, otherwise
	// in XDG_RUNTIME_DIR or /tmp/racecar-UID. Not an upstream key.
	ControlSocket string `key:"control_socket" help:"unix socket for racecarctl"`
	// WithoutRails is accepted from command lines for Ruby's Racecar. With it, the
	// launcher does not build ./consumers. Defaults to false.
	WithoutRails bool `key:"without_rails" default:"false" help:"accepted for compatibility with Ruby: do not build ./consumers"`

	// Logs: where the log goes and how much of it.

	// Logfile is the file to which Racecar appends its log, and which it reopens on SIGHUP.
	// Empty: standard output, as in Ruby's Racecar. Defaults to empty.
	Logfile string `key:"logfile" group:"Logs" help:"file for the log; by default standard output"`
	// LogLevel is the lowest severity that is logged: debug, info, warn or error; Ruby's
	// fatal and unknown mean error. `racecarctl log-level` changes it at run time. Defaults
	// to info.
	LogLevel string `key:"log_level" default:"info" enum:"debug,info,warn,error" alias:"fatal=error,unknown=error" help:"debug, info, warn or error"`
	// LogFormat is one of text, json, auto: colored text on a terminal, otherwise JSON. Defaults
	// to auto. Not an upstream key.
	LogFormat string `key:"log_format" default:"auto" enum:"auto,text,json" help:"text, json, or auto: text on a terminal, otherwise JSON"`

	// Security: TLS and SASL.

	// SecurityProtocol is the protocol for connections to brokers: plaintext, ssl,
	// sasl_plaintext or sasl_ssl. Empty: plaintext. Defaults to empty.
	SecurityProtocol string `key:"security_protocol" group:"Security" enum:"plaintext,ssl,sasl_plaintext,sasl_ssl" help:"plaintext, ssl, sasl_plaintext or sasl_ssl"`
	// SSLCALocation is a PEM file, or a directory of PEM files, with the certificates of the
	// authorities that may sign a broker's certificate. Empty: the system's. Defaults to
	// empty.
	SSLCALocation string `key:"ssl_ca_location" help:"file or directory of CA certificates; by default the system's"`
	// SSLCRLLocation is a PEM file with certificate revocation lists. Racecar refuses
	// certificates on them, and expired lists. Defaults to none.
	SSLCRLLocation string `key:"ssl_crl_location" help:"file with the authorities' certificate revocation lists"`
	// SSLKeystoreLocation is a PKCS#12 file with the client's key and certificate, instead
	// of SSLCertificateLocation and SSLKeyLocation. Defaults to none.
	SSLKeystoreLocation string `key:"ssl_keystore_location" help:"PKCS#12 file with the client's key and certificate"`
	// SSLKeystorePassword is the password of the keystore. Secret. Defaults to empty.
	SSLKeystorePassword string `key:"ssl_keystore_password" secret:"true" help:"password of the keystore"`
	// SSLCertificateLocation is a PEM file with the client's certificate and its chain;
	// SSLKeyLocation contains its key. Defaults to none.
	SSLCertificateLocation string `key:"ssl_certificate_location" help:"PEM file with the client's certificate"`
	// SSLKeyLocation is a PEM file with the client's private key. Defaults to none.
	SSLKeyLocation string `key:"ssl_key_location" help:"PEM file with the client's private key"`
	// SSLKeyPassword is the password of the private key. Secret. Defaults to empty.
	SSLKeyPassword string `key:"ssl_key_password" secret:"true" help:"password of the private key"`
	// SSLCAPEM, SSLCertificatePEM and SSLKeyPEM contain certificates and key as PEM text,
	// instead of the files of SSLCALocation, SSLCertificateLocation and SSLKeyLocation, for
	// platforms that pass certificates in the environment. SSLKeyPEM is secret. They default to
	// empty (librdkafka: ssl.ca.pem, ssl.certificate.pem, ssl.key.pem). Not an upstream key.
	SSLCAPEM          string `key:"ssl_ca_pem" help:"CA certificates as PEM, instead of ssl_ca_location"`
	SSLCertificatePEM string `key:"ssl_certificate_pem" help:"the client's certificate as PEM, instead of ssl_certificate_location"`
	SSLKeyPEM         string `key:"ssl_key_pem" secret:"true" help:"the client's private key as PEM, instead of ssl_key_location"`
	// SSLVerifyHostname checks that a broker's certificate names its host. With false,
	// Racecar still verifies the certificate's chain (Ruby's Racecar then verifies nothing).
	// Defaults to true.
	SSLVerifyHostname bool `key:"ssl_verify_hostname" default:"true" help:"check that the broker's certificate names its host"`
	// SASLMechanism is the mechanism of a sasl_ protocol: GSSAPI, PLAIN, SCRAM-SHA-256,
	// SCRAM-SHA-512 or (not in Ruby's Racecar) OAUTHBEARER. Empty: GSSAPI, as in librdkafka.
	// Defaults to empty.
	SASLMechanism string `key:"sasl_mechanism" enum:"GSSAPI,PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER" help:"GSSAPI, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"`
	// SASLKerberosServiceName is the Kerberos principal of the brokers, without
	// /hostname@REALM. Empty: kafka, as in librdkafka. Defaults to empty.
	SASLKerberosServiceName string `key:"sasl_kerberos_service_name" help:"Kerberos principal of the brokers; by default kafka"`
	// SASLKerberosPrincipal is the client's Kerberos principal, with or without @REALM.
	// Defaults to empty.
	SASLKerberosPrincipal string `key:"sasl_kerberos_principal" help:"Kerberos principal of the client"`
	// SASLKerberosKinitCmd is a command that obtains a ticket. Racecar replaces
	// %{config.prop.name} by librdkafka's property of that name and %{broker.name} by the
	// broker's host. Each value is one word of the shell, in quotes or not, and the shell
	// executes nothing in it. Empty: no command. Defaults to empty.
	SASLKerberosKinitCmd string `key:"sasl_kerberos_kinit_cmd" help:"command that obtains a ticket; replaces %{…}"`
	// SASLKerberosKeytab is the keytab for the login. Empty: the ticket cache. Defaults to
	// empty.
	SASLKerberosKeytab string `key:"sasl_kerberos_keytab" help:"keytab file; by default the ticket cache"`
	// SASLKerberosMinTimeBeforeRelogin is the minimum time between two logins, in
	// milliseconds. 0: a ticket is not renewed before it expires. Defaults to 60000 ms
	// (Ruby's Racecar: nil, which means librdkafka's 60000).
	SASLKerberosMinTimeBeforeRelogin time.Duration `key:"sasl_kerberos_min_time_before_relogin" default:"60000" unit:"ms" range:"0.." help:"minimum time between two logins, in milliseconds"`
	// SASLUsername is the user name for PLAIN and SCRAM. Defaults to empty.
	SASLUsername string `key:"sasl_username" help:"user name for PLAIN and SCRAM"`
	// SASLPassword is the password for PLAIN and SCRAM. Secret. Defaults to empty.
	SASLPassword string `key:"sasl_password" secret:"true" help:"password for PLAIN and SCRAM"`
	// SASLOverSSL is accepted from configurations for Ruby's Racecar. As there, it has no
	// effect: SecurityProtocol decides. Defaults to true.
	SASLOverSSL bool `key:"sasl_over_ssl" default:"true" help:"accepted for compatibility with Ruby: security_protocol decides"`
	// SASLOAuthBearerTokenFile is the file with the token for OAUTHBEARER. Racecar reads it for
	// each connection. See also OAuthToken. Defaults to none. Not an upstream key.
	SASLOAuthBearerTokenFile string `key:"sasl_oauthbearer_token_file" help:"file with the token for OAUTHBEARER"`

	// Monitoring: metrics, status page and liveness.

	// DatadogEnabled sends metrics to a Datadog agent, with the names of Ruby's Racecar.
	// Defaults to false.
	DatadogEnabled bool `key:"datadog_enabled" group:"Monitoring" default:"false" help:"send metrics to a Datadog agent"`
	// DatadogHost is the agent's host. Empty: 127.0.0.1. Defaults to empty.
	DatadogHost string `key:"datadog_host" help:"the agent's host; by default 127.0.0.1"`
	// DatadogPort is the agent's port. 0: 8125. Defaults to 0.
	DatadogPort int `key:"datadog_port" range:"1..65535" special:"0" help:"the agent's port; by default 8125"`
	// DatadogSocketPath is the agent's unix datagram socket. It overrides host and port.
	// Defaults to empty.
	DatadogSocketPath string `key:"datadog_socket_path" help:"the agent's unix socket, instead of host and port"`
	// DatadogNamespace is the prefix of the metrics' names. Empty: racecar. Defaults to
	// empty.
	DatadogNamespace string `key:"datadog_namespace" help:"prefix of the metrics' names; by default racecar"`
	// DatadogTags are added to all metrics. Defaults to none.
	DatadogTags []string `key:"datadog_tags" help:"tags for all metrics"`
	// StatusAddr is the host:port of the status page, /metrics, /healthz and /readyz, or
	// unix:PATH for a socket that only this user can open. An address that is not loopback
	// requires StatusToken. Empty: off. Defaults to empty. Not an upstream key.
	StatusAddr string `key:"status_addr" help:"address of the status page, /metrics and /healthz; empty: off"`
	// StatusToken is the token that the status page and /metrics require: at least 16
	// characters if other hosts can reach StatusAddr. With a token, the page can also
	// control workers. Secret. Defaults to empty. Not an upstream key.
	StatusToken string `key:"status_token" secret:"true" help:"token that the status page and /metrics require"`
	// StatusMetricsPublic serves /metrics without StatusToken. Defaults to false. Not an
	// upstream key.
	StatusMetricsPublic bool `key:"status_metrics_public" default:"false" help:"serve /metrics without the status token"`
	// LivenessProbeEnabled touches LivenessProbeFilePath while every worker is live, for
	// `racecarctl liveness_probe`. Defaults to false.
	LivenessProbeEnabled bool `key:"liveness_probe_enabled" default:"false" help:"touch a file while every worker is live"`
	// LivenessProbeFilePath is the file that LivenessProbeEnabled touches. Only this user can
	// write it, and neither supervisor nor probe uses a file of another user. Empty: a file named after the group
	// in the folder racecar-UID of the directory for temporary files (several consumers:
	// racecar.liveness); a probe without a path uses the only file there. Defaults to empty
	// (Ruby's Racecar: racecar-liveness in the directory for temporary files, which all
	// users share).
	LivenessProbeFilePath string `key:"liveness_probe_file_path" help:"the file to touch; by default in a folder of the user"`
	// LivenessProbeMaxInterval is the maximum age of the liveness file for the probe to succeed.
	// Defaults to 5 s.
	LivenessProbeMaxInterval time.Duration `key:"liveness_probe_max_interval" default:"5" range:">0" help:"maximum age of the file for the probe to succeed"`
	// LivenessProbeSkipConfigFiles makes `racecarctl liveness_probe` read only variables and
	// no configuration file. Defaults to false.
	LivenessProbeSkipConfigFiles bool `key:"liveness_probe_skip_config_files" default:"false" help:"the probe reads only variables, no file"`

	// Functions, set by racecar.Configure only; they never leave the process.

	// OnError receives every failed call of consumer code and every failed delivery.
	// Several goroutines may call it at once. Racecar recovers from a panic in it and
	// logs it.
	OnError func(ctx context.Context, err error, info ErrorInfo) `json:"-"`
	// Logger replaces the log that logfile and log_format describe: a *slog.Logger, a
	// *logrus.Logger or a *logrus.Entry. It receives the lines that log_level allows.
	Logger any `json:"-"`
	// OAuthToken returns tokens for sasl_mechanism OAUTHBEARER. Racecar calls it for each
	// new connection, possibly concurrently.
	OAuthToken func(ctx context.Context) (OAuthToken, error) `json:"-"`
	// Review checks each consumer's complete configuration before it runs, and returns
	// warnings of one line each. It is meant for integrations that know a platform's
	// requirements. A function that sets it should call the previous Review.
	Review func(Reviewed) []string `json:"-"`
}

// Reviewed describes a consumer to a Review function.
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

// Header is one header of a record. A record may have several with the same key.
type Header struct {
	Key   string
	Value []byte // may be nil
}

// ErrorInfo describes the origin of an error passed to OnError. Fields that do not
// apply are zero; FirstOffset and LastOffset are equal for a single message.
type ErrorInfo struct {
	Consumer  string
	Group     string
	Topic     string
	Partition int32
	// Offset, Key, Headers and Attempt are those of the message that failed, of several
	// those of the first. Key and Headers are nil as well where the message is not in hand:
	// if it is output of a call that could not be delivered after the call had returned.
	Offset  int64
	Key     []byte
	Headers []Header
	Attempt int // from 1; 0 when no call failed
	// FirstOffset and LastOffset are those of all messages that the error is about.
	FirstOffset int64
	LastOffset  int64
	Messages    int    // number of these; 0 when no call failed
	Retries     int    // failed attempts before this one
	Stack       string // of a panic, else empty
	// UnrecoverableDelivery is true if output of the call could not be delivered (Ruby:
	// unrecoverable_delivery_error).
	UnrecoverableDelivery bool
}
