package access

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

// tlsCluster is an embedded broker that speaks TLS.
func tlsCluster(t *testing.T, server *pki.Pair, change ...func(*tls.Config)) *kfake.Cluster {
	t.Helper()
	conf := tlsConfig(server)
	for _, f := range change {
		f(conf)
	}
	return fakeCluster(t, kfake.TLS(conf), kfake.SeedTopics(1, "greetings"))
}

func tlsConfig(server *pki.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{server.TLS()}}
}

// clientsOf makes a broker insist on a certificate signed by ca.
func clientsOf(ca *pki.Pair) func(*tls.Config) {
	return func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	}
}

// tlsSettings are settings for a cluster whose authority is ca.
func tlsSettings(t *testing.T, cluster *kfake.Cluster, ca *pki.Pair) *config.Config {
	t.Helper()
	c := settings(cluster.ListenAddrs()...)
	c.SecurityProtocol = "ssl"
	c.SSLCALocation = pki.File(t, "ca.pem", ca.CertPEM())
	return c
}

// identify sets our certificate.
func identify(t *testing.T, c *config.Config, client *pki.Pair) {
	t.Helper()
	c.SSLCertificateLocation = pki.File(t, "client.pem", client.CertPEM())
	c.SSLKeyLocation = pki.File(t, "client.key", client.KeyPEM())
}

