package config

import (
	"slices"
	"strings"
	"time"
)

// property describes how one of librdkafka's properties (CONFIGURATION.md) is handled: it
// is equivalent to a key, has a field of Properties, has no effect because Racecar always
// does it, or is refused with a reason.
type property struct {
	of side

	key          string // the key it stands for
	own          side   // the sides for which the property becomes the key's value
	milliseconds bool   // the property counts ms
	also         string // key=value that comes with it
	whole        bool   // acts on the whole consumer, not on a subscription

	set func(p *Properties, value string, of side) string // returns what is wrong
	as  string                                            // what set's field does, for the reference

	only, why string // the one value that holds anyway, and why no other can

	refused string // the reason

	// values are the words allowed, as word or word:meaning.
	values []string
}

// word gives an allowed word its meaning.
func (p property) word(text string) (string, bool) {
	for _, v := range p.values {
		word, meaning, aliased := strings.Cut(v, ":")
		if strings.EqualFold(word, text) {
			if aliased {
				return meaning, true
			}
			return word, true
		}
	}
	return "", false
}

func (p property) words() []string {
	words := make([]string, len(p.values))
	for i, v := range p.values {
		words[i], _, _ = strings.Cut(v, ":")
	}
	return words
}

// propertyAliases are librdkafka's second names.
var propertyAliases = map[string]string{
	"metadata.broker.list":      "bootstrap.servers",
	"max.partition.fetch.bytes": "fetch.message.max.bytes",
	"max.in.flight":             "max.in.flight.requests.per.connection",
	"sasl.mechanisms":           "sasl.mechanism",
	"request.required.acks":     "acks",
	"queue.buffering.max.ms":    "linger.ms",
	"message.send.max.retries":  "retries",
	"compression.type":          "compression.codec",
	"delivery.timeout.ms":       "message.timeout.ms",
	"auto.commit.enable":        "enable.auto.commit",
	"metadata.max.age.ms":       "topic.metadata.refresh.interval.ms",
}

func canonicalProperty(name string) string {
	name = strings.TrimSpace(name)
	if canonical, ok := propertyAliases[name]; ok {
		return canonical
	}
	return name
}

// propertyIndex holds each property under each of its names.
var propertyIndex = withAliases(propertyTable)

func withAliases(table map[string]property) map[string]property {
	all := make(map[string]property, len(table)+len(propertyAliases))
	for name, p := range table {
		all[name] = p
	}
	for alias, name := range propertyAliases {
		all[alias] = table[name]
	}
	return all
}

