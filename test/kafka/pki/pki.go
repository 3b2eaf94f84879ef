// Package pki makes certificate authorities, certificates and revocation lists
// for tests, so that none of them is kept in the repository, and none expires.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Pair is a certificate with its key. Its methods fail the test instead of
// returning errors.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	// Chain leads from Cert's issuer to the root, without the root.
	Chain []*x509.Certificate

	t testing.TB
}

// Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// Expired makes a certificate whose time was over an hour ago.
func Expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
}

// Hosts makes a certificate for these names and addresses instead of localhost.
func Hosts(hosts ...string) Option {
	return func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, nil
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, h)
			}
		}
	}
}

// Root returns a new authority.
func Root(t testing.TB, name string, opts ...Option) *Pair {
	return sign(t, authority(name), nil, nil, opts)
}

// Intermediate returns an authority below ca.
func (ca *Pair) Intermediate(name string, opts ...Option) *Pair {
	return sign(ca.t, authority(name), ca, nil, opts)
}

// Issue returns a certificate for servers and clients, for localhost,
// 127.0.0.1 and ::1 unless Hosts says otherwise.
func (ca *Pair) Issue(name string, opts ...Option) *Pair { return ca.IssueFor(nil, name, opts...) }

// IssueFor is Issue for a key that there is; nil: a new one.
func (ca *Pair) IssueFor(key crypto.Signer, name string, opts ...Option) *Pair {
	template := template(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return sign(ca.t, template, ca, key, opts)
}

// Revocation describes a list. The zero value is one of today without entries.
type Revocation struct {
	Revoked []*Pair
	Expired bool
	Extra   []pkix.Extension
}

// CRL returns ca's revocation list in PEM.
func (ca *Pair) CRL(r Revocation) []byte {
	ca.t.Helper()
	list := &x509.RevocationList{
		Number:          big.NewInt(time.Now().UnixNano()),
		ThisUpdate:      time.Now().Add(-2 * time.Hour),
		NextUpdate:      time.Now().Add(time.Hour),
		ExtraExtensions: r.Extra,
	}
	if r.Expired {
		list.NextUpdate = time.Now().Add(-time.Hour)
	}
	for _, p := range r.Revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.Cert.SerialNumber, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// CertPEM returns the certificate followed by its chain.
func (p *Pair) CertPEM() []byte {
	out := block("CERTIFICATE", p.Cert.Raw)
	for _, c := range p.Chain {
		out = append(out, block("CERTIFICATE", c.Raw)...)
	}
	return out
}

// KeyPEM returns the key in PKCS#8.
func (p *Pair) KeyPEM() []byte {
	p.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

// TLS returns the certificate with its chain for crypto/tls.
func (p *Pair) TLS() tls.Certificate {
	cert := tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
	for _, c := range p.Chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// Pool returns a pool of the one certificate.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert)
	return pool
}

// File writes data to a file of the test's own, readable by its user alone, and
// returns its path.
func File(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(24 * time.Hour),
	}
}

func authority(name string) *x509.Certificate {
	c := template(name)
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return c
}

// sign makes a certificate; ca nil: signed by itself; key nil: a new one.
func sign(t testing.TB, template *x509.Certificate, ca *Pair, key crypto.Signer, opts []Option) *Pair {
	t.Helper()
	for _, o := range opts {
		o(template)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	p := &Pair{Key: key, t: t}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.Cert, ca.Key
		if !bytes.Equal(ca.Cert.RawSubject, ca.Cert.RawIssuer) {
			p.Chain = append([]*x509.Certificate{ca.Cert}, ca.Chain...)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if p.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return p
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
