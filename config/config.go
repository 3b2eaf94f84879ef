// Package config is the single source of truth about what can be configured:
// the keys of the original under their names, defaults and units, and ours.
// Flags, environment variables, the YAML file, `--help`, `racecar config` and
// docs/configuration.md all derive from the one struct in this file.
//
// A Config is plain data but for the function-typed fields at its end. It is
// built by Load in the supervisor, travels to the workers through the
// handshake (functions do not travel: each worker runs the Configure functions
// itself), and is not changed afterwards. It is safe for concurrent reading.
package config

import (
	"context"
	"log/slog"
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

// Config holds the value of every key. Durations are written as seconds
// ("10", "0.5") or Go durations ("1m30s") in files, variables and flags.
//
// The struct tags are the key's record: `key` its name (flag: `_` becomes `-`;
// variable: RACECAR_ and upper case), `group` its theme in --help, `default`
// its default as a user would write it, `help` one line for --help.
type Config struct {
	// Kafka: where and as whom.
	Brokers       []string `key:"brokers"`         // host:port; port 9092 when left out
	ClientID      string   `key:"client_id"`       //
	GroupID       string   `key:"group_id"`        // empty: derived from the consumer's name, see GroupIDFor
	GroupIDPrefix string   `key:"group_id_prefix"` //

	// Consuming.
	OffsetCommitInterval         time.Duration `key:"offset_commit_interval"`
	SynchronousCommits           bool          `key:"synchronous_commits"` // commit after every message or batch
	HeartbeatInterval            time.Duration `key:"heartbeat_interval"`
	SessionTimeout               time.Duration `key:"session_timeout"`
	MaxPollInterval              time.Duration `key:"max_poll_interval"`
	PartitionAssignmentStrategy  []string      `key:"partition_assignment_strategy"` // range, roundrobin, sticky, cooperative-sticky
	FetchMessages                int           `key:"fetch_messages"`
	FetchMinBytes                int           `key:"fetch_min_bytes"`
	MaxBytes                     int           `key:"max_bytes"`
	MaxWaitTime                  time.Duration `key:"max_wait_time"`
	MinMessageQueueSize          int           `key:"min_message_queue_size"`
	SocketTimeout                time.Duration `key:"socket_timeout"`
	MultiSubscriptionStrategy    string        `key:"multi_subscription_strategy"` // exhaust-topic or round-robin
	StatisticsInterval           time.Duration `key:"statistics_interval"`         // 0: off
	TopicMetadataRefreshInterval time.Duration `key:"topic_metadata_refresh_interval"`
	Concurrency                  int           `key:"concurrency"` // partitions of one worker processed at once
	Membership                   Membership    `key:"membership"`
	StaticID                     string        `key:"static_id"` // empty: the host's name
	Consumer                     []string      `key:"consumer"`  // name=value, librdkafka's names
	StallTimeout                 time.Duration `key:"stall_timeout"`

	// Failing messages.
	PauseTimeout                time.Duration `key:"pause_timeout"` // 0: retried at once (at most ten times a second); PauseForever
	PauseWithExponentialBackoff bool          `key:"pause_with_exponential_backoff"`
	MaxPauseTimeout             time.Duration `key:"max_pause_timeout"` // 0: no upper limit
	PauseJitter                 float64       `key:"pause_jitter"`      // share of a backoff pause drawn at random
	MaxRetries                  int           `key:"max_retries"`       // 0: for ever
	DeadLetterTopic             string        `key:"dead_letter_topic"` // empty: <group_id>.dlq when MaxRetries > 0

	// Producing.
	Producer                 []string      `key:"producer"` // name=value, librdkafka's names
	Partitioner              string        `key:"partitioner"`
	ProducerCompressionCodec string        `key:"producer_compression_codec"` // empty: none
	MessageTimeout           time.Duration `key:"message_timeout"`
	ProduceInFlight          int           `key:"produce_in_flight"` // messages per partition whose output may be unacknowledged; 1 = stop and wait
	TransactionInterval      time.Duration `key:"transaction_interval"`
	TransactionMessages      int           `key:"transaction_messages"`

	// Workers.
	ParallelWorkers    int           `key:"parallel_workers"`
	ShutdownTimeout    time.Duration `key:"shutdown_timeout"`
	WorkerBootTimeout  time.Duration `key:"worker_boot_timeout"`
	WorkerTimeout      time.Duration `key:"worker_timeout"`
	WorkerRestartLimit int           `key:"worker_restart_limit"` // crashes of one slot a minute; 0: none, NeverGiveUp
	WorkerMemoryLimit  int64         `key:"worker_memory_limit"`  // bytes ("512MiB"); 0: off

	// The process.
	Daemonize     bool   `key:"daemonize"`
	Pidfile       string `key:"pidfile"` // empty: <group_id>.pid with Daemonize, else none
	ControlSocket string `key:"control_socket"`
	WithoutRails  bool   `key:"without_rails"`

	// Logs.
	Logfile   string `key:"logfile"`    // empty: stdout
	LogLevel  string `key:"log_level"`  // debug, info, warn, error
	LogFormat string `key:"log_format"` // auto, text, json

	// Security.
	SecurityProtocol                 string        `key:"security_protocol"` // plaintext, ssl, sasl_plaintext, sasl_ssl; empty: plaintext
	SSLCALocation                    string        `key:"ssl_ca_location"`
	SSLCRLLocation                   string        `key:"ssl_crl_location"`
	SSLKeystoreLocation              string        `key:"ssl_keystore_location"`
	SSLKeystorePassword              string        `key:"ssl_keystore_password"`
	SSLCertificateLocation           string        `key:"ssl_certificate_location"`
	SSLKeyLocation                   string        `key:"ssl_key_location"`
	SSLKeyPassword                   string        `key:"ssl_key_password"`
	SSLVerifyHostname                bool          `key:"ssl_verify_hostname"`
	SASLMechanism                    string        `key:"sasl_mechanism"` // GSSAPI, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER
	SASLKerberosServiceName          string        `key:"sasl_kerberos_service_name"`
	SASLKerberosPrincipal            string        `key:"sasl_kerberos_principal"`
	SASLKerberosKinitCmd             string        `key:"sasl_kerberos_kinit_cmd"`
	SASLKerberosKeytab               string        `key:"sasl_kerberos_keytab"`
	SASLKerberosMinTimeBeforeRelogin time.Duration `key:"sasl_kerberos_min_time_before_relogin"` // upstream: milliseconds
	SASLUsername                     string        `key:"sasl_username"`
	SASLPassword                     string        `key:"sasl_password"`
	SASLOverSSL                      bool          `key:"sasl_over_ssl"`
	SASLOAuthBearerTokenFile         string        `key:"sasl_oauthbearer_token_file"` // read anew for each connection

	// Seeing it.
	DatadogEnabled               bool          `key:"datadog_enabled"`
	DatadogHost                  string        `key:"datadog_host"`
	DatadogPort                  int           `key:"datadog_port"`
	DatadogSocketPath            string        `key:"datadog_socket_path"`
	DatadogNamespace             string        `key:"datadog_namespace"`
	DatadogTags                  []string      `key:"datadog_tags"`
	StatusAddr                   string        `key:"status_addr"`  // empty: off
	StatusToken                  string        `key:"status_token"` // secret
	LivenessProbeEnabled         bool          `key:"liveness_probe_enabled"`
	LivenessProbeFilePath        string        `key:"liveness_probe_file_path"`
	LivenessProbeMaxInterval     time.Duration `key:"liveness_probe_max_interval"`
	LivenessProbeSkipConfigFiles bool          `key:"liveness_probe_skip_config_files"`

	// Functions, set by racecar.Configure only; they never leave the process.

	// OnError is told of every failed call of consumer code and of every
	// delivery that finally failed. It may be called from several goroutines at
	// once. A panic in it is contained and logged.
	OnError func(ctx context.Context, err error, info ErrorInfo) `json:"-"`
	// Logger replaces the log that logfile, log_level and log_format describe.
	Logger *slog.Logger `json:"-"`
	// OAuthToken supplies tokens for sasl_mechanism OAUTHBEARER. It is called
	// for each new connection and may be called concurrently.
	OAuthToken func(ctx context.Context) (OAuthToken, error) `json:"-"`
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
