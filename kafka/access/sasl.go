package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// mechanisms are the values of sasl_mechanism. A new mechanism needs a file, a
// line here, and a word in that key's enumeration.
var mechanisms = map[string]func(*config.Config, logrus.FieldLogger) (mechanism, error){
	"GSSAPI":        newKerberos,
	"OAUTHBEARER":   newOAuthBearer,
	"PLAIN":         newPlain,
	"SCRAM-SHA-256": newScram256,
	"SCRAM-SHA-512": newScram512,
}

// newMechanism checks the settings; its error is permanent.
func newMechanism(c *config.Config, log logrus.FieldLogger) (mechanism, error) {
	if make, ok := mechanisms[c.Mechanism()]; ok {
		return make(c, log)
	}
	return nil, &ConfigError{Key: "sasl_mechanism",
		Problem: fmt.Sprintf("%q is unknown: use one of %s", c.SASLMechanism, strings.Join(slices.Sorted(maps.Keys(mechanisms)), ", "))}
}

// authenticate does SASL on a new connection. It closes conn when it fails.
func (a *Access) authenticate(ctx context.Context, conn net.Conn, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	lifetime, err := a.login(ctx, &Wire{Conn: conn, Addr: addr, ClientID: a.c.ClientID, Timeout: timeout})
	if err != nil {
		_ = conn.Close() // the error of the exchange is the one to report
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
			err = cause
		}
		return nil, err
	}
	return newSessionConn(conn, lifetime, func() (time.Duration, error) {
		ctx, cancel := context.WithTimeout(context.Background(), a.timeout)
		defer cancel()
		return a.login(ctx, &Wire{Conn: conn, Addr: addr, ClientID: a.c.ClientID, Timeout: a.timeout})
	}), nil
}

// login exchanges the messages of an authentication (KIP-43, KIP-152). It returns the
// session's lifetime (KIP-368); 0: the session lasts as long as the connection. The end of
// ctx closes the connection.
func (a *Access) login(ctx context.Context, w *Wire) (time.Duration, error) {
	stop := context.AfterFunc(ctx, func() { _ = w.Conn.Close() }) // ends what waits for the broker
	defer stop()
	host, _, err := net.SplitHostPort(w.Addr)
	if err != nil {
		return 0, err
	}
	if err := w.handshake(a.c.Mechanism()); err != nil {
		return 0, a.explainLogin(w.Addr, nil, err)
	}
	// After the handshake: a KDC is not asked if the broker does not offer GSSAPI.
	x, message, err := a.mechanism.begin(ctx, host)
	if err != nil {
		return 0, a.explainLogin(w.Addr, nil, err)
	}
	for {
		answer, lifetime, err := w.authenticate(message)
		if err != nil {
			return 0, a.explainLogin(w.Addr, x, err)
		}
		var done bool
		if message, done, err = x.next(answer); err != nil || done {
			return lifetime, a.explainLogin(w.Addr, x, err)
		}
	}
}

// explainLogin explains a failed authentication; nil stays nil. A rejection is permanent
// only over TLS: otherwise nothing proves that a broker sent it.
func (a *Access) explainLogin(addr string, x exchange, err error) error {
	e := &BrokerError{Temporary: a.tls == nil}
	var known *BrokerError
	var offers *offersError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		e.Key, e.Problem = known.Key, known.Problem
		e.Temporary = known.Temporary || x != nil && e.Temporary // errors of begin are our own
	case errors.As(err, &offers):
		e.Key = "sasl_mechanism"
		e.Problem = fmt.Sprintf("it does not offer sasl_mechanism %s: %s", a.c.Mechanism(), offers)
	case errors.Is(err, sarama.ErrIllegalSASLState):
		e.Key = "security_protocol"
		e.Problem = "it wants no authentication on this port: change security_protocol (to plaintext or ssl) or the port"
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed) && x != nil:
		refused := x.refused()
		e.Key, e.Problem, e.Temporary = refused.Key, refused.Problem+brokerMessage(err), e.Temporary || refused.Temporary
	default:
		return err
	}
	e.Addr, e.Err = addr, err
	return e
}

// brokerMessage is the broker's message that follows the error code.
func brokerMessage(err error) string {
	s := strings.TrimSpace(strings.TrimPrefix(err.Error(), sarama.ErrSASLAuthenticationFailed.Error()))
	if s = strings.TrimLeft(s, ": "); s == "" {
		return ""
	}
	return " (the broker says: " + s + ")"
}
