package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A port that speaks another protocol than security_protocol says usually just closes
// the connection. The probes below find out which protocol it speaks, so that the user
// reads more than "EOF". They run once, when a client starts.

// mismatch returns an error if the port speaks TLS and we do not, or the reverse; nil: it
// does not, or that is unknown.
func (a *Access) mismatch(ctx context.Context, addr string, err error) *BrokerError {
	// We can tell for sure that a port does not speak TLS. What a port says without TLS
	// proves nothing.
	e := &BrokerError{Addr: addr, Key: "security_protocol", Err: err, Temporary: !a.security.tls}
	switch {
	case a.security.tls && speaksPlaintext(ctx, addr):
		e.Problem = "it does not speak TLS on this port: set security_protocol to " + a.security.protocolName(false, a.security.sasl) + ", or change the port"
	case !a.security.tls && speaksTLS(ctx, addr):
		e.Problem = "it speaks TLS on this port: set security_protocol to " + a.security.protocolName(true, a.security.sasl) + ", or change the port"
	default:
		return nil
	}
	return e
}

// protocolName is the name of a protocol.
func (security) protocolName(tls, sasl bool) string {
	switch {
	case tls && sasl:
		return "sasl_ssl"
	case sasl:
		return "sasl_plaintext"
	case tls:
		return "ssl"
	}
	return "plaintext"
}

// questionTimeout bounds each probe.
const questionTimeout = 2 * time.Second

// ask opens a connection and closes it after f.
func ask(ctx context.Context, addr string, f func(context.Context, net.Conn) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // of no use any more
	deadline, _ := ctx.Deadline()
	return conn.SetDeadline(deadline) == nil && f(ctx, conn)
}

func speaksPlaintext(ctx context.Context, addr string) bool {
	return ask(ctx, addr, func(_ context.Context, conn net.Conn) bool {
		w := Wire{Conn: conn, Addr: addr, Timeout: questionTimeout}
		return w.Call(kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrApiVersionsResponse()) == nil
	})
}

// speaksTLS trusts no authority: a certificate that it rejects shows that the port speaks TLS.
func speaksTLS(ctx context.Context, addr string) bool {
	return ask(ctx, addr, func(ctx context.Context, conn net.Conn) bool {
		host, _, _ := net.SplitHostPort(addr) //nolint:errcheck // it was dialed
		err := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: x509.NewCertPool()}).HandshakeContext(ctx)
		var refused *tls.CertificateVerificationError
		return errors.As(err, &refused)
	})
}

// wantsSASL asks for an authentication mechanism that does not exist: a port without
// authentication answers differently.
func (a *Access) wantsSASL(ctx context.Context, addr string) bool {
	return ask(ctx, addr, func(ctx context.Context, conn net.Conn) bool {
		if a.tls != nil {
			tc, err := a.tls.handshake(ctx, conn, addr)
			if err != nil {
				return false
			}
			conn = tc
		}
		w := Wire{Conn: conn, Addr: addr, ClientID: a.c.ClientID, Timeout: questionTimeout}
		_, ok := errors.AsType[*offersError](w.handshake("NONE"))
		return ok
	})
}
