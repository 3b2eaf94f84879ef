package access

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

// ConfigError is a setting that cannot work. It is permanent.
type ConfigError struct {
	Key     string // as the user typed it, e.g. "ssl_ca_location"
	Problem string // what is wrong and what to do
	Err     error  // the cause, or nil
}

func (e *ConfigError) Error() string {
	if e.Err == nil {
		return e.Key + ": " + e.Problem
	}
	if e.Problem == "" {
		return fmt.Sprintf("%s: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Key, e.Problem, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

// UnreachableError reports that no broker answered. It is temporary: brokers come back.
type UnreachableError struct {
	// Addrs are the addresses tried, Errs the error of each.
	Addrs []string
	Errs  []error
	// Advertised is an address that the brokers advertised and that does not answer
	// either, with its error; empty when none was tried.
	Advertised    string
	AdvertisedErr error
}

func (e *UnreachableError) Error() string {
	parts := make([]string, len(e.Addrs))
	for i, addr := range e.Addrs {
		parts[i] = addr + " (" + brief(e.Errs[i], addr) + ")"
	}
	text := "no broker reachable, tried " + strings.Join(parts, ", ")
	if e.Advertised != "" {
		text += "; and " + e.Advertised + ", which the brokers advertised (" + brief(e.AdvertisedErr, e.Advertised) + ")"
	}
	return text
}

func (e *UnreachableError) Unwrap() []error { return e.Errs }

// brief removes what Go's network errors repeat: "dial tcp ADDR: connect: …".
func brief(err error, addr string) string {
	if err == nil {
		return "no answer"
	}
	var access *BrokerError
	if errors.As(err, &access) {
		return access.Problem
	}
	s := err.Error()
	s = strings.TrimPrefix(strings.TrimPrefix(s, "dial tcp "+addr+": "), addr+": ")
	if i := strings.Index(s, "]: "); strings.HasPrefix(s, "dial tcp [") && i > 0 {
		s = s[i+3:]
	}
	return strings.TrimPrefix(s, "connect: ")
}

// TooOldError reports a broker that is older than Kafka 2.4.
type TooOldError struct {
	Addr      string
	Temporary bool // true: nothing proves that it was the broker who answered
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("broker %s is too old: racecar needs Kafka 2.4 or newer (it does not offer LeaveGroup version 3)", e.Addr)
}

// BrokerError reports a broker that we do not trust, or that does not accept us.
type BrokerError struct {
	Addr      string // of the broker; empty: not known
	Key       string // the configuration key to change; empty: it is not ours to change
	Problem   string // what is wrong and what to do, one line
	Temporary bool   // true: trying again may help
	Err       error  // the cause, or nil; Problem says all of it that matters
}

func (e *BrokerError) Error() string {
	if e.Addr == "" {
		return e.Problem
	}
	return "broker " + e.Addr + ": " + e.Problem
}

func (e *BrokerError) Unwrap() error { return e.Err }

// fileError reports that a key's file cannot be read; err names the file.
func fileError(key string, err error) error { return &ConfigError{Key: key, Err: err} }

// subject is how a certificate is named in errors.
func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "serial " + c.SerialNumber.String()
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// explainClosed is explain for the first requests: a broker that requires authentication
// closes the connection when it gets others.
func (a *Access) explainClosed(ctx context.Context, addr string, err error) error {
	if err != nil && ClosedByPeer(err) && !a.security.sasl && a.wantsSASL(ctx, addr) {
		return &BrokerError{Addr: addr, Key: "security_protocol", Err: err, Temporary: !a.security.tls,
			Problem: "it wants authentication on this port: set security_protocol to " + a.security.protocolName(a.security.tls, true) + ", or change the port"}
	}
	return a.explain(ctx, addr, err)
}

// explain adds to err what a user needs to act: which broker, which key. It may probe
// the broker to find out. nil stays nil.
func (a *Access) explain(ctx context.Context, addr string, err error) error {
	if err == nil {
		return nil
	}
	known, isKnown := errors.AsType[*BrokerError](err)
	if ClosedByPeer(err) || isKnown && errors.Is(known, context.DeadlineExceeded) {
		if mismatch := a.mismatch(ctx, addr, err); mismatch != nil {
			return mismatch
		}
	}
	if isKnown {
		return err
	}
	if e := (&BrokerError{Addr: addr, Err: err}); explainAlert(e, err, a.tls != nil && a.tls.material().certificate != nil) {
		return e
	}
	if ClosedByPeer(err) && a.mechanism != nil {
		return &BrokerError{Addr: addr, Key: "sasl_password", Temporary: true, Err: err,
			Problem: "it closed the connection while we authenticated (if this goes on: check the sasl_ keys)"}
	}
	return err
}

// ClosedByPeer reports whether the peer closed the connection, or sent something other
// than Kafka's protocol.
func ClosedByPeer(err error) bool {
	if _, garbage := errors.AsType[*garbageError](err); garbage {
		return true
	}
	if _, garbage := errors.AsType[sarama.PacketDecodingError](err); garbage {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