func TestTLS(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	servers := ca.Intermediate("Servers")
	clients := ca.Intermediate("Clients")
	client := clients.Issue("worker")
	cluster := tlsCluster(t, servers.Issue("broker"), clientsOf(ca))

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaClient := clients.IssueFor(rsaKey, "worker")
	ecDER, err := x509.MarshalECPrivateKey(client.Key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	encrypted := func(opts *pkcs8.Opts) string {
		der, err := pkcs8.MarshalPrivateKey(client.Key, []byte("secret"), opts)
		if err != nil {
			t.Fatal(err)
		}
		return pemFile(t, "ENCRYPTED PRIVATE KEY", der)
	}
	keystore := func(e *pkcs12.Encoder) string {
		data, err := e.Encode(client.Key, client.Cert, append(client.Chain, ca.Cert), "secret")
		if err != nil {
			t.Fatal(err)
		}
		return pki.File(t, "client.p12", data)
	}
	certificate := pki.File(t, "client.pem", client.CertPEM())

	for _, tt := range []struct {
		name string
		set  func(*config.Config)
	}{
		{"key in PKCS#8", func(c *config.Config) {
			c.SSLCertificateLocation, c.SSLKeyLocation = certificate, pki.File(t, "client.key", client.KeyPEM())
		}},
		{"key in PKCS#8, encrypted", func(c *config.Config) {
			c.SSLCertificateLocation, c.SSLKeyLocation, c.SSLKeyPassword = certificate, encrypted(nil), "secret"
		}},
		{"key in PKCS#8, encrypted with scrypt", func(c *config.Config) {
			c.SSLCertificateLocation, c.SSLKeyPassword = certificate, "secret"
			c.SSLKeyLocation = encrypted(&pkcs8.Opts{Cipher: pkcs8.AES128CBC,
				KDFOpts: pkcs8.ScryptOpts{SaltSize: 8, CostParameter: 1 << 10, BlockSize: 8, ParallelizationParameter: 1}})
		}},
		{"traditional EC key", func(c *config.Config) {
			c.SSLCertificateLocation, c.SSLKeyLocation = certificate, pemFile(t, "EC PRIVATE KEY", ecDER)
		}},
		{"traditional EC key, encrypted", func(c *config.Config) {
			c.SSLCertificateLocation, c.SSLKeyPassword = certificate, "secret"
			c.SSLKeyLocation = traditionalKey(t, "EC PRIVATE KEY", ecDER, x509.PEMCipherAES256)
		}},
		{"traditional RSA key, encrypted", func(c *config.Config) {
			c.SSLCertificateLocation = pki.File(t, "rsa.pem", rsaClient.CertPEM())
			c.SSLKeyLocation = traditionalKey(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), x509.PEMCipher3DES)
			c.SSLKeyPassword = "secret"
		}},
		{"certificate and key in one file", func(c *config.Config) {
			both := pki.File(t, "both.pem", append(client.KeyPEM(), client.CertPEM()...))
			c.SSLCertificateLocation, c.SSLKeyLocation = both, both
		}},
		{"in PEM, without files", func(c *config.Config) {
			c.SSLCALocation, c.SSLCAPEM = "", string(ca.CertPEM())
			c.SSLCertificatePEM, c.SSLKeyPEM = string(client.CertPEM()), string(client.KeyPEM())
		}},
		{"keystore, modern", func(c *config.Config) {
			c.SSLKeystoreLocation, c.SSLKeystorePassword = keystore(pkcs12.Modern2023), "secret"
		}},
		{"keystore, legacy", func(c *config.Config) {
			c.SSLKeystoreLocation, c.SSLKeystorePassword = keystore(pkcs12.LegacyRC2), "secret"
		}},
		{"directory of authorities", func(c *config.Config) {
			identify(t, c, client)
			dir := t.TempDir()
			for name, data := range map[string][]byte{
				"README": []byte("not a certificate"), "0a1b2c3d.0": pki.Root(t, "Other CA").CertPEM(), "ca.crt": ca.CertPEM(),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.SSLCALocation = dir
		}},
		{"revocation lists", func(c *config.Config) {
			identify(t, c, client)
			others := servers.Issue("revoked")
			c.SSLCRLLocation = pki.File(t, "crl.pem",
				append(ca.CRL(pki.Revocation{}), servers.CRL(pki.Revocation{Revoked: []*pki.Pair{others}})...))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tlsSettings(t, cluster, ca)
			tt.set(c)
			if err := try(t, c); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTLSNameNotVerified(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	c := tlsSettings(t, tlsCluster(t, ca.Issue("broker", pki.Hosts("elsewhere"))), ca)
	c.SSLVerifyHostname = false
	if err := try(t, c); err != nil {
		t.Error(err)
	}
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return pki.File(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// traditionalKey is a key encrypted with the password "secret" as OpenSSL did it
// before PKCS#8.
func traditionalKey(t *testing.T, kind string, der []byte, cipher x509.PEMCipher) string {
	t.Helper()
	block, err := x509.EncryptPEMBlock(rand.Reader, kind, der, []byte("secret"), cipher) //nolint:staticcheck // what is tested
	if err != nil {
		t.Fatal(err)
	}
	return pki.File(t, "key.pem", pem.EncodeToMemory(block))
}

// Each wrong certificate, key or list gives one line that says what to change.
func TestTLSProblems(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	servers := ca.Intermediate("Servers")
	server := servers.Issue("broker")
	client := ca.Issue("worker")
	other := pki.Root(t, "Other CA")
	day := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.DateOnly) }

	plainTLS := tlsCluster(t, server)
	mutual := tlsCluster(t, server, clientsOf(ca))
	plaintext := fakeCluster(t)
	dir := t.TempDir()
	encrypted, err := pkcs8.MarshalPrivateKey(client.Key, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	keystore, err := pkcs12.Modern2023.Encode(client.Key, client.Cert, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name    string
		cluster *kfake.Cluster
		set     func(*config.Config)
		key     string
		want    string // ADDR and DIR stand for the broker's address and the test's directory
	}{
		{"unknown authority", plainTLS, func(c *config.Config) { c.SSLCALocation = pki.File(t, "other.pem", other.CertPEM()) },
			"ssl_ca_location", "broker ADDR: its certificate (CN=Servers) is signed by an authority that we do not trust (CN=Test CA): set ssl_ca_location to that authority's certificate"},
		{"unknown authority, name not verified", plainTLS, func(c *config.Config) {
			c.SSLCALocation, c.SSLVerifyHostname = pki.File(t, "other.pem", other.CertPEM()), false
		}, "ssl_ca_location", "broker ADDR: its certificate (CN=Servers) is signed by an authority that we do not trust (CN=Test CA): set ssl_ca_location to that authority's certificate"},
		{"wrong name", tlsCluster(t, servers.Issue("broker", pki.Hosts("kafka1.example.com", "10.0.0.1"))), nil,
			"brokers", "broker ADDR: its certificate is for kafka1.example.com, 10.0.0.1, not for 127.0.0.1: use a name of the certificate in brokers (and in the broker's advertised.listeners), or set ssl_verify_hostname to false"},
		{"expired", tlsCluster(t, servers.Issue("broker", pki.Expired)), nil,
			"", "broker ADDR: its certificate (CN=broker) expired on " + day(-time.Hour) + ": renew it at the broker"},
		{"revoked", plainTLS, func(c *config.Config) {
			c.SSLCRLLocation = pki.File(t, "crl.pem", append(ca.CRL(pki.Revocation{}), servers.CRL(pki.Revocation{Revoked: []*pki.Pair{server}})...))
		}, "ssl_crl_location", "broker ADDR: the broker's certificate (CN=broker, serial " + server.Cert.SerialNumber.String() + ") was revoked on " + day(-2*time.Hour) + " (ssl_crl_location)"},
		{"revoked, name not verified", plainTLS, func(c *config.Config) {
			c.SSLVerifyHostname = false
			c.SSLCRLLocation = pki.File(t, "crl.pem", append(ca.CRL(pki.Revocation{}), servers.CRL(pki.Revocation{Revoked: []*pki.Pair{server}})...))
		}, "ssl_crl_location", "broker ADDR: the broker's certificate (CN=broker, serial " + server.Cert.SerialNumber.String() + ") was revoked on " + day(-2*time.Hour) + " (ssl_crl_location)"},
		{"intermediate revoked", plainTLS, func(c *config.Config) {
			c.SSLCRLLocation = pki.File(t, "crl.pem", append(ca.CRL(pki.Revocation{Revoked: []*pki.Pair{servers}}), servers.CRL(pki.Revocation{})...))
		}, "ssl_crl_location", "broker ADDR: the broker's certificate (CN=Servers, serial " + servers.Cert.SerialNumber.String() + ") was revoked on " + day(-2*time.Hour) + " (ssl_crl_location)"},
		{"list expired", plainTLS, func(c *config.Config) {
			c.SSLCRLLocation = pki.File(t, "crl.pem", append(ca.CRL(pki.Revocation{}), servers.CRL(pki.Revocation{Expired: true})...))
		}, "ssl_crl_location", "broker ADDR: ssl_crl_location: the list of CN=Servers expired on " + day(-time.Hour) + ": fetch a current one"},
		{"no list of one authority", plainTLS, func(c *config.Config) {
			c.SSLCRLLocation = pki.File(t, "crl.pem", servers.CRL(pki.Revocation{}))
		}, "ssl_crl_location", "broker ADDR: ssl_crl_location: no list of CN=Test CA, which signed a certificate of the broker's chain"},
		{"list of an impostor", plainTLS, func(c *config.Config) {
			c.SSLCRLLocation = pki.File(t, "crl.pem", pki.Root(t, "Servers").CRL(pki.Revocation{}))
		}, "ssl_crl_location", "broker ADDR: ssl_crl_location: the list of CN=Servers is not signed by that authority: x509: ECDSA verification failure"},
		{"delta list", plainTLS, func(c *config.Config) {
			delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
			c.SSLCRLLocation = filepath.Join(dir, "delta.pem")
			overwrite(t, c.SSLCRLLocation, ca.CRL(pki.Revocation{Extra: []pkix.Extension{delta}}))
		}, "ssl_crl_location", `ssl_crl_location: "DIR/delta.pem": the list of CN=Test CA is a delta list, which is not supported: use the complete one`},
		{"not a list", plainTLS, func(c *config.Config) { c.SSLCRLLocation = c.SSLCALocation },
			"ssl_crl_location", `ssl_crl_location: "CA": no certificate revocation list (-----BEGIN X509 CRL-----) found`},

		{"no certificate of ours", mutual, nil,
			"ssl_certificate_location", "broker ADDR: it wants a certificate from us: set ssl_certificate_location and ssl_key_location, or ssl_keystore_location"},
		{"our certificate of another authority", mutual, func(c *config.Config) { identify(t, c, other.Issue("worker")) },
			"ssl_certificate_location", "broker ADDR: it refuses our certificate: it does not know its authority: set ssl_certificate_location (or ssl_keystore_location) to one of an authority that it trusts"},
		{"our certificate expired", mutual, func(c *config.Config) { identify(t, c, ca.Issue("worker", pki.Expired)) },
			"ssl_certificate_location", "ssl_certificate_location: our certificate (CN=worker) expired on " + day(-time.Hour) + ": renew it"},
		{"key of another certificate", mutual, func(c *config.Config) {
			identify(t, c, client)
			c.SSLKeyLocation = filepath.Join(dir, "other.key")
			overwrite(t, c.SSLKeyLocation, other.KeyPEM())
		}, "ssl_key_location", `ssl_key_location: "DIR/other.key": the private key does not belong to the certificate (CN=worker)`},
		{"key encrypted, no password", mutual, func(c *config.Config) {
			identify(t, c, client)
			c.SSLKeyLocation = filepath.Join(dir, "encrypted.key")
			overwrite(t, c.SSLKeyLocation, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted}))
		}, "ssl_key_password", `ssl_key_password: missing: the key in "DIR/encrypted.key" is encrypted`},
		{"key encrypted, wrong password", mutual, func(c *config.Config) {
			identify(t, c, client)
			c.SSLKeyLocation, c.SSLKeyPassword = filepath.Join(dir, "encrypted.key"), "wrong"
		}, "ssl_key_password", `ssl_key_password: wrong password for "DIR/encrypted.key"`},
		{"traditional key, wrong password", mutual, func(c *config.Config) {
			identify(t, c, client)
			der, err := x509.MarshalECPrivateKey(client.Key.(*ecdsa.PrivateKey))
			if err != nil {
				t.Fatal(err)
			}
			c.SSLKeyLocation, c.SSLKeyPassword = traditionalKey(t, "EC PRIVATE KEY", der, x509.PEMCipherAES128), "wrong"
		}, "ssl_key_password", `ssl_key_password: wrong password for "KEY"`},
		{"keystore, wrong password", mutual, func(c *config.Config) {
			c.SSLKeystoreLocation, c.SSLKeystorePassword = filepath.Join(dir, "client.p12"), "wrong"
			overwrite(t, c.SSLKeystoreLocation, keystore)
		}, "ssl_keystore_password", `ssl_keystore_password: wrong password for "DIR/client.p12"`},
		{"not a keystore", mutual, func(c *config.Config) { c.SSLKeystoreLocation = c.SSLCALocation },
			"ssl_keystore_location", `ssl_keystore_location: "CA": pkcs12: error reading P12 data: asn1: structure error: tags don't match (16 vs {class:0 tag:13 length:45 isCompound:true}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} pfxPdu @2`},
		{"keystore and certificate", mutual, func(c *config.Config) { identify(t, c, client); c.SSLKeystoreLocation = "client.p12" },
			"ssl_keystore_location", "ssl_keystore_location: set besides a certificate or key of its own: use the one or the other"},
		{"certificate without key", mutual, func(c *config.Config) { c.SSLCertificateLocation = c.SSLCALocation },
			"ssl_key_location", "ssl_key_location: missing: a certificate is set, its private key is not"},
		{"key without certificate", mutual, func(c *config.Config) { c.SSLKeyLocation = c.SSLCALocation },
			"ssl_certificate_location", "ssl_certificate_location: missing: a private key is set, its certificate is not"},
		{"no such file", plainTLS, func(c *config.Config) { c.SSLCALocation = filepath.Join(dir, "missing.pem") },
			"ssl_ca_location", "ssl_ca_location: stat DIR/missing.pem: no such file or directory"},
		{"no certificate in it", plainTLS, func(c *config.Config) { c.SSLCALocation = "tls_test.go" },
			"ssl_ca_location", `ssl_ca_location: "tls_test.go": no certificate in PEM format (-----BEGIN CERTIFICATE-----) found`},
		{"empty directory", plainTLS, func(c *config.Config) {
			c.SSLCALocation = filepath.Join(dir, "empty")
			_ = os.Mkdir(c.SSLCALocation, 0o700)
		},
			"ssl_ca_location", `ssl_ca_location: no certificate in PEM format in directory "DIR/empty"`},

		{"TLS to a plaintext port", plaintext, func(c *config.Config) { c.SocketTimeout = 500 * time.Millisecond },
			"security_protocol", "broker ADDR: it does not speak TLS on this port: set security_protocol to plaintext, or change the port"},
		{"unknown protocol", plainTLS, func(c *config.Config) { c.SecurityProtocol = "tls" },
			"security_protocol", `security_protocol: "tls" is unknown: use plaintext, ssl, sasl_plaintext or sasl_ssl`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tlsSettings(t, tt.cluster, ca)
			if tt.set != nil {
				tt.set(c)
			}
			want := strings.NewReplacer("ADDR", tt.cluster.ListenAddrs()[0], "DIR", dir, `"CA"`, quoted(c.SSLCALocation), `"KEY"`, quoted(c.SSLKeyLocation)).Replace(tt.want)
			err := try(t, c)
			reason, key, ok := Permanent(err)
			if !ok {
				t.Fatalf("not permanent: %v", err)
			}
			if reason != want {
				t.Errorf("got  %s\nwant %s", reason, want)
			}
			if key != tt.key {
				t.Errorf("key %q, want %q", key, tt.key)
			}
		})
	}
}

// Anybody can send an alert before the handshake is done: it is reported as temporary.
func TestAlertDuringHandshakeIsTemporary(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	cluster := tlsCluster(t, ca.Issue("broker"), clientsOf(ca), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	err := try(t, tlsSettings(t, cluster, ca))
	if reason, _, final := Permanent(err); final {
		t.Errorf("permanent: %s", reason)
	}
	const want = "it ended the TLS handshake: perhaps it wants a certificate from us (ssl_certificate_location), or has no cipher in common with us"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// One broker whose certificate has expired takes nobody down while another lets us in.
func TestOneBrokerWithAnExpiredCertificate(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	bad := tlsCluster(t, ca.Issue("broker", pki.Expired))
	good := tlsCluster(t, ca.Issue("broker"))
	c := tlsSettings(t, bad, ca)
	if _, _, final := Permanent(try(t, c)); !final {
		t.Error("a certificate that has expired at the only broker passes at the start")
	}
	c.Brokers = append(c.Brokers, good.ListenAddrs()...)
	for range 10 { // they are asked in random order
		if err := try(t, c); err != nil {
			t.Fatal(err)
		}
	}
	c.Brokers[1] = closedPort(t)
	if reason, _, final := Permanent(try(t, c)); final {
		t.Errorf("permanent though the other broker is only away: %s", reason)
	}
}

// Once a broker has let us in, what is refused later is for others to renew, and passes.
func TestRefusalsAreTemporaryOnceABrokerHasAcceptedUs(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	good := tlsCluster(t, ca.Issue("broker"))
	c := tlsSettings(t, good, ca)
	c.SSLCRLLocation = pki.File(t, "crl.pem", ca.CRL(pki.Revocation{}))
	a, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	connect := func() error { return a.Connect(testContext(t)) }
	if err := connect(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, c.SSLCRLLocation, ca.CRL(pki.Revocation{Expired: true})) // nobody fetched the next in time
	err = connect()
	if reason, _, final := Permanent(err); err == nil || final || !strings.Contains(err.Error(), "fetch a current one") {
		t.Errorf("got %v (%s), want a refusal that passes", err, reason)
	}
	overwrite(t, c.SSLCRLLocation, ca.CRL(pki.Revocation{}))
	if err := connect(); err != nil {
		t.Errorf("with a current list: %v", err)
	}
}

// Files that changed are used for the next connection, without a restart; those
// that cannot be used leave the old in force and are complained about.
func TestTLSRotation(t *testing.T) {
	old, renewed := pki.Root(t, "Old CA"), pki.Root(t, "New CA")
	server := renewed.Issue("broker")
	cluster := tlsCluster(t, server, clientsOf(renewed))
	c := tlsSettings(t, cluster, old)
	identify(t, c, old.Issue("worker"))
	log, logged := captureLog()
	a, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	connect := func() error { return a.Connect(testContext(t)) }
	if err := connect(); err == nil {
		t.Fatal("a broker of an unknown authority was trusted")
	}
	client := renewed.Issue("worker")
	overwrite(t, c.SSLCALocation, renewed.CertPEM())
	overwrite(t, c.SSLCertificateLocation, client.CertPEM())
	if err := connect(); err == nil { // certificate and key do not fit: all stays as it was
		t.Fatal("half a rotation was used")
	}
	if said := logged.String(); !strings.Contains(said, "changed TLS files cannot be used, the old are kept") ||
		!strings.Contains(said, "the private key does not belong to the certificate (CN=worker)") {
		t.Errorf("no warning in the log: %s", said)
	}
	overwrite(t, c.SSLKeyLocation, client.KeyPEM())
	if err := connect(); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

// A file that replaces another within a tick of the file system's clock has the other's
// time, and may have its size.
func TestTLSRotationShowsInTheContentAlone(t *testing.T) {
	old, renewed := pki.Root(t, "Old CA"), pki.Root(t, "New CA")
	size := max(len(old.CertPEM()), len(renewed.CertPEM()))
	padded := func(pem []byte) []byte { return append(pem, strings.Repeat("\n", size-len(pem))...) }
	c := tlsSettings(t, tlsCluster(t, renewed.Issue("broker")), old)
	overwrite(t, c.SSLCALocation, padded(old.CertPEM()))
	before, err := os.Stat(c.SSLCALocation)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := captureLog()
	a, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Connect(testContext(t)); err == nil {
		t.Fatal("a broker of an unknown authority was trusted")
	}
	overwrite(t, c.SSLCALocation, padded(renewed.CertPEM()))
	if err := os.Chtimes(c.SSLCALocation, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := a.Connect(testContext(t)); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}
