package config

// effect says where a key acts, and which tests see it do so.
type effect struct {
	does  string
	tests []string // directory.TestName
}

// keyEffects has an entry for each key. Tests are named only where one fails when
// the key does nothing.
var keyEffects = map[string]effect{
	"brokers":                               {"the addresses clients connect to first", []string{"internal/addresses.TestComplete", "kafka.TestNewClientSkipsSilentBroker"}},
	"client_id":                             {"the client id in each request; the beginning of instance ids", []string{"kafka.TestConsumerConfig"}},
	"group_id":                              {"the group that is joined and committed to", []string{"worker.TestConsumesCommitsAndStops", "config.TestGroupOfTheSpecCannotBeMoved"}},
	"group_id_prefix":                       {"the derived group id", []string{"config.TestGroupIDFor"}},
	"socket_timeout":                        {"dial, read and write timeouts of connections; the coordinator's is 10 s above max_poll_interval", []string{"kafka.TestConsumerConfig", "kafka.TestNewClientSkipsSilentBroker"}},
	"topic_metadata_refresh_interval":       {"how often workers compare partition counts and look for topics", []string{"worker.TestTopicsThatComeLater", "kafka.TestConsumerConfig"}},
	"offset_commit_interval":                {"the worker's commit loop", []string{"worker.TestOffsetCommitInterval"}},
	"synchronous_commits":                   {"a commit, awaited, after each call", []string{"worker.TestSynchronousCommits"}},
	"heartbeat_interval":                    {"heartbeats to the group's coordinator", []string{"kafka.TestConsumerConfig"}},
	"session_timeout":                       {"session timeout in JoinGroup", []string{"kafka.TestConsumerConfig"}},
	"max_poll_interval":                     {"rebalance timeout in JoinGroup; the limit of a call, watched by worker and supervisor", []string{"kafka.TestConsumerConfig", "supervisor/fleet.TestStuckHandlerIsEscalated"}},
	"partition_assignment_strategy":         {"assignors in JoinGroup", []string{"kafka.TestConsumerConfig", "worker.TestCooperativeRebalance"}},
	"fetch_messages":                        {"the size of batches", []string{"worker.TestBatchSize"}},
	"fetch_min_bytes":                       {"min_bytes in Fetch", []string{"kafka.TestConsumerConfig"}},
	"max_batch_bytes":                       {"what the batches of a fetch may take decoded", []string{"kafka.TestUndecodableBatches", "worker.TestUndecodableBatchPausesItsPartition"}},
	"max_bytes":                             {"max_bytes in Fetch; what a worker buffers", []string{"kafka.TestConsumerConfig", "worker.TestStock"}},
	"max_wait_time":                         {"max_wait_ms in Fetch; how long a batch waits", []string{"kafka.TestConsumerConfig", "worker.TestBatchWaits"}},
	"min_message_queue_size":                {"messages buffered per partition", []string{"worker.TestStock"}},
	"multi_subscription_strategy":           {"the order of turns among topics", []string{"worker.TestMultiSubscriptionStrategy"}},
	"statistics_interval":                   {"calls of OnStatistics", []string{"worker.TestStatisticsInterval"}},
	"concurrency":                           {"partitions processed at once, and GOMAXPROCS of a worker", []string{"worker.TestSlowPartitionHoldsUpNoOther"}},
	"membership":                            {"instance ids in JoinGroup, and whether a stop removes members", []string{"supervisor/fleet.TestNonceFollowsTheMembership", "supervisor/fleet.TestMembershipDecidesWhetherMembersAreRemoved", "worker.TestDynamicMembership"}},
	"static_id":                             {"instance ids with membership host", []string{"supervisor/fleet.TestNonceFollowsTheMembership"}},
	"consumer":                              {"the consumer's client, see below", []string{"kafka.TestConsumerConfig", "config.TestConsumerProperties"}},
	"stall_timeout":                         {"when a partition is reported as standing still", []string{"worker.TestStallTimeout"}},
	"pause_timeout":                         {"the pause after a failed call", []string{"worker.TestPauses"}},
	"pause_with_exponential_backoff":        {"the pause after a failed call", []string{"worker.TestPauses"}},
	"max_pause_timeout":                     {"the longest pause", []string{"worker.TestPauses"}},
	"pause_jitter":                          {"the pause after a failed call", []string{"worker.TestPauses"}},
	"max_retries":                           {"when a message is dead-lettered", []string{"worker.TestWaysToFail"}},
	"dead_letter_topic":                     {"where dead letters go", []string{"worker.TestWaysToFail"}},
	"producer":                              {"producers' clients, see below", []string{"kafka.TestProducerConfig", "config.TestProducerProperties"}},
	"partitioner":                           {"the partition of produced messages", []string{"kafka/producer.TestPartitionersAgreeWithLibrdkafka", "kafka/producer.TestPartitionerByName"}},
	"producer_compression_codec":            {"the compression of produced batches", []string{"kafka/producer.TestProducerCompression"}},
	"message_timeout":                       {"when a delivery is given up", []string{"kafka/producer.TestProducerTimeout"}},
	"produce_in_flight":                     {"messages processed ahead of the acknowledgements", []string{"worker.TestOffsetsWaitForAcknowledgements"}},
	"transaction_interval":                  {"when a transaction is committed", []string{"worker.TestTransactionBounds"}},
	"transaction_messages":                  {"when a transaction is committed", []string{"worker.TestTransactionBounds"}},
	"parallel_workers":                      {"how many processes are started", []string{"supervisor/fleet.TestAllWorkersAreStartedAndReadyOnce"}},
	"shutdown_timeout":                      {"the deadline of a stop", []string{"supervisor/fleet.TestWorkerThatDoesNotStopInTimeIsKilled"}},
	"worker_boot_timeout":                   {"when a silent start counts as a crash", []string{"supervisor/fleet.TestSilentWorkerIsKilledAfterTheBootTimeout"}},
	"worker_timeout":                        {"when a silent worker is replaced", []string{"supervisor/fleet.TestFrozenWorker"}},
	"worker_restart_limit":                  {"when a consumer is given up", []string{"supervisor/fleet.TestRestartLimit", "supervisor/fleet.TestRestartLimitZeroStopsEverything", "supervisor/fleet.TestNeverGiveUp"}},
	"worker_memory_limit":                   {"when a worker is drained and replaced; its GOMEMLIMIT", []string{"supervisor/fleet.TestWorkersAboveTheirMemoryAreReplacedOneAtATime"}},
	"daemonize":                             {"whether the command returns once the supervisor runs", []string{"test/e2e.TestDaemonize"}},
	"pidfile":                               {"the file with pid and lock", []string{"test/e2e.TestDaemonize"}},
	"control_socket":                        {"the path of the control socket", []string{"cli.TestControlSocket"}},
	"without_rails":                         {"the launcher builds no ./consumers", []string{"launcher.TestParseArguments", "config.TestGoodFiles"}},
	"logfile":                               {"where the log goes", []string{"internal/logs.TestReopenLosesNoLine", "test/e2e.TestDaemonize"}},
	"log_level":                             {"what is logged", []string{"internal/logs.TestLevel"}},
	"log_format":                            {"the form of log lines", []string{"internal/logs.TestFormat"}},
	"security_protocol":                     {"TLS and SASL on each connection", []string{"kafka/access.TestTLS"}},
	"ssl_ca_location":                       {"whom a broker's certificate must come from", []string{"kafka/access.TestTLS"}},
	"ssl_crl_location":                      {"which certificates are refused", []string{"kafka/access.TestTLS"}},
	"ssl_keystore_location":                 {"the certificate we show", []string{"kafka/access.TestTLS"}},
	"ssl_keystore_password":                 {"opening the keystore", []string{"kafka/access.TestTLS"}},
	"ssl_certificate_location":              {"the certificate we show", []string{"kafka/access.TestTLS"}},
	"ssl_key_location":                      {"the certificate we show", []string{"kafka/access.TestTLS"}},
	"ssl_key_password":                      {"opening the key", []string{"kafka/access.TestTLS"}},
	"ssl_ca_pem":                            {"whom a broker's certificate must come from", []string{"kafka/access.TestTLS"}},
	"ssl_certificate_pem":                   {"the certificate we show", []string{"kafka/access.TestTLS"}},
	"ssl_key_pem":                           {"the certificate we show", []string{"kafka/access.TestTLS"}},
	"ssl_verify_hostname":                   {"whether a broker's certificate must name its host", []string{"kafka/access.TestTLSNameNotVerified"}},
	"sasl_mechanism":                        {"how we authenticate", []string{"kafka/access.TestSASL"}},
	"sasl_kerberos_service_name":            {"the principal a ticket is asked for", []string{"kafka.TestSecurity"}},
	"sasl_kerberos_principal":               {"who logs in", []string{"kafka.TestSecurity"}},
	"sasl_kerberos_kinit_cmd":               {"the command run before a login", []string{"kafka.TestSecurity"}},
	"sasl_kerberos_keytab":                  {"the key to log in with", []string{"kafka.TestSecurity"}},
	"sasl_kerberos_min_time_before_relogin": {"the pause between logins", []string{"kafka.TestSecurity"}},
	"sasl_username":                         {"who authenticates", []string{"kafka/access.TestSASL"}},
	"sasl_password":                         {"who authenticates", []string{"kafka/access.TestSASL"}},
	"sasl_over_ssl":                         {"nothing: accepted with a warning", []string{"config.TestGoodFiles"}},
	"sasl_oauthbearer_token_file":           {"the token sent", []string{"kafka.TestSecurity"}},
	"datadog_enabled":                       {"whether metrics are sent", []string{"monitor.TestWorkerWithoutListenersCostsNothing", "monitor.TestWorkerTellsDatadogAndSubscribers"}},
	"datadog_host":                          {"where metrics are sent", []string{"monitor.TestDatadogSendsUpstreamsMetrics"}},
	"datadog_port":                          {"where metrics are sent", []string{"monitor.TestDatadogSendsUpstreamsMetrics"}},
	"datadog_socket_path":                   {"where metrics are sent", []string{"monitor.TestDatadogSendsUpstreamsMetrics"}},
	"datadog_namespace":                     {"the metrics' names", []string{"monitor.TestDatadogSendsUpstreamsMetrics"}},
	"datadog_tags":                          {"the metrics' tags", []string{"monitor.TestDatadogSendsUpstreamsMetrics"}},
	"status_addr":                           {"where the status page listens", []string{"test/e2e.TestStatusPageWithoutAToken"}},
	"status_token":                          {"who may see and do what on the status page", []string{"test/e2e.TestStatusPageWithAToken"}},
	"status_metrics_public":                 {"whether /metrics asks for the token", []string{"monitor.TestMetricsAskForTheToken"}},
	"liveness_probe_enabled":                {"whether the file is touched", []string{"test/e2e.TestLivenessFile"}},
	"liveness_probe_file_path":              {"which file is touched and probed", []string{"ctl.TestLivenessProbe", "test/e2e.TestLivenessFile"}},
	"liveness_probe_max_interval":           {"when the probe fails", []string{"ctl.TestLivenessProbe", "test/e2e.TestLivenessFile"}},
	"liveness_probe_skip_config_files":      {"whether the probe reads the file", []string{"ctl.TestLivenessProbe", "test/e2e.TestLivenessFile"}},
}

