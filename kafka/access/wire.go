package access

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Wire sends requests on a connection, one at a time, and reads the responses.
type Wire struct {
	Conn          net.Conn
	Addr          string // of the broker, for errors
	ClientID      string
	Timeout       time.Duration // for each answer
	correlationID int32
}

// Call sends a request and reads its answer into response, unless that is nil: some
// requests get none.
func (w *Wire) Call(request kmsg.Request, response kmsg.Response) error {
	return w.CallIn(nil, request, response)
}

// CallIn is Call with a buffer for the encoded request.
func (w *Wire) CallIn(buffer []byte, request kmsg.Request, response kmsg.Response) error {
	w.correlationID++
	if err := w.Conn.SetDeadline(time.Now().Add(w.Timeout)); err != nil {
		return err
	}
	defer w.Conn.SetDeadline(time.Time{}) //nolint:errcheck // a broken connection fails at its next use
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID(w.ClientID))
	if _, err := w.Conn.Write(formatter.AppendRequest(buffer, request, w.correlationID)); err != nil {
		return w.silent(err)
	}
	if response == nil {
		expectNone(w.Conn)
		return nil
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(w.Conn, head); err != nil {
		return w.silent(err)
	}
	size, limit := binary.BigEndian.Uint32(head), answerLimit(request.Key())
	if size < 4 || size > limit {
		return &OversizedError{request.Key(), size, limit}
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != w.correlationID {
		return &garbageError{fmt.Errorf("answer %d to request %d", id, w.correlationID)}
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(w.Conn, body); err != nil {
		return w.silent(err)
	}
	response.SetVersion(request.GetVersion())
	if response.IsFlexible() && request.Key() != int16(kmsg.ApiVersions) {
		body = withoutTags(body)
	}
	if err := response.ReadFrom(body); err != nil {
		return &garbageError{err}
	}
	return nil
}

// withoutTags cuts the tagged fields from the front of an answer. Nothing is left of one
// that is cut short.
func withoutTags(b []byte) []byte {
	tags, n := binary.Uvarint(b)
	for b = b[max(n, 0):]; tags > 0 && len(b) > 0; tags-- {
		_, n := binary.Uvarint(b) // its number
		size, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || size > uint64(len(b)-n-m) {
			return nil
		}
		b = b[n+m+int(size):]
	}
	return b
}

// silent turns a timeout into a silentError.
func (w *Wire) silent(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &silentError{addr: w.Addr, after: w.Timeout}
	}
	return err
}

// garbageError reports bytes that are not Kafka's protocol.
type garbageError struct{ err error }

func (e *garbageError) Error() string { return e.err.Error() + ": not a Kafka broker" }
func (e *garbageError) Unwrap() error { return e.err }

// offersError lists the mechanisms that the broker offers instead.
type offersError struct{ offered []string }

func (e *offersError) Error() string { return "it offers " + strings.Join(e.offered, ", ") }

// handshake asks the broker for an authentication by mechanism.
func (w *Wire) handshake(mechanism string) error {
	request, response := kmsg.NewPtrSASLHandshakeRequest(), kmsg.NewPtrSASLHandshakeResponse()
	request.Version, request.Mechanism = 1, mechanism
	if err := w.Call(request, response); err != nil {
		return err
	}
	code := sarama.KError(response.ErrorCode)
	if code == sarama.ErrUnsupportedSASLMechanism {
		slices.Sort(response.SupportedMechanisms) // brokers list them in no order
		return &offersError{response.SupportedMechanisms}
	}
	return asError(code)
}

// authenticate sends one message of an exchange. lifetime is that of the session.
func (w *Wire) authenticate(message []byte) (answer []byte, lifetime time.Duration, err error) {
	request, response := kmsg.NewPtrSASLAuthenticateRequest(), kmsg.NewPtrSASLAuthenticateResponse()
	request.Version, request.SASLAuthBytes = 1, message
	if err := w.Call(request, response); err != nil {
		return nil, 0, err
	}
	if err := asError(sarama.KError(response.ErrorCode)); err != nil {
		if response.ErrorMessage != nil {
			err = fmt.Errorf("%w: %s", err, *response.ErrorMessage)
		}
		return nil, 0, err
	}
	return response.SASLAuthBytes, time.Duration(response.SessionLifetimeMillis) * time.Millisecond, nil
}

func asError(code sarama.KError) error {
	if code == sarama.ErrNoError {
		return nil
	}
	return code
}
