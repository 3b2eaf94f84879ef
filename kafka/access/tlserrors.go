package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// This file explains failed TLS handshakes to the user.

// explainTLS explains a failed handshake. sent: we had a certificate.
func explainTLS(addr string, err error, sent bool) *BrokerError {
	e := &BrokerError{Addr: addr, Err: err}
	var (
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noRoots  x509.SystemRootsError
		revoked  *revokedError
		crl      *crlError
		plain    tls.RecordHeaderError
		netError net.Error
	)
	switch {
	case errors.As(err, &revoked):
		e.Problem = revoked.Error() + " (ssl_crl_location)"
		e.Key = "ssl_crl_location"
	case errors.As(err, &crl):
		e.Problem = "ssl_crl_location: " + crl.Error()
		e.Key = "ssl_crl_location"
	case errors.As(err, &unknown):
		e.Key = "ssl_ca_location"
		e.Problem = "its certificate is signed by an authority that we do not trust"
		if unknown.Cert != nil {
			e.Problem = fmt.Sprintf("its certificate (%s) is signed by an authority that we do not trust (%s)", subject(unknown.Cert), unknown.Cert.Issuer)
		}
		e.Problem += ": set ssl_ca_location to that authority's certificate"
	case errors.As(err, &host):
		e.Key = "brokers"
		e.Problem = fmt.Sprintf("its certificate is for %s, not for %s: use a name of the certificate in brokers (and in the broker's advertised.listeners), or set ssl_verify_hostname to false",
			strings.Join(names(host.Certificate), ", "), host.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Problem = expired(invalid.Cert)
	case errors.As(err, &invalid):
		e.Problem = "its certificate is not acceptable: " + strings.TrimPrefix(invalid.Error(), "x509: ")
	case errors.As(err, &noRoots):
		e.Key = "ssl_ca_location"
		e.Problem = "there are no certificate authorities on this system: set ssl_ca_location"
	case errors.As(err, &plain):
		e.Key = "security_protocol"
		e.Problem = "it does not speak TLS on this port: change security_protocol or the port"
	case explainAlert(e, err, sent):
		// During the handshake an alert is not authenticated. With TLS 1.3, alerts about
		// our certificate come after it.
		e.Temporary = true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Temporary = true
		e.Problem = "it closed the connection during the TLS handshake (if this goes on: does it speak TLS on this port? see security_protocol)"
	case errors.As(err, &netError):
		e.Temporary = true
		e.Problem = "TLS handshake: " + brief(err, addr)
	default:
		e.Temporary = true
		e.Problem = "TLS handshake: " + err.Error()
	}
	return e
}

// expired describes a certificate outside of its validity; it may be the broker's or an
// authority's.
func expired(c *x509.Certificate) string {
	if now := time.Now(); now.Before(c.NotBefore) {
		return fmt.Sprintf("its certificate (%s) is valid from %s only: check the clocks", subject(c), c.NotBefore.UTC().Format(time.RFC3339))
	}
	if c.IsCA {
		return fmt.Sprintf("the certificate of its authority (%s) expired on %s: renew it (ssl_ca_location)", subject(c), day(c.NotAfter))
	}
	return fmt.Sprintf("its certificate (%s) expired on %s: renew it at the broker", subject(c), day(c.NotAfter))
}

// names returns the names and addresses that a certificate is valid for.
func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = []string{"no host (it has no subjectAltName)"}
	}
	return all
}

// alerts about our certificate, by the text crypto/tls gives them (RFC 8446, 6).
var certificateAlerts = map[string]string{
	"tls: bad certificate":               "refuses our certificate",
	"tls: unsupported certificate":       "refuses our certificate: its type is not supported",
	"tls: revoked certificate":           "refuses our certificate: it is revoked",
	"tls: expired certificate":           "refuses our certificate: it has expired",
	"tls: unknown certificate":           "refuses our certificate",
	"tls: unknown certificate authority": "refuses our certificate: it does not know its authority",
	"tls: access denied":                 "refuses our certificate: access denied",
	"tls: certificate required":          "", // only said when there was none
}

// explainAlert fills e in if err is an alert from the broker. With TLS 1.3, alerts about
// our certificate come after the handshake, with the first response.
func explainAlert(e *BrokerError, err error, sent bool) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	alert := op.Err.Error()
	text, ours := certificateAlerts[alert]
	switch {
	case ours && (!sent || text == ""):
		e.Key = "ssl_certificate_location"
		e.Problem = "it wants a certificate from us: set ssl_certificate_location and ssl_key_location, or ssl_keystore_location"
	case ours:
		e.Key = "ssl_certificate_location"
		e.Problem = "it " + text + ": set ssl_certificate_location (or ssl_keystore_location) to one of an authority that it trusts"
	case !sent && alert == "tls: handshake failure": // so with TLS 1.2
		e.Key = "ssl_certificate_location"
		e.Problem = "it ended the TLS handshake: perhaps it wants a certificate from us (ssl_certificate_location), or has no cipher in common with us"
	default:
		e.Problem = "it ended the TLS connection: " + strings.TrimPrefix(alert, "tls: ")
	}
	return true
}
