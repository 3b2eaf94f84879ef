package monitor

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/sirupsen/logrus"
)

// Limits of the server.
const (
	maxHeader     = 16 << 10
	maxBody       = 64 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	healthTimeout = 2 * time.Second
)

// ServerOptions describe what is served on status_addr.
type ServerOptions struct {
	// Addr is host:port, or unix:PATH for a socket of the user's own. Without a Token
	// host must be reachable from this machine only.
	Addr string
	// Token, if set, is required for everything except the empty page, /healthz and /readyz.
	// Without one the page cannot change anything.
	Token string
	// MetricsPublic serves /metrics without the token.
	MetricsPublic bool
	// Status asks the workers, Brief does not.
	Status, Brief Source
	// AppMetrics holds the metrics of consumer code. Nil: there are none on /metrics.
	AppMetrics *appmetrics.Store
	// Control is the control socket's service (ctl.Server.Handler), served below /v1/.
	Control http.Handler
	Log     logrus.FieldLogger
}

// Server serves the status page with its actions, /metrics, /healthz and /readyz.
type Server struct {
	o        ServerOptions
	ln       net.Listener
	http     *http.Server
	conns    *connections
	ask      *cached
	brief    *cached // does not ask the workers
	history  *history
	guesses  *guesses
	token    [sha256.Size]byte
	loopback bool
}

// NewServer listens on the address. Run answers.
func NewServer(o ServerOptions) (*Server, error) {
	ln, loopback, err := listen(o)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("status_addr %q: %w", o.Addr, err)
	}
	s := &Server{
		o: o, ln: ln, conns: newConnections(ln), ask: newCached(o.Status, statusFresh), brief: newCached(o.Brief, briefFresh), history: newHistory(), guesses: newGuesses(o.Log),
		token: sha256.Sum256([]byte(o.Token)), loopback: loopback,
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ConnState: s.conns.changed,
		ErrorLog: stdlog.New(serverLog{o.Log}, "", 0),
	}
	return s, nil
}

// listen listens at o.Addr. loopback is true if only this machine can connect: then the name
// in a request has to be checked.
func listen(o ServerOptions) (ln net.Listener, loopback bool, err error) {
	if path, ok := strings.CutPrefix(o.Addr, "unix:"); ok {
		ln, err = listenUnix(path)
		return ln, false, err
	}
	addr, loopback, err := resolve(o.Addr)
	if err != nil {
		return nil, false, err
	}
	if !loopback && o.Token == "" {
		return nil, false, errors.New("can be reached from other machines: set status_token, or use 127.0.0.1")
	}
	ln, err = net.Listen("tcp", addr)
	return ln, loopback, err
}

// listenUnix creates a socket for this user alone. It replaces one that a dead process has
// left.
func listenUnix(path string) (net.Listener, error) {
	// Connecting to a regular file is refused like connecting to a dead socket.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, errors.New("the file exists and is not a socket")
	}
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(errors.New("another process serves it"), conn.Close())
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// On Linux the socket keeps the mode that it has before it is bound, so others can connect
	// at no time, whatever the umask is. Elsewhere the mode is set afterwards.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// resolve returns the address to listen on, and whether only this machine can connect to it.
func resolve(addr string) (where string, loopback bool, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", false, errors.New("expected host:port")
	}
	if host == "" {
		return addr, false, nil // all interfaces
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", false, errors.New("there is no such host")
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return addr, false, nil
		}
	}
	// The address that was checked: the name may resolve to another one next time.
	return net.JoinHostPort(ips[0].String(), port), true, nil
}

// Addr returns the address that the server listens on, with the port that was chosen for :0.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Run serves until ctx ends. Then it gives running requests a second to finish.
func (s *Server) Run(ctx context.Context) error {
	sampling, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.history.run(sampling, s.ask.status)
	}()
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.conns) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		bounded, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.http.Shutdown(bounded) != nil {
			_ = s.http.Close() // slow readers have had their time
		}
		err = <-served
	}
	stop()
	<-done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("status_addr %s: %w", s.Addr(), err)
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	metrics := metricsHandler(s.ask.status, s.o.AppMetrics, s.o.Log)
	if !s.o.MetricsPublic {
		metrics = s.reading(metrics)
	}
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", s.health(notLive, "live", nothing))
	mux.HandleFunc("GET /readyz", s.health(notReady, "ready", outages))
	page(mux)
	mux.Handle("GET /v1/status", s.reading(http.HandlerFunc(s.status)))
	mux.Handle("GET /v1/history", s.reading(http.HandlerFunc(s.serveHistory)))
	mux.Handle("GET /v1/config", s.reading(s.o.Control))
	for _, action := range []string{"restart", "scale", "pause", "resume", "quiet", "continue"} {
		mux.Handle("POST /v1/"+action, s.acting(s.o.Control))
	}
	return s.guarded(mux)
}

