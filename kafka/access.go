package kafka

import (
	"context"
	"net"

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
}

// NewAccess checks the security settings and reads the files they name. Its
// error is permanent. Nothing is connected yet.
func NewAccess(c *config.Config) (*Access, error) {
	sec, err := parseSecurity(c.SecurityProtocol)
	if err != nil {
		return nil, err
	}
	a := &Access{c: c, security: sec, traffic: &traffic{}}
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