func honouredNames(of side) []string {
	var names []string
	for name, p := range propertyIndex {
		if p.of&of != 0 && p.refused == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// setMS reads milliseconds.
func setMS(atLeast int64, field func(*Properties) *time.Duration) func(*Properties, string, side) string {
	return func(p *Properties, value string, _ side) string {
		n, ok := parseInt(value)
		if !ok {
			return "is not a number of milliseconds"
		}
		if n < atLeast || n > maxMilliseconds {
			return "must be from " + plain(float64(atLeast)) + " to " + plain(maxMilliseconds)
		}
		*field(p) = time.Duration(n) * time.Millisecond
		return ""
	}
}

// setInt reads a whole number within bounds.
func setInt(least, most int64, store func(*Properties, int)) func(*Properties, string, side) string {
	return func(p *Properties, value string, _ side) string {
		n, ok := parseInt(value)
		if !ok {
			return "is not a whole number"
		}
		if n < least || n > most {
			return "must be from " + plain(float64(least)) + " to " + plain(float64(most))
		}
		store(p, int(n))
		return ""
	}
}

func setBool(store func(*Properties, bool)) func(*Properties, string, side) string {
	return func(p *Properties, value string, _ side) string {
		b, ok := parseBool(value)
		if !ok {
			return "is not true or false"
		}
		store(p, b)
		return ""
	}
}

func setText(store func(*Properties, string)) func(*Properties, string, side) string {
	return func(p *Properties, value string, _ side) string {
		if value == "" {
			return "is empty"
		}
		store(p, value)
		return ""
	}
}

const (
	maxInt32 = 1<<31 - 1

	noQueue     = "there is no such queue here; max_bytes and min_message_queue_size bound what is fetched ahead"
	noSendQueue = "produce_in_flight bounds what is queued"
	notSarama   = "the Kafka library has no such setting"
	goTLS       = "Go's TLS chooses; TLS 1.2 at least"
	useLog      = "use log_level"
	noCallback  = "callbacks cannot be given as text"
	ownCommits  = "positions are committed by the worker, after the message and its output are done"
	negotiated  = "versions are negotiated with each broker"
	classic     = "the Kafka library speaks the classic group protocol"
	oidc        = "give the token in sasl_oauthbearer_token_file, or OAuthToken in racecar.Configure"
)

// propertyTable is librdkafka's list without callbacks and pointers.
var propertyTable = map[string]property{
	// Addresses and logins.
	"bootstrap.servers": {of: bothSides, key: "brokers"},
	"client.id":         {of: bothSides, key: "client_id"},
	"client.rack": {of: consumerSide, as: "fetches from the nearest replica",
		set: setText(func(p *Properties, s string) { p.ClientRack = s })},
	"group.id":          {of: consumerSide, refused: "set group_id, or GroupID in the Spec"},
	"group.instance.id": {of: consumerSide, key: "static_id", own: consumerSide, also: "membership=host", whole: true},
	"security.protocol": {of: bothSides, key: "security_protocol"},
	"client.dns.lookup": {of: bothSides, only: "use_all_dns_ips", why: "canonical names are not looked up: write the names that certificates and Kerberos principals have into the key brokers"},

	// TLS and SASL.
	"ssl.ca.location":                       {of: bothSides, key: "ssl_ca_location"},
	"ssl.crl.location":                      {of: bothSides, key: "ssl_crl_location"},
	"ssl.keystore.location":                 {of: bothSides, key: "ssl_keystore_location"},
	"ssl.keystore.password":                 {of: bothSides, key: "ssl_keystore_password"},
	"ssl.certificate.location":              {of: bothSides, key: "ssl_certificate_location"},
	"ssl.key.location":                      {of: bothSides, key: "ssl_key_location"},
	"ssl.key.password":                      {of: bothSides, key: "ssl_key_password"},
	"ssl.endpoint.identification.algorithm": {of: bothSides, key: "ssl_verify_hostname", values: []string{"https:true", "none:false"}},
	"enable.ssl.certificate.verification":   {of: bothSides, only: "true", why: "certificates are always verified; ssl_verify_hostname false leaves out the host name"},
	"ssl.ca.pem":                            {of: bothSides, key: "ssl_ca_pem"},
	"ssl.certificate.pem":                   {of: bothSides, key: "ssl_certificate_pem"},
	"ssl.key.pem":                           {of: bothSides, key: "ssl_key_pem"},
	"ssl.cipher.suites":                     {of: bothSides, refused: goTLS},
	"ssl.curves.list":                       {of: bothSides, refused: goTLS},
	"ssl.sigalgs.list":                      {of: bothSides, refused: goTLS},
	"ssl.providers":                         {of: bothSides, refused: "OpenSSL is not used"},
	"ssl.engine.location":                   {of: bothSides, refused: "OpenSSL is not used"},
	"ssl.engine.id":                         {of: bothSides, refused: "OpenSSL is not used"},
	"https.ca.location":                     {of: bothSides, refused: oidc},
	"https.ca.pem":                          {of: bothSides, refused: oidc},
	"sasl.mechanism":                        {of: bothSides, key: "sasl_mechanism"},
	"sasl.username":                         {of: bothSides, key: "sasl_username"},
	"sasl.password":                         {of: bothSides, key: "sasl_password"},
	"sasl.kerberos.service.name":            {of: bothSides, key: "sasl_kerberos_service_name"},
	"sasl.kerberos.principal":               {of: bothSides, key: "sasl_kerberos_principal"},
	"sasl.kerberos.kinit.cmd":               {of: bothSides, key: "sasl_kerberos_kinit_cmd"},
	"sasl.kerberos.keytab":                  {of: bothSides, key: "sasl_kerberos_keytab"},
	"sasl.kerberos.min.time.before.relogin": {of: bothSides, key: "sasl_kerberos_min_time_before_relogin", milliseconds: true},
	"sasl.oauthbearer.config":               {of: bothSides, refused: oidc},
	"sasl.oauthbearer.method":               {of: bothSides, refused: oidc},
	"sasl.oauthbearer.client.id":            {of: bothSides, refused: oidc},
	"sasl.oauthbearer.client.secret":        {of: bothSides, refused: oidc},
	"sasl.oauthbearer.scope":                {of: bothSides, refused: oidc},
	"sasl.oauthbearer.extensions":           {of: bothSides, refused: oidc},
	"sasl.oauthbearer.token.endpoint.url":   {of: bothSides, refused: oidc},
	"enable.sasl.oauthbearer.unsecure.jwt":  {of: bothSides, refused: oidc},

	// Connections.
	"socket.timeout.ms": {of: bothSides, key: "socket_timeout", milliseconds: true},
	"socket.connection.setup.timeout.ms": {of: bothSides, as: "bounds setting up a connection",
		set: setMS(1, func(p *Properties) *time.Duration { return &p.ConnectTimeout })},
	"socket.keepalive.enable":     {of: bothSides, only: "true", why: "connections are always kept alive"},
	"socket.nagle.disable":        {of: bothSides, only: "true", why: "Go always does so"},
	"socket.send.buffer.bytes":    {of: bothSides, only: "0", why: "the system chooses"},
	"socket.receive.buffer.bytes": {of: bothSides, only: "0", why: "the system chooses"},
	"socket.max.fails":            {of: bothSides, refused: notSarama},
	"socket.blocking.max.ms":      {of: bothSides, refused: notSarama},
	"max.in.flight.requests.per.connection": {of: bothSides, as: "maximum number of unanswered requests per connection",
		set: setInt(1, 1000000, func(p *Properties, n int) { p.MaxInFlight = n })},
	"connections.max.idle.ms": {of: bothSides, refused: notSarama},
	"broker.address.ttl":      {of: bothSides, refused: "names are looked up for each connection"},
	"broker.address.family":   {of: bothSides, only: "any", why: "the system's resolver chooses"},
	"reconnect.backoff.ms":    {of: bothSides, refused: "retry.backoff.ms paces new attempts"},
	"reconnect.backoff.max.ms": {of: bothSides,
		refused: "retry.backoff.max.ms bounds the pace of new attempts"},
	"retry.backoff.ms": {of: bothSides, as: "first pause before a request is retried",
		set: setMS(1, func(p *Properties) *time.Duration { return &p.RetryBackoff })},
	"retry.backoff.max.ms": {of: bothSides, as: "longest pause before a request is retried",
		set: setMS(1, func(p *Properties) *time.Duration { return &p.RetryBackoffMax })},
	"receive.message.max.bytes": {of: bothSides, refused: "the Kafka library bounds answers for the whole process; see max_bytes"},
	"message.copy.max.bytes":    {of: bothSides, refused: notSarama},

	// Metadata.
	"topic.metadata.refresh.interval.ms":      {of: bothSides, key: "topic_metadata_refresh_interval", own: consumerSide, milliseconds: true, whole: true},
	"topic.metadata.refresh.fast.interval.ms": {of: bothSides, refused: notSarama},
	"topic.metadata.refresh.fast.cnt":         {of: bothSides, refused: notSarama},
	"topic.metadata.refresh.sparse":           {of: bothSides, only: "true", why: "only the topics in use are looked up"},
	"topic.metadata.propagation.max.ms":       {of: bothSides, refused: notSarama},
	"topic.blacklist":                         {of: bothSides, refused: "write a TopicPattern that does not match those topics"},
	"metadata.recovery.strategy":              {of: bothSides, refused: notSarama},
	"metadata.recovery.rebootstrap.trigger.ms": {of: bothSides,
		refused: notSarama},
	"api.version.request":            {of: bothSides, only: "true", why: negotiated},
	"api.version.request.timeout.ms": {of: bothSides, refused: negotiated},
	"api.version.fallback.ms":        {of: bothSides, refused: negotiated},
	"broker.version.fallback":        {of: bothSides, refused: negotiated},
	"allow.auto.create.topics": {of: consumerSide, as: "lets the broker create a missing topic",
		set: setBool(func(p *Properties, b bool) { p.AllowAutoCreateTopics = &b })},

	// Logs and statistics.
	"statistics.interval.ms":                 {of: consumerSide, key: "statistics_interval", own: consumerSide, milliseconds: true, whole: true},
	"enable.metrics.push":                    {of: bothSides, only: "false", why: notSarama},
	"debug":                                  {of: bothSides, refused: useLog + ": debug"},
	"log_level":                              {of: bothSides, refused: useLog},
	"log.queue":                              {of: bothSides, refused: useLog},
	"log.thread.name":                        {of: bothSides, refused: useLog},
	"log.connection.close":                   {of: bothSides, refused: useLog},
	"enable.random.seed":                     {of: bothSides, refused: notSarama},
	"enabled_events":                         {of: bothSides, refused: noCallback},
	"internal.termination.signal":            {of: bothSides, refused: "the supervisor ends its workers"},
	"plugin.library.paths":                   {of: bothSides, refused: "C plugins cannot be loaded"},
	"open_cb":                                {of: bothSides, refused: noCallback},
	"rebalance_cb":                           {of: consumerSide, refused: "implement OnPartitionsAssigned and OnPartitionsRevoked"},
	"offset_commit_cb":                       {of: consumerSide, refused: noCallback},
	"dr_cb":                                  {of: producerSide, refused: noCallback},
	"consume.callback.max.messages":          {of: consumerSide, refused: noCallback},
	"delivery.report.only.error":             {of: producerSide, only: "false", why: "each delivery is awaited"},
	"produce.offset.report":                  {of: producerSide, only: "true", why: "offsets are always reported"},
	"group.protocol":                         {of: consumerSide, only: "classic", why: classic},
	"group.protocol.type":                    {of: consumerSide, only: "consumer", why: "that is what a consumer group is"},
	"group.remote.assignor":                  {of: consumerSide, refused: classic},
	"coordinator.query.interval.ms":          {of: consumerSide, refused: "the coordinator is looked up when it is lost"},
	"max.poll.records":                       {of: consumerSide, refused: "not librdkafka's but Java's: use fetch_messages"},
	"default.topic.config":                   {of: bothSides, refused: noCallback},
	"share.acknowledgement.mode":             {of: consumerSide, refused: notSarama},
	"queue.buffering.backpressure.threshold": {of: producerSide, refused: noSendQueue},

	// Consuming.
	"session.timeout.ms":            {of: consumerSide, key: "session_timeout", own: consumerSide, milliseconds: true},
	"heartbeat.interval.ms":         {of: consumerSide, key: "heartbeat_interval", own: consumerSide, milliseconds: true},
	"max.poll.interval.ms":          {of: consumerSide, key: "max_poll_interval", own: consumerSide, milliseconds: true, whole: true},
	"auto.commit.interval.ms":       {of: consumerSide, key: "offset_commit_interval", own: consumerSide, milliseconds: true, whole: true},
	"partition.assignment.strategy": {of: consumerSide, key: "partition_assignment_strategy", own: consumerSide},
	"fetch.wait.max.ms":             {of: consumerSide, key: "max_wait_time", own: consumerSide, milliseconds: true},
	"fetch.max.bytes":               {of: consumerSide, key: "max_bytes", own: consumerSide},
	"fetch.min.bytes":               {of: consumerSide, key: "fetch_min_bytes", own: consumerSide},
	"queued.min.messages":           {of: consumerSide, key: "min_message_queue_size", own: consumerSide, whole: true},
	"auto.offset.reset": {of: consumerSide, as: "where a partition without a valid position starts, before StartFrom",
		values: []string{"earliest", "smallest:earliest", "beginning:earliest", "latest", "largest:latest", "end:latest"},
		set:    setText(func(p *Properties, s string) { p.AutoOffsetReset = s })},
	"fetch.message.max.bytes": {of: consumerSide, as: "maximum number of bytes per partition in a fetch",
		set: setInt(1, 1000000000, func(p *Properties, n int) { p.MaxPartitionFetchBytes = n })},
	"fetch.error.backoff.ms": {of: consumerSide, as: "pause after a failed fetch",
		set: setMS(1, func(p *Properties) *time.Duration { return &p.FetchErrorBackoff })},
	"isolation.level": {of: consumerSide, as: "whether messages of open and aborted transactions are seen",
		values: []string{"read_committed", "read_uncommitted"},
		set:    setText(func(p *Properties, s string) { p.IsolationLevel = s })},
	"queued.max.messages.kbytes": {of: consumerSide, refused: noQueue},
	"fetch.queue.backoff.ms":     {of: consumerSide, refused: noQueue},
	"enable.auto.commit":         {of: consumerSide, only: "true", why: ownCommits},
	"enable.auto.offset.store":   {of: consumerSide, only: "false", why: ownCommits},
	"offset.store.method":        {of: consumerSide, only: "broker", why: ownCommits},
	"offset.store.path":          {of: consumerSide, refused: ownCommits},
	"offset.store.sync.interval.ms": {of: consumerSide,
		refused: ownCommits},
	"enable.partition.eof": {of: consumerSide, only: "false", why: "a consumer is called with messages only"},
	"check.crcs":           {of: consumerSide, only: "true", why: "checksums are always checked"},

	// Producing.
	"message.timeout.ms": {of: producerSide, key: "message_timeout", own: producerSide, milliseconds: true},
	"partitioner":        {of: producerSide, key: "partitioner", own: producerSide},
	"compression.codec":  {of: producerSide, key: "producer_compression_codec", own: producerSide},
	"compression.level": {of: producerSide, as: "the codec's level",
		set: setInt(-1, 22, func(p *Properties, n int) { p.CompressionLevel = &n })},
	"message.max.bytes": {of: bothSides, as: "producer: the largest message; consumer: as fetch.message.max.bytes",
		set: func(p *Properties, value string, of side) string {
			return setInt(1, 1000000000, func(p *Properties, n int) {
				if of == producerSide {
					p.MaxMessageBytes = n
				} else {
					p.MaxPartitionFetchBytes = n
				}
			})(p, value, of)
		}},
	"acks": {of: producerSide, as: "replicas that acknowledge a message", values: []string{"all:-1", "-1", "1", "0"},
		set: setInt(-1, 1, func(p *Properties, n int) { acks := int16(n); p.Acks = &acks })},
	"enable.idempotence": {of: producerSide, as: "lets the broker drop what was sent twice",
		set: setBool(func(p *Properties, b bool) { p.Idempotence = &b })},
	"linger.ms": {of: producerSide, as: "how long a batch is gathered",
		set: func(p *Properties, value string, _ side) string {
			ms, ok := parseFloat(value)
			if !ok || ms < 0 || ms > 900000 {
				return "is not a number of milliseconds from 0 to 900000"
			}
			linger := time.Duration(ms * float64(time.Millisecond))
			p.Linger = &linger
			return ""
		}},
	"batch.size": {of: producerSide, as: "bytes of a batch",
		set: setInt(1, maxInt32, func(p *Properties, n int) { p.BatchBytes = n })},
	"batch.num.messages": {of: producerSide, as: "maximum number of messages in a batch",
		set: setInt(1, 1000000, func(p *Properties, n int) { p.BatchMessages = n })},
	"retries": {of: producerSide, as: "how often sending is retried within message_timeout",
		set: setInt(0, maxInt32, func(p *Properties, n int) { p.Retries = &n })},
	"request.timeout.ms": {of: producerSide, as: "how long the broker waits for replicas",
		set: setMS(1, func(p *Properties) *time.Duration { return &p.RequestTimeout })},
	"transaction.timeout.ms": {of: producerSide, as: "time after which the broker aborts a transaction",
		set: setMS(1000, func(p *Properties) *time.Duration { return &p.TransactionTimeout })},
	"transactional.id":             {of: producerSide, refused: "ids are made for each consumer instance: set Transactional in the Spec"},
	"enable.gapless.guarantee":     {of: producerSide, refused: notSarama},
	"queue.buffering.max.messages": {of: producerSide, refused: noSendQueue},
	"queue.buffering.max.kbytes": {of: producerSide, as: "KiB that may wait to be acknowledged",
		set: setInt(1, maxInt32, func(p *Properties, n int) { p.BufferBytes = int64(n) << 10 })},
	"queuing.strategy": {of: producerSide, only: "fifo", why: "messages are sent in order"},
	"sticky.partitioning.linger.ms": {of: producerSide, as: "how long messages without a key stay with a random partition",
		set: setMS(0, func(p *Properties) *time.Duration { p.StickyLinger = new(time.Duration); return p.StickyLinger })},
	"msg_order_cmp": {of: producerSide, refused: noCallback},
}
