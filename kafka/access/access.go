package access

import (
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/addresses"
)

// Access holds what a process needs to connect to the cluster: addresses, certificates,
// passwords, tickets and tokens. All clients of a process share one Access, so that the
// process logs in to Kerberos once and not once for each client. It is safe for
// concurrent use.
type Access struct {
	c             *config.Config
	log           logrus.FieldLogger
	addresses     []string // configured
	timeout       time.Duration
	security      security
	tls           *tlsSource // nil: plaintext
	mechanism     mechanism  // nil: no SASL
	firstTimeouts *firstTimeouts
	traffic       *saramaMetrics
	admitted      *atomic.Bool // a broker has accepted us
}

// New checks the security settings and reads the files they name; it connects to
// nothing. Its error is permanent. log receives warnings, such as that a changed
// certificate cannot be used; with nil they are dropped.
func New(c *config.Config, log logrus.FieldLogger) (*Access, error) {
	sec, err := parseSecurity(c.SecurityProtocol)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = discard()
	}
	a := &Access{
		c: c, log: log, addresses: addresses.Complete(c.Brokers), timeout: socketTimeout(c), security: sec,
		firstTimeouts: newFirstTimeouts(), traffic: &saramaMetrics{}, admitted: new(atomic.Bool),
	}
	if sec.tls {
		if a.tls, err = newTLSSource(c, log); err != nil {
			return nil, err
		}
	}
	if sec.sasl {
		a.mechanism, err = newMechanism(c, log)
	}
	return a, err
}

// With returns an Access that applies properties of `consumer` or `producer`. Unless they
// concern security, both share certificates and tickets.
func (a *Access) With(props config.Properties) (*Access, error) {
	if len(props.Keys()) == 0 && props.ConnectTimeout == 0 {
		return a, nil
	}
	c := props.Apply(*a.c)
	b := *a
	if securitySettings(&c) != securitySettings(a.c) {
		other, err := New(&c, a.log)
		if err != nil {
			return nil, err
		}
		b = *other
	}
	b.c, b.addresses, b.timeout = &c, addresses.Complete(c.Brokers), socketTimeout(&c)
	if props.ConnectTimeout > 0 {
		b.timeout = props.ConnectTimeout
	}
	return &b, nil
}

// securitySettings are the settings that TLS and logins depend on.
func securitySettings(c *config.Config) any {
	return struct {
		protocol, mechanism, user, password, tokenFile string
		service, principal, kinit, keytab              string
		relogin                                        time.Duration
		files                                          tlsFiles
	}{
		c.SecurityProtocol, c.SASLMechanism, c.SASLUsername, c.SASLPassword, c.SASLOAuthBearerTokenFile,
		c.SASLKerberosServiceName, c.SASLKerberosPrincipal, c.SASLKerberosKinitCmd, c.SASLKerberosKeytab,
		c.SASLKerberosMinTimeBeforeRelogin, newTLSFiles(c),
	}
}

// Config is the configuration given to New, with the properties given to With.
func (a *Access) Config() *config.Config { return a.c }

// Addresses are the configured brokers as host:port.
func (a *Access) Addresses() ([]string, error) {
	if len(a.addresses) == 0 {
		return nil, &ConfigError{Key: "brokers", Problem: "no broker given: write host:port, several with commas between"}
	}
	return a.addresses, nil
}

// SocketTimeout bounds one request on a connection.
func (a *Access) SocketTimeout() time.Duration { return socketTimeout(a.c) }

func socketTimeout(c *config.Config) time.Duration {
	if c.SocketTimeout <= 0 {
		return 30 * time.Second // upstream's default
	}
	return c.SocketTimeout
}

// Admit records that a broker has accepted these settings in an earlier process.
func (a *Access) Admit() { a.admitted.Store(true) }

// NoteResult takes the result of an attempt to connect to the broker at addr. Once a broker has
// accepted us, our settings were right: a later refusal is for others to correct (a
// certificate or a revocation list that was not renewed in time, a locked account), so
// NoteResult makes it temporary.
func (a *Access) NoteResult(addr string, err error) error {
	if err == nil {
		a.admitted.Store(true)
		return nil
	}
	reason, key, final := Permanent(err)
	if !final || !a.admitted.Load() {
		return err
	}
	return &BrokerError{Addr: addr, Key: key, Temporary: true, Problem: strings.TrimPrefix(reason, "broker "+addr+": ")}
}

// Close drops the tickets. Clients that still use the Access cannot open new connections.
func (a *Access) Close() {
	if a.mechanism != nil {
		a.mechanism.close()
	}
}

// security is security_protocol, parsed.
type security struct{ tls, sasl bool }

func parseSecurity(protocol string) (security, error) {
	switch protocol {
	case "", "plaintext":
		return security{}, nil
	case "ssl":
		return security{tls: true}, nil
	case "sasl_plaintext":
		return security{sasl: true}, nil
	case "sasl_ssl":
		return security{tls: true, sasl: true}, nil
	}
	return security{}, &ConfigError{Key: "security_protocol",
		Problem: quoted(protocol) + " is unknown: use plaintext, ssl, sasl_plaintext or sasl_ssl"}
}

func discard() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}