// guarded adds the headers of every response, and refuses requests for other names: those
// of a foreign page whose name was made to resolve to this machine (DNS rebinding).
func (s *Server) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("Cache-Control", "no-store")
		// A foreign page does not know the token; a proxy in front of us has its own name.
		if s.loopback && s.o.Token == "" && !s.local(r.Host) {
			refuse(w, http.StatusForbidden, fmt.Sprintf("this is not %s; use localhost or the address of status_addr, or set status_token", r.Host))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h.ServeHTTP(w, r)
	})
}

func (s *Server) local(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if configured, _, err := net.SplitHostPort(s.o.Addr); err == nil && strings.EqualFold(host, configured) {
		return true
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// reading requires the token, if there is one.
func (s *Server) reading(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.o.Token != "" && !s.authorized(r) {
			s.unauthorized(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// acting requires a token in any case.
func (s *Server) acting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.o.Token == "":
			refuse(w, http.StatusForbidden, "actions need a status_token; racecarctl works without one")
		case !s.authorized(r):
			s.unauthorized(w, r)
		default:
			// A rolling restart takes its time, and reports its steps.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the server's own writers have one
			s.o.Log.WithFields(logrus.Fields{"action": strings.TrimPrefix(r.URL.Path, "/v1/"), "from": r.RemoteAddr}).Info("Action from the status page")
			h.ServeHTTP(w, r)
		}
	})
}

func (s *Server) authorized(r *http.Request) bool {
	scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1 && ok && strings.EqualFold(scheme, "Bearer")
}

func (s *Server) unauthorized(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" { // a page that has no token yet does not guess
		s.guesses.failed(r.Context(), addressOf(r.RemoteAddr))
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="racecar"`)
	refuse(w, http.StatusUnauthorized, "status_token is needed")
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // the client may be gone
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.ask.status(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("the supervisor does not answer: %v", err))
		return
	}
	answer(w, r, struct {
		status.Status
		Actions bool `json:"actions"` // whether there is a token to act with
	}{st, s.o.Token != ""})
}

func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) { answer(w, r, s.history.json()) }

// answer writes JSON, compressed if the client accepts it: the status of a thousand
// partitions would otherwise be a few hundred kilobytes a second.
func answer(w http.ResponseWriter, r *http.Request, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding")
	if !takesGzip(r.Header.Get("Accept-Encoding")) {
		_, _ = w.Write(raw)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	_, _ = z.Write(raw)
	_ = z.Close()
}

// takesGzip reads an Accept-Encoding header, in which gzip;q=0 refuses gzip.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		coding, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		q, given := strings.CutPrefix(strings.TrimSpace(params), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}

// health answers 200 with a word and more lines, or 503 with the reasons, one per line.
func (s *Server) health(check func(status.Status) []string, word string, more func(status.Status) []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		st, err := s.brief.status(ctx)
		why := []string{"the supervisor does not answer"}
		if err == nil {
			why = check(st)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if len(why) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, "not %s\n%s\n", word, strings.Join(why, "\n"))
			return
		}
		_, _ = fmt.Fprintln(w, strings.Join(append([]string{word}, more(st)...), "\n"))
	}
}

// serverLog takes the lines that net/http writes about broken connections and panics.
type serverLog struct{ log logrus.FieldLogger }

func (l serverLog) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	if strings.HasPrefix(line, "http: panic") {
		l.log.WithField("detail", line).Error("Request to status_addr panicked")
	} else {
		l.log.WithField("detail", line).Debug("Connection to status_addr failed")
	}
	return len(p), nil
}
