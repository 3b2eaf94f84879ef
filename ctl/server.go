package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/netutil"
)

// Limits of the server, so that a client that hangs, floods or talks garbage
// costs a bounded amount of memory and nothing else.
const (
	maxBody        = 64 << 10
	maxHeader      = 16 << 10
	maxConnections = 256
	maxLong        = 192 // of them are longer operations: a status always finds room
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second // of one answer, or one line of a longer one
	idleTimeout    = 30 * time.Second
	statusTimeout  = 2 * time.Second // how long workers have to report
)

// Server answers the control socket.
type Server struct {
	sup  Supervisor
	log  logrus.FieldLogger
	http *http.Server
	long chan struct{} // holds one for each longer operation that somebody waits for
}

// NewServer returns a server in front of sup; it serves nothing yet.
func NewServer(sup Supervisor, log logrus.FieldLogger) *Server {
	s := &Server{sup: sup, log: log, long: make(chan struct{}, maxLong)}
	s.http = &http.Server{
		Handler:           s.socketHandler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          stdlog.New(debugWriter{log}, "", 0),
	}
	return s
}

// Serve answers connections until Shutdown; it then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(netutil.LimitListener(ln, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("control socket %s: %w", ln.Addr(), err)
}

// Shutdown closes the listener and waits, bounded by ctx, until the answers
// under way are written; then it closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// Handler is the service without its socket and without what only the socket
// serves. The status page serves it too, behind its token.
func (s *Server) Handler() http.Handler { return s.handler(false) }

// socketHandler also serves secrets: whoever may open the socket could read them
// from the process itself.
func (s *Server) socketHandler() http.Handler { return s.handler(true) }

func (s *Server) handler(secrets bool) http.Handler {
	mux := http.NewServeMux()
	for _, o := range s.operations() {
		if secrets || !o.secret {
			mux.HandleFunc(o.method+" /v1/"+o.name, o.serve)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, answer{Error: fmt.Sprintf("no such command: %s %s", r.Method, r.URL.Path)})
	})
	return s.contained(s.logged(mux))
}

// logged has the log say what was ordered and by whom, as it does of signals.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.log.WithFields(logrus.Fields{"order": path.Base(r.URL.Path), "by": r.RemoteAddr}).Info("order received")
		}
		h.ServeHTTP(w, r)
	})
}

// contained keeps a panic in a handler from taking the supervisor along, and
// stamps the version on each answer.
func (s *Server) contained(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Racecar-Version", strconv.Itoa(APIVersion))
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			s.log.WithFields(logrus.Fields{"path": r.URL.Path, "panic": p, "stack": string(debug.Stack())}).
				Error("Control request panicked")
			panic(http.ErrAbortHandler) // closes the connection without another log line
		}()
		h.ServeHTTP(w, r)
	})
}

// badRequest is an error that is the asker's.
type badRequest string

func (e badRequest) Error() string { return string(e) }

// short handles an operation that is done within the answer's time.
func short[T any](do func(context.Context, T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req T
		if err := decode(w, r, &req); err != nil {
			fail(w, err)
			return
		}
		if err := do(r.Context(), req); err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusOK, answer{End: true})
	}
}

// long handles an operation that takes its time: its answer is one Progress a
// line and, as the last line, an answer. What was begun goes on when the asker
// hangs up; nobody waits for its end then.
func long[T any](s *Server, do func(context.Context, T, func(Progress)) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req T
		if err := decode(w, r, &req); err != nil {
			fail(w, err)
			return
		}
		select {
		case s.long <- struct{}{}:
			defer func() { <-s.long }()
		default:
			fail(w, errBusy)
			return
		}
		out := &lines{w: w, rc: http.NewResponseController(w)}
		err := do(r.Context(), req, func(p Progress) { out.write(p) })
		if err == nil {
			out.write(answer{End: true})
			return
		}
		if !out.begun {
			fail(w, err) // with a status code, since nothing was written yet
			return
		}
		out.write(answer{End: true, Error: err.Error()})
	}
}

var errBusy = fmt.Errorf("%d operations are under way already: retry later", maxLong)

// lines writes one JSON value a line and gives up silently when the asker is
// gone: the operation is not its hostage.
type lines struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu    sync.Mutex // progress may come while the handler ends
	begun bool
	gone  bool
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	if !l.begun {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.begun = true
	}
	// Without support for deadlines (httptest) the server's own timeout holds.
	_ = l.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := json.NewEncoder(l.w).Encode(v); err != nil {
		l.gone = true
		return
	}
	l.gone = l.rc.Flush() != nil
}

// decode reads a request's body; an empty one is the zero value.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return badRequest(fmt.Sprintf("request: %v", err))
	}
	return parseRequest(body, into)
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusConflict // what was asked cannot be done now
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		code = http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	reply(w, code, answer{End: true, Error: err.Error()})
}

func reply(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // the asker may be gone
}

// debugWriter takes the lines net/http writes about broken connections.
type debugWriter struct{ log logrus.FieldLogger }

func (d debugWriter) Write(p []byte) (int, error) {
	d.log.WithField("detail", string(p)).Debug("Control connection failed")
	return len(p), nil
}
