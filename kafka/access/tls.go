package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// tlsSource makes TLS connections with the files of the ssl_ keys. It checks the files
// before each connection and reads them again when one has changed, so that rotated
// certificates need no restart. It is safe for concurrent use.
type tlsSource struct {
	files tlsFiles
	log   logrus.FieldLogger

	mu      sync.Mutex
	current *tlsMaterial      // guarded by mu; never nil
	digest  [sha256.Size]byte // guarded by mu; of the files that current was read from
}

// tlsMaterial is the content of the files.
type tlsMaterial struct {
	roots       *x509.CertPool   // nil: the system's
	certificate *tls.Certificate // nil: none
	crls        []*x509.RevocationList
}

// newTLSSource reads the files once; its error is permanent.
func newTLSSource(c *config.Config, log logrus.FieldLogger) (*tlsSource, error) {
	s := &tlsSource{files: newTLSFiles(c), log: log}
	if err := s.files.check(); err != nil {
		return nil, err
	}
	s.digest = s.files.digest()
	var err error
	if s.current, err = s.files.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// material returns the material for the next connection. If changed files cannot be used,
// as in the middle of a rotation, it keeps the old material, logs a warning and reads them
// again for the next connection.
func (s *tlsSource) material() *tlsMaterial {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := s.files.digest() // before reading: a change while we read is seen next time
	if digest == s.digest {
		return s.current
	}
	fresh, err := s.files.load()
	if err != nil {
		s.log.WithError(err).Warn("changed TLS files cannot be used, the old are kept")
		return s.current
	}
	s.current, s.digest = fresh, digest
	return fresh
}

// handshake turns conn into a TLS connection to addr (host:port), verified. It
// closes conn when it fails. The error is an *Error unless ctx was cancelled.
func (s *tlsSource) handshake(ctx context.Context, conn net.Conn, addr string) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	m := s.material()
	tc := tls.Client(conn, s.config(m, host))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one to tell
		if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
			return nil, &BrokerError{Addr: addr, Temporary: true, Err: cause, Problem: "it does not answer the TLS handshake (if this goes on: does it speak TLS on this port? see security_protocol)"}
		} else if cause != nil {
			return nil, cause
		}
		return nil, explainTLS(addr, err, m.certificate != nil)
	}
	return tc, nil
}

func (s *tlsSource) config(m *tlsMaterial, host string) *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: host,
		RootCAs:    m.roots,
	}
	if m.certificate != nil {
		// Not Certificates: crypto/tls sends none of those if they do not match the
		// authorities that the broker names, and the broker then only reports that
		// there was none.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return m.certificate, nil
		}
	}
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		return checkRevocation(cs.VerifiedChains, m.crls)
	}
	if !s.files.verifyHostname {
		// VerifyConnection still verifies the chain, without the name.
		conf.InsecureSkipVerify = true // #nosec G402 -- see VerifyConnection
		conf.VerifyConnection = func(cs tls.ConnectionState) error {
			chains, err := verifyChain(cs.PeerCertificates, m.roots)
			if err != nil {
				return err
			}
			return checkRevocation(chains, m.crls)
		}
	}
	return conf
}

// verifyChain does what crypto/tls does, except for the host's name.
func verifyChain(certs []*x509.Certificate, roots *x509.CertPool) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("the broker sent no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	return certs[0].Verify(opts)
}
