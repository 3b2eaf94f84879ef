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

// wire sends the first requests on a connection, one at a time: those of SASL and those
// that show whether a broker lets us in. It is for versions without tagged fields.
type wire struct {
	conn          net.Conn
	addr          string
	clientID      string
	patience      time.Duration // for each answer
	correlationID int32
}

// call sends a request and reads its answer into response.
func (w *wire) call(request kmsg.Request, response kmsg.Response) error {
	w.correlationID++
	if err := w.conn.SetDeadline(time.Now().Add(w.patience)); err != nil {
		return err
	}
	defer w.conn.SetDeadline(time.Time{}) //nolint:errcheck // a broken connection fails at its next use
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID(w.clientID))
	if _, err := w.conn.Write(formatter.AppendRequest(nil, request, w.correlationID)); err != nil {
		return w.silent(err)
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(w.conn, head); err != nil {
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
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return w.silent(err)
	}
	response.SetVersion(request.GetVersion())
	if err := response.ReadFrom(body); err != nil {
		return &garbageError{err}
	}
	return nil
}

// silent words a broker that does not answer in time.
func (w *wire) silent(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &silentError{addr: w.addr, after: w.patience}
	}
	return err
}

// garbageError is an answer that is not one of Kafka's.
type garbageError struct{ err error }

func (e *garbageError) Error() string { return e.err.Error() + ": not a Kafka broker" }
func (e *garbageError) Unwrap() error { return e.err }

// offersError lists the mechanisms that the broker offers instead.
type offersError struct{ offered []string }

func (e *offersError) Error() string { return "it offers " + strings.Join(e.offered, ", ") }

// handshake asks the broker for an authentication by mechanism.
func (w *wire) handshake(mechanism string) error {
	request, response := kmsg.NewPtrSASLHandshakeRequest(), kmsg.NewPtrSASLHandshakeResponse()
	request.Version, request.Mechanism = 1, mechanism
	if err := w.call(request, response); err != nil {
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
func (w *wire) authenticate(message []byte) (answer []byte, lifetime time.Duration, err error) {
	request, response := kmsg.NewPtrSASLAuthenticateRequest(), kmsg.NewPtrSASLAuthenticateResponse()
	request.Version, request.SASLAuthBytes = 1, message
	if err := w.call(request, response); err != nil {
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
