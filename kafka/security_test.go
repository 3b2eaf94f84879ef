package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/addresses"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/kafka/kdc"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

// fortress is Apache Kafka with a listener for each way in, and a Kerberos server.
type fortress struct {
	*cluster.Cluster
	servers, clients *pki.Pair // authorities
	kdc              *kdc.Server
	admin            sarama.ClusterAdmin
}

// asTyped is a password that RFC 4013 would change.
const asTyped = "p\u00b2ss cafe\u0301 \U0001f511"

// The names of the listeners.
const (
	tlsDoor    = "TLS"
	mutualDoor = "MUTUAL"
	saslDoor   = "PASSWORD"
	saslTLS    = "PASSWORDTLS"
	krbDoor    = "KERBEROS"
	tokenDoor  = "TOKEN"
)

func buildFortress(t *testing.T) *fortress {
	if !cluster.Real() {
		t.Skip("needs Apache Kafka: set KAFKA=real")
	}
	f := &fortress{servers: pki.Root(t, "Servers"), clients: pki.Root(t, "Clients"), kdc: kdc.Start(t)}
	for _, p := range []string{"kafka/localhost", "alice", "expired", "bob"} {
		f.kdc.Principal(p)
	}
	server := f.servers.Issue("broker")
	keystore := map[string]string{
		"ssl.keystore.type":       "PEM",
		"ssl.keystore.location":   pki.File(t, "server.pem", append(server.KeyPEM(), server.CertPEM()...)),
		"ssl.truststore.type":     "PEM",
		"ssl.truststore.location": pki.File(t, "clients.pem", f.clients.CertPEM()),
	}
	with := func(more map[string]string) map[string]string {
		all := make(map[string]string)
		for _, m := range []map[string]string{keystore, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	const module = "org.apache.kafka.common.security."
	passwords := map[string]string{
		"sasl.enabled.mechanisms":             "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"plain.sasl.jaas.config":              module + `plain.PlainLoginModule required user_alice="wonderland" user_nobody="nothing";`,
		"scram-sha-256.sasl.jaas.config":      module + "scram.ScramLoginModule required;",
		"scram-sha-512.sasl.jaas.config":      module + "scram.ScramLoginModule required;",
		"connections.max.reauth.ms":           "2000",
		"connection.failed.authentication.ms": "0",
	}
	f.Cluster = cluster.Start(t, cluster.Options{
		Listeners: []cluster.Listener{
			{Name: tlsDoor, Protocol: "SSL", Properties: with(map[string]string{"ssl.client.auth": "none"})},
			{Name: mutualDoor, Protocol: "SSL", Properties: with(map[string]string{"ssl.client.auth": "required"})},
			{Name: saslDoor, Protocol: "SASL_PLAINTEXT", Properties: passwords},
			{Name: saslTLS, Protocol: "SASL_SSL", Properties: with(passwords)},
			{Name: krbDoor, Protocol: "SASL_PLAINTEXT", Host: "localhost", Properties: map[string]string{
				"sasl.enabled.mechanisms":    "GSSAPI",
				"sasl.kerberos.service.name": "kafka",
				"gssapi.sasl.jaas.config": fmt.Sprintf(`com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab="%s" principal="kafka/localhost@%s";`,
					f.kdc.Keytab("kafka/localhost"), kdc.Realm),
				"connections.max.reauth.ms": "2000",
			}},
			{Name: tokenDoor, Protocol: "SASL_PLAINTEXT", Properties: map[string]string{
				"sasl.enabled.mechanisms":      "OAUTHBEARER",
				"oauthbearer.sasl.jaas.config": module + `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
			}},
		},
		Properties: map[string]string{
			"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			// Brokers among themselves, and those that come without a name.
			"super.users": "User:ANONYMOUS;User:alice;User:bob;User:carol;User:dave;User:CN=worker",
		},
		JVMFlags: []string{"-Djava.security.krb5.conf=" + f.kdc.Conf()},
	})
	conf := sarama.NewConfig()
	conf.Version = sarama.V3_0_0_0
	admin, err := sarama.NewClusterAdmin(f.AdminAddrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	f.admin = admin
	if _, err := admin.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{
		{Name: "bob", Mechanism: sarama.SCRAM_MECHANISM_SHA_256, Iterations: 4096, Salt: []byte("salt"), Password: []byte("builder")},
		{Name: "carol", Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 4096, Salt: []byte("salt"), Password: []byte("singer")},
		{Name: "dave", Mechanism: sarama.SCRAM_MECHANISM_SHA_256, Iterations: 4096, Salt: []byte("salt"), Password: []byte(asTyped)},
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// through returns settings for one of the doors.
func (f *fortress) through(t *testing.T, door string) *config.Config {
	t.Helper()
	c := settings(f.ListenerAddrs(door)...)
	c.SocketTimeout = 10 * time.Second
	tls := func() { c.SSLCALocation = pki.File(t, "ca.pem", f.servers.CertPEM()) }
	switch door {
	case tlsDoor, mutualDoor:
		c.SecurityProtocol = "ssl"
		tls()
	case saslTLS:
		c.SecurityProtocol = "sasl_ssl"
		tls()
	default:
		c.SecurityProtocol = "sasl_plaintext"
	}
	return c
}

// unsecured is a token of the kind that Kafka takes when nobody verifies them.
func unsecured(subject string, valid time.Duration) string {
	now := time.Now().Unix()
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, subject, now-3600, now+int64(valid.Seconds()))) + "."
}

// roundTrip produces a message, and consumes it as a member of a group.
func (f *fortress) roundTrip(t *testing.T, c *config.Config) {
	t.Helper()
	topic := "t-" + strings.ToLower(strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(t.Name()))
	if err := f.CreateTopic(t.Context(), topic, 1, 0); err != nil {
		t.Fatal(err)
	}
	a, err := access.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	conf, err := ProducerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	conf.Producer.Idempotent = false // which sarama's own producer does; ours has its tests
	out, err := NewClient(testContext(t), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // at the end of the test
	producer, err := sarama.NewSyncProducerFromClient(out)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close() //nolint:errcheck // at the end of the test
	if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("hello")}); err != nil {
		t.Fatal(err)
	}
	if conf, err = ConsumerConfig(a, ConsumerOptions{}); err != nil {
		t.Fatal(err)
	}
	in, err := NewClient(testContext(t), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // at the end of the test
	group, err := sarama.NewConsumerGroupFromClient("g-"+topic, in)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	h := &firstMessage{cancel: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{topic}, h); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	if h.value != "hello" {
		t.Errorf("consumed %q, want hello", h.value)
	}
	if err := group.Close(); err != nil {
		t.Error(err)
	}
}

type firstMessage struct {
	cancel context.CancelFunc
	value  string
}

func (*firstMessage) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*firstMessage) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *firstMessage) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		h.value = string(m.Value)
		h.cancel()
	}
	return nil
}

// Every way in consumes and produces, and every wrong credential gives one line.
func TestSecurity(t *testing.T) {
	f := buildFortress(t)
	t.Setenv("KRB5_CONFIG", f.kdc.Conf())
	keytab := f.kdc.Keytab("alice", "expired", "bob")
	kerberos := func(c *config.Config) {
		c.SASLMechanism, c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "GSSAPI", "alice", keytab
		c.SASLKerberosMinTimeBeforeRelogin = time.Minute
	}
	password := func(mechanism, user, secret string) func(*config.Config) {
		return func(c *config.Config) { c.SASLMechanism, c.SASLUsername, c.SASLPassword = mechanism, user, secret }
	}
	for _, tt := range []struct {
		name string
		door string
		set  func(*config.Config)
	}{
		{"tls", tlsDoor, nil},
		{"mutual tls", mutualDoor, func(c *config.Config) { identify(t, c, f.clients.Issue("worker")) }},
		{"plain", saslDoor, password("PLAIN", "alice", "wonderland")},
		{"scram 256", saslDoor, password("SCRAM-SHA-256", "bob", "builder")},
		{"scram, a password as typed", saslDoor, password("SCRAM-SHA-256", "dave", asTyped)},
		{"scram 512 tls", saslTLS, password("SCRAM-SHA-512", "carol", "singer")},
		{"kerberos", krbDoor, kerberos},
		{"oauth", tokenDoor, func(c *config.Config) {
			c.SASLMechanism = "OAUTHBEARER"
			c.SASLOAuthBearerTokenFile = pki.File(t, "token", []byte(unsecured("alice", time.Hour)+"\n"))
		}},
		{"oauth function", tokenDoor, func(c *config.Config) {
			c.SASLMechanism = "OAUTHBEARER"
			c.OAuthToken = func(context.Context) (config.OAuthToken, error) {
				return config.OAuthToken{Token: unsecured("alice", time.Hour)}, nil
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.through(t, tt.door)
			if tt.set != nil {
				tt.set(c)
			}
			f.roundTrip(t, c)
		})
	}

	for _, tt := range []struct {
		name   string
		door   string
		set    func(*config.Config)
		key    string // empty for what passes
		want   string
		passes bool
	}{
		{"unknown authority", tlsDoor, func(c *config.Config) { c.SSLCALocation = pki.File(t, "ca.pem", f.clients.CertPEM()) },
			"ssl_ca_location", "broker ADDR: its certificate (CN=broker) is signed by an authority that we do not trust (CN=Servers): set ssl_ca_location to that authority's certificate", false},
		{"no certificate of ours", mutualDoor, nil,
			"ssl_certificate_location", "broker ADDR: it wants a certificate from us: set ssl_certificate_location and ssl_key_location, or ssl_keystore_location", false},
		{"our certificate of another authority", mutualDoor, func(c *config.Config) { identify(t, c, f.servers.Issue("worker")) },
			"ssl_certificate_location", "broker ADDR: it refuses our certificate: set ssl_certificate_location (or ssl_keystore_location) to one of an authority that it trusts", false},
		{"plaintext to TLS", tlsDoor, func(c *config.Config) { c.SecurityProtocol = "plaintext" },
			"security_protocol", "broker ADDR: it speaks TLS on this port: set security_protocol to ssl, or change the port", true},
		{"TLS to plaintext", saslDoor, func(c *config.Config) {
			c.SecurityProtocol = "sasl_ssl"
			password("PLAIN", "alice", "wonderland")(c)
		}, "security_protocol", "broker ADDR: it does not speak TLS on this port: set security_protocol to sasl_plaintext, or change the port", false},
		{"no SASL where it is wanted", saslDoor, func(c *config.Config) { c.SecurityProtocol = "plaintext" },
			"security_protocol", "broker ADDR: it wants authentication on this port: set security_protocol to sasl_plaintext, or change the port", true},
		{"SASL where none is wanted", tlsDoor, func(c *config.Config) {
			c.SecurityProtocol = "sasl_ssl"
			password("PLAIN", "alice", "wonderland")(c)
		}, "security_protocol", "broker ADDR: it wants no authentication on this port: change security_protocol (to plaintext or ssl) or the port", false},
		{"PLAIN, wrong password", saslDoor, password("PLAIN", "alice", "hatter-7"),
			"sasl_password", "broker ADDR: wrong sasl_username or sasl_password (the broker says: Authentication failed: Invalid username or password)", true},
		{"PLAIN, no such user", saslDoor, password("PLAIN", "mallory", "hatter-7"),
			"sasl_password", "broker ADDR: wrong sasl_username or sasl_password (the broker says: Authentication failed: Invalid username or password)", true},
		{"SCRAM-SHA-256, wrong password", saslDoor, password("SCRAM-SHA-256", "bob", "hatter-7"),
			"sasl_password", "broker ADDR: wrong sasl_username or sasl_password (the broker says: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256)", true},
		{"SCRAM-SHA-512, wrong password", saslTLS, password("SCRAM-SHA-512", "carol", "hatter-7"),
			"sasl_password", "broker ADDR: wrong sasl_username or sasl_password (the broker says: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512)", false},
		{"SCRAM user of the other kind", saslDoor, password("SCRAM-SHA-512", "bob", "builder"),
			"sasl_password", "broker ADDR: wrong sasl_username or sasl_password (the broker says: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512)", true},
		{"mechanism not offered", krbDoor, password("PLAIN", "alice", "wonderland"),
			"sasl_mechanism", "broker ADDR: it does not offer sasl_mechanism PLAIN: it offers GSSAPI", true},
		{"Kerberos where there is none", saslDoor, kerberos,
			"sasl_mechanism", "broker ADDR: it does not offer sasl_mechanism GSSAPI: it offers PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := captureLog(t)
			c := f.through(t, tt.door)
			if tt.set != nil {
				tt.set(c)
			}
			err := try(t, c)
			reason, key, ok := access.Permanent(err)
			want := strings.ReplaceAll(tt.want, "ADDR", addresses.Complete(c.Brokers)[0])
			if tt.passes { // nothing proves who answered
				want = strings.TrimPrefix(want, "broker "+addresses.Complete(c.Brokers)[0]+": ")
				if ok || err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("permanent %v: got  %v\nwant %s", ok, err, want)
				}
				if said := fmt.Sprint(err) + log.String(); strings.Contains(said, "hatter-7") {
					t.Errorf("the password is shown: %s", said)
				}
				return
			}
			if !ok {
				t.Fatalf("not permanent: %v", err)
			}
			if reason != want {
				t.Errorf("got  %s\nwant %s", reason, want)
			}
			if key != tt.key {
				t.Errorf("key %q, want %q", key, tt.key)
			}
			if said := err.Error() + log.String(); strings.Contains(said, "hatter-7") {
				t.Errorf("the password is shown: %s", said)
			}
		})
	}
	t.Run("many clients, one login", func(t *testing.T) {
		before := f.kdc.Requests("AS_REQ")
		c := f.through(t, krbDoor)
		kerberos(c)
		a, err := access.New(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for range 3 {
			client, err := NewClient(testContext(t), NewConfig(a))
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := f.kdc.Requests("AS_REQ") - before; n != 1 {
			t.Errorf("logged in %d times, want once", n)
		}
	})
	// Brokers end sessions after connections.max.reauth.ms (2 s here): nobody is to
	// notice.
	for name, set := range map[string]func(*config.Config){krbDoor: kerberos, saslDoor: password("SCRAM-SHA-256", "bob", "builder")} {
		t.Run("sessions go on, "+name, func(t *testing.T) {
			t.Parallel()
			c := f.through(t, name)
			set(c)
			client := connect(t, c)
			b, err := client.Coordinator("g-sessions-" + name)
			if err != nil {
				t.Fatal(err)
			}
			deadline := time.After(5 * time.Second)
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				if _, err := b.Heartbeat(&sarama.HeartbeatRequest{Version: 3, GroupId: "g-sessions-" + name, MemberId: "m"}); err != nil {
					t.Fatalf("request %d: %v", n, err)
				}
				select {
				case <-deadline:
					return
				case <-tick.C:
				}
			}
		})
	}
	t.Run("refused token", func(t *testing.T) { // passes: tokens are renewed by others
		c := f.through(t, tokenDoor)
		c.SASLMechanism = "OAUTHBEARER"
		token := unsecured("alice", -time.Minute)
		c.SASLOAuthBearerTokenFile = pki.File(t, "token", []byte(token))
		err := try(t, c)
		var unreachable *access.UnreachableError
		if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "it refuses our token") {
			t.Error(err)
		}
		if strings.Contains(err.Error(), token) {
			t.Errorf("the token is shown: %v", err)
		}
	})

	f.testKerberosProblems(t, keytab)
	f.testKinit(t, keytab)
	f.testAuthorization(t)
}

// testKerberosProblems checks the messages for the KDC's errors.
func (f *fortress) testKerberosProblems(t *testing.T, keytab string) {
	f.kdc.Principal("rotated")
	old := f.kdc.Keytab("rotated")
	f.kdc.ChangeKey("rotated")
	f.kdc.Modify("expired", "-pwexpire", "2001-01-01 00:00:00 UTC")
	f.kdc.Principal("locked", "-expire", "2001-01-01 00:00:00 UTC")
	locked := f.kdc.Keytab("locked")
	skewed := f.kdc.Skewed(time.Hour)
	gone := pki.File(t, "krb5.conf", []byte("[libdefaults]\ndefault_realm = "+kdc.Realm+"\n[realms]\n"+kdc.Realm+" = {\n kdc = "+closedPort(t)+"\n}\n"))
	for _, tt := range []struct {
		name   string
		set    func(*config.Config)
		conf   string // krb5.conf
		passes bool
		key    string
		want   string
	}{
		{name: "unknown principal", set: func(c *config.Config) {
			c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "mallory", f.kdc.Keytab("alice")
		}, key: "sasl_kerberos_keytab", want: `sasl_kerberos_keytab: "KEYTAB" has no key of mallory@TEST.RACECAR (sasl_kerberos_principal), only of alice@TEST.RACECAR`},
		{name: "principal deleted", set: func(c *config.Config) { c.SASLKerberosPrincipal = "ghost"; c.SASLKerberosKeytab = f.ghost(t) },
			passes: true, want: "Kerberos knows no principal ghost@TEST.RACECAR: check sasl_kerberos_principal"},
		{name: "old keytab", set: func(c *config.Config) { c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "rotated", old },
			passes: true, want: "the keytab's key is not (or no longer) that of rotated@TEST.RACECAR: have a new keytab made"},
		{name: "expired key", set: func(c *config.Config) { c.SASLKerberosPrincipal = "expired" },
			passes: true, want: "the key of expired@TEST.RACECAR has expired: have a new one made, with a new keytab"},
		{name: "expired principal", set: func(c *config.Config) { c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "locked", locked },
			passes: true, want: "the Kerberos principal locked@TEST.RACECAR has expired or is locked"},
		{name: "wrong service", set: func(c *config.Config) { c.SASLKerberosServiceName = "carafe" },
			passes: true, want: "Kerberos knows no service carafe/localhost: check sasl_kerberos_service_name and the name that the broker advertises"},
		{name: "clock skew", conf: skewed.Conf(), passes: true, want: "our clock differs too much from that of the Kerberos server: set the clock"},
		{name: "no server", conf: gone, passes: true, want: "no Kerberos server (KDC) of realm TEST.RACECAR answers"},
		{name: "no keytab", set: func(c *config.Config) { c.SASLKerberosKeytab = "/missing" },
			key: "sasl_kerberos_keytab", want: "sasl_kerberos_keytab: open /missing: no such file or directory"},
		{name: "not a keytab", set: func(c *config.Config) { c.SASLKerberosKeytab = f.kdc.Conf() },
			key: "sasl_kerberos_keytab", want: `sasl_kerberos_keytab: "KEYTAB" is not a keytab: invalid keytab data. First byte does not equal 5`},
		{name: "no principal", set: func(c *config.Config) { c.SASLKerberosPrincipal = "" },
			key: "sasl_kerberos_principal", want: "sasl_kerberos_principal: missing: a keytab holds keys of several principals"},
		{name: "no krb5.conf", conf: "/missing/krb5.conf",
			key: "sasl_mechanism", want: "sasl_mechanism: GSSAPI needs Kerberos' configuration (KRB5_CONFIG names another file): open /missing/krb5.conf: no such file or directory"},
		{name: "neither keytab nor ticket", set: func(c *config.Config) { c.SASLKerberosKeytab = "" },
			key: "sasl_kerberos_keytab", want: "sasl_kerberos_keytab: not set, and there is no ticket from kinit either: set it, or run kinit: open /missing/ccache: no such file or directory"},
		{name: "kinit fails", set: func(c *config.Config) {
			c.SASLKerberosKinitCmd, c.SASLPassword = "echo no luck with %{sasl.password} >&2; exit 3", "hatter-7"
		}, passes: true, want: "sasl_kerberos_kinit_cmd: no luck with *** (exit status 3)"},
		{name: "kinit with an unknown name", set: func(c *config.Config) { c.SASLKerberosKinitCmd = "kinit %{sasl.principal}" },
			key: "sasl_kerberos_kinit_cmd", want: "sasl_kerberos_kinit_cmd: %{sasl.principal} names nothing we know: use librdkafka's names, such as %{sasl.kerberos.principal}, or %{broker.name}"},
	} {
		t.Run("kerberos, "+tt.name, func(t *testing.T) {
			t.Setenv("KRB5_CONFIG", f.kdc.Conf())
			t.Setenv("KRB5CCNAME", "/missing/ccache")
			if tt.conf != "" {
				t.Setenv("KRB5_CONFIG", tt.conf)
			}
			c := f.through(t, krbDoor)
			c.SASLMechanism, c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "GSSAPI", "alice", keytab
			if tt.set != nil {
				tt.set(c)
			}
			err := try(t, c)
			reason, key, ok := access.Permanent(err)
			want := strings.NewReplacer("ADDR", addresses.Complete(c.Brokers)[0], "KEYTAB", c.SASLKerberosKeytab).Replace(tt.want)
			switch {
			case ok == tt.passes:
				t.Errorf("permanent %v: %v", ok, err)
			case tt.passes && !strings.Contains(err.Error(), want):
				t.Errorf("got  %v\nwant %s", err, want)
			case !tt.passes && (reason != want || key != tt.key):
				t.Errorf("got  %s (%s)\nwant %s (%s)", reason, key, want, tt.key)
			}
		})
	}
}

// ghost returns the keytab of a principal that was deleted.
func (f *fortress) ghost(t *testing.T) string {
	t.Helper()
	f.kdc.Principal("ghost")
	path := f.kdc.Keytab("ghost")
	f.kdc.Delete("ghost")
	return path
}

// testKinit uses tickets that a command gets, and tickets that exist already.
func (f *fortress) testKinit(t *testing.T, keytab string) {
	t.Run("kinit", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("KRB5_CONFIG", f.kdc.Conf())
		t.Setenv("KRB5CCNAME", "FILE:"+dir+"/ccache")
		c := f.through(t, krbDoor)
		c.SASLMechanism, c.SASLKerberosPrincipal, c.SASLKerberosKeytab = "GSSAPI", "alice", keytab
		c.SASLKerberosMinTimeBeforeRelogin = time.Hour
		c.SASLKerberosKinitCmd = "echo %{broker.name} %{sasl.kerberos.service.name} >> " + dir + "/log; kinit -k -t %{sasl.kerberos.keytab} %{sasl.kerberos.principal}"
		f.roundTrip(t, c)
		log, err := os.ReadFile(dir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		if string(log) != "localhost kafka\n" {
			t.Errorf("the command ran as %q, want once, for localhost and kafka", log)
		}
		c.SASLKerberosKinitCmd, c.SASLKerberosKeytab = "", "" // the ticket is there
		if err := try(t, c); err != nil {
			t.Errorf("with the ticket of kinit: %v", err)
		}
		c.SASLKerberosPrincipal = "bob"
		const want = "bob@TEST.RACECAR is configured, but credential cache"
		if _, key, final := access.Permanent(try(t, c)); !final || key != "sasl_kerberos_principal" || !strings.Contains(fmt.Sprint(try(t, c)), want) {
			t.Errorf("with another principal's ticket: %v", try(t, c))
		}
	})
}

// testAuthorization sends requests that the user is not authorized for.
func (f *fortress) testAuthorization(t *testing.T) {
	c := f.through(t, saslDoor)
	c.SASLMechanism, c.SASLUsername, c.SASLPassword = "PLAIN", "nobody", "nothing"
	if err := f.CreateTopic(t.Context(), "secret", 1, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.CreateTopic(t.Context(), "open", 1, 0); err != nil {
		t.Fatal(err)
	}
	err := f.admin.CreateACLs([]*sarama.ResourceAcls{{
		Resource: sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: "open", ResourcePatternType: sarama.AclPatternLiteral},
		Acls:     []*sarama.Acl{{Principal: "User:nobody", Host: "*", Operation: sarama.AclOperationRead, PermissionType: sarama.AclPermissionAllow}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, c)
	for _, tt := range []struct {
		name      string
		do        func() error
		key, want string
	}{
		{"topic", func() error {
			group, err := sarama.NewConsumerGroupFromClient("g", client)
			if err != nil {
				return err
			}
			defer group.Close() //nolint:errcheck // it never joined
			return group.Consume(testContext(t), []string{"secret"}, &firstMessage{})
		}, "", "not authorized for the topic"},
		{"group", func() error {
			group, err := sarama.NewConsumerGroupFromClient("g", client)
			if err != nil {
				return err
			}
			defer group.Close() //nolint:errcheck // it never joined
			return group.Consume(testContext(t), []string{"open"}, &firstMessage{})
		}, "group_id", "not authorized for the consumer group"},
		{"commit", func() error {
			offsets := NewOffsets(client, "g")
			defer offsets.Close()
			_, err := offsets.Commit(testContext(t), NoMember, map[TopicPartition]Commit{{"open", 0}: {Offset: 1}})
			return err
		}, "group_id", `not authorized for the consumer group`},
		{"cluster", func() error {
			resp, err := client.LeastLoadedBroker().InitProducerID(&sarama.InitProducerIDRequest{Version: 1, TransactionTimeout: time.Minute})
			if err != nil {
				return err
			}
			return resp.Err
		}, "", "not authorized for the cluster"},
	} {
		t.Run("not authorized, "+tt.name, func(t *testing.T) {
			err := tt.do()
			reason, key, ok := access.Permanent(err)
			if !ok || key != tt.key || !strings.HasPrefix(reason, tt.want) || strings.Contains(reason, "\n") {
				t.Errorf("got  %q, %q, %v (%v)\nwant %q, %q", reason, key, ok, err, tt.want, tt.key)
			}
			t.Log(reason)
		})
	}
}

// identify sets our certificate.
func identify(t *testing.T, c *config.Config, client *pki.Pair) {
	t.Helper()
	c.SSLCertificateLocation = pki.File(t, "client.pem", client.CertPEM())
	c.SSLKeyLocation = pki.File(t, "client.key", client.KeyPEM())
}
