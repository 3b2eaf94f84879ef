package heroku

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/addresses"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

const hosts = "kafka+ssl://ec2-1.compute.amazonaws.com:9096,kafka+ssl://ec2-2.compute.amazonaws.com:9096"

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if n, v, _ := strings.Cut(p, "="); n == name {
				return v
			}
		}
		return ""
	}
}

func TestConfigure(t *testing.T) {
	c := config.Default()
	c.SSLCALocation, c.SSLCRLLocation, c.SSLKeystoreLocation = "/from/the/file.pem", "/from/the/file.crl", "/from/the/file.p12"
	c.SSLKeystorePassword, c.SSLKeyPassword = "of the keystore", "of the key"
	err := configure(&c, "KAFKA", env("KAFKA_URL="+hosts, "KAFKA_TRUSTED_CERT=ca", "KAFKA_CLIENT_CERT=cert", "KAFKA_CLIENT_CERT_KEY=key"))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.SecurityProtocol, c.Brokers, c.SSLCAPEM, c.SSLCertificatePEM, c.SSLKeyPEM, c.SSLCALocation + c.SSLCRLLocation + c.SSLKeystoreLocation + c.SSLKeystorePassword + c.SSLKeyPassword,
		c.SSLVerifyHostname, c.Review == nil}
	want := []any{"ssl", []string{"ec2-1.compute.amazonaws.com:9096", "ec2-2.compute.amazonaws.com:9096"}, "ca", "cert", "key", "", false, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// On a developer's machine no variable is set, and nothing changes.
func TestConfigureWithoutAddon(t *testing.T) {
	c, before := config.Default(), config.Default()
	if err := configure(&c, "KAFKA", env("KAFKA_PREFIX=p.")); err != nil {
		t.Fatal(err)
	}
	if c.String() != before.String() || c.Review != nil {
		t.Errorf("changed: %v", c)
	}
}

func TestConfigureProblems(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"KAFKA_URL=" + hosts, "KAFKA_CLIENT_CERT=c"},
			"KAFKA_TRUSTED_CERT is not set, but KAFKA_URL is: is the add-on attached as KAFKA?\n" +
				"KAFKA_CLIENT_CERT_KEY is not set, but KAFKA_URL is: is the add-on attached as KAFKA?"},
		{[]string{"KAFKA_CLIENT_CERT=c"}, "KAFKA_URL is not set, but the add-on's certificates are"},
		{[]string{"KAFKA_URL=, ,"}, "KAFKA_URL: names no broker"},
		{[]string{"KAFKA_URL=localhost:9092"}, `KAFKA_URL: scheme "localhost" is neither kafka+ssl nor kafka`},
		{[]string{"KAFKA_URL=http://h:1"}, `KAFKA_URL: scheme "http" is neither kafka+ssl nor kafka`},
		{[]string{"KAFKA_URL=kafka+ssl://a:1,kafka://b:1"}, "KAFKA_URL: mixes kafka+ssl and kafka"},
		{[]string{"KAFKA_URL=kafka://:9092"}, "KAFKA_URL: a URL has no host"},
		{[]string{"KAFKA_URL=kafka://u:secret@h:1"}, "KAFKA_URL: a URL has a user name; the add-on uses certificates"},
		{[]string{"KAFKA_URL=kafka://u:sec ret@h:1"}, "KAFKA_URL: not a list of URLs such as kafka+ssl://host:9096,kafka+ssl://host:9096"},
	} {
		c := config.Default()
		if err := configure(&c, "KAFKA", env(tt.env...)); err == nil || err.Error() != tt.want {
			t.Errorf("%v:\ngot  %v\nwant %s", tt.env, err, tt.want)
		}
	}
}

func TestPlaintextStandIn(t *testing.T) {
	c := config.Default()
	if err := configure(&c, "HEROKU_KAFKA_BLUE", env("HEROKU_KAFKA_BLUE_URL=kafka://localhost")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"localhost:9092"}, c.Brokers); diff != "" || c.SecurityProtocol != "" {
		t.Errorf("protocol %q, brokers (-want +got):\n%s", c.SecurityProtocol, diff)
	}
}

// Names without the prefix are reported with a warning, once the configuration is complete, and
// are used all the same.
func TestPrefix(t *testing.T) {
	loaded, err := config.Load(config.Options{
		NoFile:  true,
		Environ: []string{"RACECAR_GROUP_ID_PREFIX=columbia-68051."},
		Spec:    &config.SpecValues{Name: "GeoCodingConsumer", Topics: []string{"pageviews", "columbia-68051.clicks"}},
		Configure: []func(*racecar.Config) error{func(c *racecar.Config) error {
			return configure(c, "KAFKA", env("KAFKA_URL=kafka://localhost", "KAFKA_PREFIX=columbia-68051."))
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`GeoCodingConsumer: topic "pageviews" does not begin with KAFKA_PREFIX "columbia-68051.": subscribe to "columbia-68051.pageviews"`}
	if diff := cmp.Diff(want, loaded.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	got := loaded.Config.Review(racecar.Reviewed{Consumer: "C", Group: "c"})
	want = []string{`C: group "c" does not begin with KAFKA_PREFIX "columbia-68051.": set group_id_prefix to it`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// The certificates of the variables are usable, and their key is not shown.
func TestCertificates(t *testing.T) {
	ca := pki.Root(t, "ca-e23d6c12")
	client := ca.Issue("u1234")
	c := config.Default()
	err := configure(&c, "KAFKA", env("KAFKA_URL="+hosts, "KAFKA_TRUSTED_CERT="+string(ca.CertPEM())+string(pki.Root(t, "next").CertPEM()),
		"KAFKA_CLIENT_CERT="+string(client.CertPEM()), "KAFKA_CLIENT_CERT_KEY="+string(client.KeyPEM())))
	if err != nil {
		t.Fatal(err)
	}
	a, err := access.New(&c, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if strings.Contains(c.String(), "PRIVATE KEY") {
		t.Errorf("the key is shown: %v", c)
	}
}

// FuzzParseURLs checks that parseURLs never panics, that its brokers can be dialed, and that its
// errors do not quote what may be a password.
func FuzzParseURLs(f *testing.F) {
	for _, s := range []string{hosts, "kafka://localhost", "kafka://u:p@h:1", "kafka://[::1]:9", "kafka+ssl://a:1,kafka://b:2", ",,", "kafka://h:99999", "kafka://%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		brokers, _, err := parseURLs(list)
		if (err == nil) != (len(brokers) > 0) {
			t.Fatalf("%q: %v and %v", list, brokers, err)
		}
		back := addresses.Complete(brokers)
		if len(brokers) > 0 && !cmp.Equal(brokers, back) {
			t.Errorf("%q: brokers %q are taken as %q", list, brokers, back)
		}
	})
}
