package kafka

import (
	"context"
	"net"
	"strings"
	"sync/atomic"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// Access is how a process gets into the cluster: certificates, passwords,
// tickets and tokens. The clients of one process share one, so that it logs in
// to Kerberos once and not once for each client. It may be used concurrently.
type Access struct {
	c        *config.Config
	security security
	tls      *tlsSource    // nil: plaintext
	sasl     *saslSettings // nil: none
	kerberos *kerberos     // nil unless the mechanism is GSSAPI
	traffic  *traffic
	admitted *atomic.Bool // a broker has let us in
}

// judge is given how an attempt to reach the broker at addr ended. Once a broker has
// let us in, our settings have been right: what is refused later is for others to
// mend (a certificate or a revocation list that was not renewed in time, an account
// that is locked), and passes. a may be nil.
func (a *Access) judge(addr string, err error) error {
	if a == nil {
		return err
	}
	if err == nil {
		a.admitted.Store(true)
		return nil
	}
	reason, key, final := Permanent(err)
	if !final || !a.admitted.Load() {
		return err
	}
	return &AccessError{Addr: addr, Key: key, Passes: true, Problem: strings.TrimPrefix(reason, "broker "+addr+": ")}
}

// NewAccess checks the security settings and reads the files they name. Its
// error is permanent. Nothing is connected yet.
func NewAccess(c *config.Config) (*Access, error) {
	sec, err := parseSecurity(c.SecurityProtocol)
	if err != nil {
		return nil, err
	}
	a := &Access{c: c, security: sec, traffic: &traffic{}, admitted: new(atomic.Bool)}
	if sec.tls {
		if a.tls, err = newTLSSource(c); err != nil {
			return nil, err
		}
	}
	if sec.sasl {
		if a.sasl, err = newSASL(c); err != nil {
			return nil, err
		}
		if a.sasl.mechanism == sarama.SASLTypeGSSAPI {
			if a.kerberos, err = newKerberos(c); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// Admit notes that a broker has let us in before, in a process before this one.
func (a *Access) Admit() { a.admitted.Store(true) }

// refusal words an error of a connection that sarama authenticates, without asking
// the broker again. a may be nil.
func (a *Access) refusal(addr string, err error) error {
	if a == nil || a.sasl == nil {
		return err
	}
	return a.judge(addr, explainSASL(addr, a.sasl.mechanism, a.tls != nil, err))
}

// Close forgets tickets. Clients that still use the access cannot connect anew.
func (a *Access) Close() {
	if a.kerberos != nil {
		a.kerberos.close()
	}
}

// secure makes a connection one that Kafka's requests can be sent on.
func (a *Access) secure(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	if a.tls != nil {
		tc, err := a.tls.handshake(ctx, conn, addr)
		if err != nil {
			return nil, err
		}
		conn = tc
	}
	if a.kerberos != nil {
		kc, err := a.kerberos.authenticate(ctx, conn, addr, a.c.ClientID)
		if err != nil {
			return nil, err
		}
		conn = kc
	}
	return conn, nil
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