const referenceHead = `# Configuration

<!-- Made from config/config.go; to change it, change that and run: go test ./config -run TestReference -update -->

Every key can be set in ` + "`config/racecar.yml`" + `, by a variable (` + "`client_id`: `RACECAR_CLIENT_ID`" + `) and by a
flag (` + "`--client-id`" + `; booleans ` + "`--daemonize`, `--no-daemonize`" + `). The nearer to the user, the stronger; lowest first:

1. the default;
2. the section ` + "`common`" + ` of the file;
3. its section for ` + "`RACECAR_ENV`, else `RAILS_ENV`, else `RACK_ENV`, else `development`" + `;
4. functions given to ` + "`racecar.Configure`" + `, in the order of their registration;
5. the consumer's ` + "`Spec`" + `;
6. variables;
7. flags.

` + "`racecar config`" + ` shows what is in effect and where each value comes from (` + "`--changed`, `--json`" + `). All problems are
told at once, each with its place. Keys marked "ours" are not in Ruby's Racecar; the others have its names, units and,
but for ` + "`heartbeat_interval`" + `, its defaults.

## How values are written

| type | written as |
|---|---|
| duration | a number of seconds, ` + "`10` or `0.5`, or `1m30s`, `250ms`" + ` |
| size | bytes, ` + "`1048576`, or `1MiB`, `1MB`" + ` |
| integer, float | ` + "`1000`, `1_000`, `0.5`" + ` |
| boolean | ` + "`true`, `yes`, `on`, `1`; `false`, `no`, `off`, `0`" + ` |
| list | ` + "`a,b`" + ` anywhere, a list in the file, a flag several times |
| string | one line of text; of a fixed set of words also in other case and as ` + "`:symbol`" + ` |
| PEM | as it is, in one line with ` + "`\\n`" + ` or spaces for its line ends, or as base64 of the whole |

Blanks and line ends around a value are cut off, of a secret only line ends after it. What cannot be meant is refused by
its key: control characters, quotes around the whole value, a placeholder that a deployment tool has not replaced
(` + "`${X}`" + ` in a variable, ` + "`$(X)`, `{{ x }}`" + `), a key or certificate where a path belongs and the reverse, a whole number with a
leading zero (octal, for Ruby). A value that spans lines or holds PEM is never repeated in a message.

A variable that is set but empty says "none" to a string or list and is a mistake for the others. In the file ` + "`null`" + `
(or nothing) is the default.

## The file

The top level holds sections and nothing else. A ` + "`common`" + ` with an anchor that the chosen section does not merge is refused,
since Ruby's Racecar would read that section alone ([moving from Ruby](migrating-from-racecar.md#a-configuration-file-step-by-step)).
A file that every user of the host can change, and a key or token that everyone can read, is a warning.

The file is ` + "`config/racecar.yml`" + `, or what ` + "`--config` or `RACECAR_CONFIG`" + ` names, which must then exist. YAML's anchors
and merges work. These stand for variables:

| in the file | is |
|---|---|
| ` + "`<%= ENV[\"X\"] %>`, `${X}`" + ` | the variable; the default of the key when it is not set |
| ` + "`<%= ENV.fetch(\"X\", \"d\") %>`, `<%= ENV[\"X\"] || \"d\" %>`, `${X-d}`" + ` | the variable, else d |
| ` + "`${X:-d}`" + ` | the variable unless it is empty, else d |
| ` + "`<%= ENV.fetch(\"X\") %>`" + ` | the variable, which must be set |
| ` + "`${file:/run/secrets/x}`" + ` | what this file holds, without the newline at its end |
| ` + "`$${`" + ` | the two characters ` + "`${`" + ` |

Methods that only convert (` + "`.to_i`, `.to_f`, `.to_s`, `.to_sym`, `.strip`, `.split(\",\")`" + `) may follow and change nothing. Other Ruby is refused, and a ` + "`config/racecar.rb`" + ` is not run; use ` + "`racecar.Configure`" + `. A variable's value is put in as a
value: it may hold ` + "`#`, `: `" + ` or quotes.

A secret key (` + "`" + `sasl_password` + "`" + `, ` + "`" + `ssl_key_password` + "`" + `, ` + "`" + `status_token` + "`" + `, …) can also be read from a file that ` + "`" + `RACECAR_<KEY>_FILE` + "`" + `
names, as Docker and Kubernetes mount secrets. Setting the variable and its ` + "`" + `_FILE` + "`" + ` at once is an error. A file that is
missing, empty, larger than 64 KiB or not a regular file is an error that names the key and the path; one that every user
of the host can read is a warning.

### One consumer's settings

` + "`" + `consumers` + "`" + ` in an environment's section, or in ` + "`" + `common` + "`" + `, holds a section for each consumer. It overrides the consumer's
Spec; variables and flags override it:

` + "`" + `` + "`" + `` + "`" + `yaml
production:
  max_retries: 3
  consumers:
    UserBanConsumer:
      max_retries: 5
      parallel_workers: 4
` + "`" + `` + "`" + `` + "`" + `

Keys of the process, of logs and of monitoring are refused there, since one supervisor runs all consumers. A ` + "`" + `group_id` + "`" + `
that differs from the Spec's is refused as everywhere. A section for a consumer that the program has not registered is a
warning, since several programs may share the file; with ` + "`" + `--check` + "`" + ` it is an error. ` + "`" + `racecar config UserBanConsumer` + "`" + ` shows
where each value comes from.
`

const referenceProperties = `
## librdkafka's properties

` + "`consumer`, `producer`" + ` and a subscription's ` + "`AdditionalConfig`" + ` take properties under librdkafka's names, as ` + "`name=value`" + `.
One that stands for a key may repeat it, not contradict it. Those of ` + "`producer`" + ` that concern connections act on
producers alone. What cannot be honoured is refused at start.
`
