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

// Access is how a process gets into the cluster: addresses, certificates,
// passwords, tickets and tokens. All clients of a process share one, so that it
// logs in to Kerberos once and not once for each client. It may be used
// concurrently.
type Access struct {
	c         *config.Config
	log       logrus.FieldLogger
	addresses []string // configured
	timeout   time.Duration
	security  security
	tls       *tlsSource // nil: plaintext
	mechanism mechanism  // nil: no SASL
	silences  *silences
	traffic   *traffic
	admitted  *atomic.Bool // a broker has let us in
}

// New checks the security settings and reads the files they name. Its error is
// permanent. Nothing is connected yet. log receives warnings, such as that a
// changed certificate cannot be used; nil: they are dropped.
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
		silences: newSilences(), traffic: &traffic{}, admitted: new(atomic.Bool),
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

// With returns an access with properties of `consumer` or `producer` in force. Unless
// they concern security, certificates and tickets remain shared.
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

// securitySettings are the settings that certificates and logins are made from.
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

// Config is the configuration that the access was made from, with the properties
// given to With.
func (a *Access) Config() *config.Config { return a.c }

// Addresses are the configured brokers as host:port.
func (a *Access) Addresses() ([]string, error) {
	if len(a.addresses) == 0 {
		return nil, &ConfigError{Key: "brokers", Problem: "no broker given: write host:port, several with commas between"}
	}
	return a.addresses, nil
}

// SocketTimeout is how long one request may take on a connection.
func (a *Access) SocketTimeout() time.Duration { return socketTimeout(a.c) }

func socketTimeout(c *config.Config) time.Duration {
	if c.SocketTimeout <= 0 {
		return 30 * time.Second // upstream's default
	}
	return c.SocketTimeout
}

// Admit notes that a broker has let us in before, in a process before this one.
func (a *Access) Admit() { a.admitted.Store(true) }

// Judge is given how an attempt to reach the broker at addr ended. Once a broker has
// let us in, our settings have been right: what is refused later is for others to
// correct (a certificate or a revocation list that was not renewed in time, an
// account that is locked), and passes.
func (a *Access) Judge(addr string, err error) error {
	if err == nil {
		a.admitted.Store(true)
		return nil
	}
	reason, key, final := Permanent(err)
	if !final || !a.admitted.Load() {
		return err
	}
	return &Error{Addr: addr, Key: key, Passes: true, Problem: strings.TrimPrefix(reason, "broker "+addr+": ")}
}

// Close forgets tickets. Clients that still use the access cannot connect anew.
func (a *Access) Close() {
	if a.mechanism != nil {
		a.mechanism.close()
	}
}

// security is what security_protocol says.
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
