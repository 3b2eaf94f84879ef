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

// mechanism is one way to prove to a broker who we are. It may be used concurrently.
type mechanism interface {
	// begin starts an authentication with the broker on host and returns the first
	// message to it. It may ask others than the broker, such as a KDC.
	begin(ctx context.Context, host string) (exchange, []byte, error)
	// close forgets what was kept between authentications.
	close()
}

// exchange is one authentication.
type exchange interface {
	// next is given the broker's answer to the message before and returns the next
	// message, or that there is none. An *Error is a broker that we do not trust.
	next(answer []byte) (message []byte, done bool, err error)
	// refused says which setting is to be corrected when the broker refuses us.
	refused() Error
}

// mechanisms are those that sasl_mechanism may name. A new one has a file of its own, a
// line here, and a word in the enumeration of that key.
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

// nameAndPassword returns sasl_username and sasl_password.
func nameAndPassword(c *config.Config) (username, password string, err error) {
	for _, setting := range []struct{ key, value string }{{"sasl_username", c.SASLUsername}, {"sasl_password", c.SASLPassword}} {
		if setting.value == "" {
			return "", "", &ConfigError{Key: setting.key, Problem: "missing: sasl_mechanism " + c.SASLMechanism + " needs it"}
		}
	}
	return c.SASLUsername, c.SASLPassword, nil
}

// wrongPassword is the refusal of mechanisms that take a name and a password.
func wrongPassword() Error {
	return Error{Key: "sasl_password", Problem: "wrong sasl_username or sasl_password"}
}

// authenticate does SASL on a new connection. It closes conn when it fails.
func (a *Access) authenticate(ctx context.Context, conn net.Conn, addr string, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends what waits for the broker
	defer stop()
	lifetime, err := a.login(ctx, &Wire{Conn: conn, Addr: addr, ClientID: a.c.ClientID, Timeout: patience})
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

// login is the exchange of messages (KIP-43, KIP-152). It returns how long the session
// lasts (KIP-368); 0: as long as the connection.
func (a *Access) login(ctx context.Context, w *Wire) (time.Duration, error) {
	host, _, err := net.SplitHostPort(w.Addr)
	if err != nil {
		return 0, err
	}
	if err := w.handshake(a.c.Mechanism()); err != nil {
		return 0, a.explainLogin(w.Addr, nil, err)
	}
	// Only now, when the broker has said that it takes tickets, a KDC is asked.
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

// explainLogin says what a failed authentication means; nil for nil. Only where TLS has
// shown that the broker is one its answer is final.
func (a *Access) explainLogin(addr string, x exchange, err error) error {
	e := &Error{Passes: a.tls == nil}
	var known *Error
	var offers *offersError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		e.Key, e.Problem = known.Key, known.Problem
		e.Passes = known.Passes || x != nil && e.Passes // what begin says is our own verdict
	case errors.As(err, &offers):
		e.Key = "sasl_mechanism"
		e.Problem = fmt.Sprintf("it does not offer sasl_mechanism %s: %s", a.c.Mechanism(), offers)
	case errors.Is(err, sarama.ErrIllegalSASLState):
		e.Key = "security_protocol"
		e.Problem = "it wants no authentication on this port: change security_protocol (to plaintext or ssl) or the port"
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed) && x != nil:
		refused := x.refused()
		e.Key, e.Problem, e.Passes = refused.Key, refused.Problem+saidBy(err), e.Passes || refused.Passes
	default:
		return err
	}
	e.Addr, e.Err = addr, err
	return e
}

// saidBy is what the broker answered beyond the error's number.
func saidBy(err error) string {
	s := strings.TrimSpace(strings.TrimPrefix(err.Error(), sarama.ErrSASLAuthenticationFailed.Error()))
	if s = strings.TrimLeft(s, ": "); s == "" {
		return ""
	}
	return " (the broker says: " + s + ")"
}
