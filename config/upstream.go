package config

// rubyClass is the class a value has in upstream's configuration; it decides how
// the value is shown.
type rubyClass string

const (
	rubyList    rubyClass = "list"
	rubyString  rubyClass = "string"
	rubySymbol  rubyClass = "symbol"
	rubyFloat   rubyClass = "float"
	rubyInteger rubyClass = "integer"
	rubyBoolean rubyClass = "boolean"
)

// upstreamKeys are the variables of Racecar 2.12 (lib/racecar/config.rb) in the
// order of their definition, which is that of its --help and of its SIGUSR1 dump.
var upstreamKeys = []struct {
	name  string
	class rubyClass
}{
	{"brokers", rubyList},
	{"client_id", rubyString},
	{"offset_commit_interval", rubyFloat},
	{"heartbeat_interval", rubyFloat},
	{"min_message_queue_size", rubyInteger},
	{"partition_assignment_strategy", rubyString},
	{"consumer", rubyList},
	{"producer", rubyList},
	{"fetch_messages", rubyInteger},
	{"fetch_min_bytes", rubyInteger},
	{"synchronous_commits", rubyBoolean},
	{"pause_timeout", rubyFloat},
	{"max_pause_timeout", rubyFloat},
	{"pause_with_exponential_backoff", rubyBoolean},
	{"session_timeout", rubyFloat},
	{"max_poll_interval", rubyInteger},
	{"socket_timeout", rubyFloat},
	{"max_wait_time", rubyFloat},
	{"message_timeout", rubyFloat},
	{"max_bytes", rubyInteger},
	{"group_id_prefix", rubyString},
	{"group_id", rubyString},
	{"logfile", rubyString},
	{"log_level", rubyString},
	{"partitioner", rubySymbol},
	{"security_protocol", rubySymbol},
	{"ssl_ca_location", rubyString},
	{"ssl_crl_location", rubyString},
	{"ssl_keystore_location", rubyString},
	{"ssl_keystore_password", rubyString},
	{"ssl_certificate_location", rubyString},
	{"ssl_key_location", rubyString},
	{"ssl_key_password", rubyString},
	{"sasl_mechanism", rubyString},
	{"sasl_kerberos_service_name", rubyString},
	{"sasl_kerberos_principal", rubyString},
	{"sasl_kerberos_kinit_cmd", rubyString},
	{"sasl_kerberos_keytab", rubyString},
	{"sasl_kerberos_min_time_before_relogin", rubyInteger},
	{"sasl_username", rubyString},
	{"sasl_password", rubyString},
	{"sasl_over_ssl", rubyBoolean},
	{"pidfile", rubyString},
	{"daemonize", rubyBoolean},
	{"producer_compression_codec", rubySymbol},
	{"datadog_enabled", rubyBoolean},
	{"datadog_host", rubyString},
	{"datadog_port", rubyInteger},
	{"datadog_socket_path", rubyString},
	{"datadog_namespace", rubyString},
	{"datadog_tags", rubyList},
	{"ssl_verify_hostname", rubyBoolean},
	{"without_rails", rubyBoolean},
	{"statistics_interval", rubyInteger},
	{"liveness_probe_enabled", rubyBoolean},
	{"liveness_probe_file_path", rubyString},
	{"liveness_probe_max_interval", rubyInteger},
	{"liveness_probe_skip_config_files", rubyBoolean},
	{"multi_subscription_strategy", rubyString},
}
