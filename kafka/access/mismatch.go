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

// A port that speaks another protocol than security_protocol says mostly just
// closes the connection. So as not to leave the user with "EOF", the questions
// below find out what it does speak. They are asked once, when a client starts.

// mismatch tells whether the port speaks TLS when we do not, or does not when we
// do. nil: no, or not known.
func (a *Access) mismatch(ctx context.Context, addr string, err error) *Error {
	// That a port does not speak TLS is our verdict, as on a certificate. What one
	// says without TLS is nobody's.
	e := &Error{Addr: addr, Key: "security_protocol", Err: err, Passes: !a.security.tls}
	switch {
	case a.security.tls && speaksPlaintext(ctx, addr):
		e.Problem = "it does not speak TLS on this port: set security_protocol to " + a.security.with(false, a.security.sasl) + ", or change the port"
	case !a.security.tls && speaksTLS(ctx, addr):
		e.Problem = "it speaks TLS on this port: set security_protocol to " + a.security.with(true, a.security.sasl) + ", or change the port"
	default:
		return nil
	}
	return e
}

// with is the name of a protocol.
func (security) with(tls, sasl bool) string {
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

// questionTimeout bounds each question.
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

// speaksTLS trusts nobody, so that a certificate it gets to see is refused.
func speaksTLS(ctx context.Context, addr string) bool {
	return ask(ctx, addr, func(ctx context.Context, conn net.Conn) bool {
		host, _, _ := net.SplitHostPort(addr) //nolint:errcheck // it was dialed
		err := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: x509.NewCertPool()}).HandshakeContext(ctx)
		var refused *tls.CertificateVerificationError
		return errors.As(err, &refused)
	})
}

// wantsSASL asks for an authentication mechanism that does not exist: a port that
// wants none at all answers in another way.
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
