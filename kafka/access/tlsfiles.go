package access

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/racecar-go/racecar/config"
)

// This file reads certificates, keys and keystores.

// tlsFiles holds the values of the ssl_ keys.
type tlsFiles struct {
	ca               string // file or directory; empty: the system's authorities
	crl              string
	keystore         string
	keystorePassword string
	certificate      string
	key              string
	keyPassword      string
	verifyHostname   bool

	// The contents of ssl_ca_pem, ssl_certificate_pem and ssl_key_pem, in place of files:
	// for environments without a disk (heroku).
	caPEM, certificatePEM, keyPEM string
}

func newTLSFiles(c *config.Config) tlsFiles {
	return tlsFiles{
		ca:               c.SSLCALocation,
		crl:              c.SSLCRLLocation,
		keystore:         c.SSLKeystoreLocation,
		keystorePassword: c.SSLKeystorePassword,
		certificate:      c.SSLCertificateLocation,
		key:              c.SSLKeyLocation,
		keyPassword:      c.SSLKeyPassword,
		verifyHostname:   c.SSLVerifyHostname,
		caPEM:            c.SSLCAPEM,
		certificatePEM:   c.SSLCertificatePEM,
		keyPEM:           c.SSLKeyPEM,
	}
}

// check rejects combinations of settings that cannot work.
func (f tlsFiles) check() error {
	hasCert := f.certificate != "" || f.certificatePEM != ""
	hasKey := f.key != "" || f.keyPEM != ""
	switch {
	case f.keystore != "" && (hasCert || hasKey):
		return &ConfigError{Key: "ssl_keystore_location", Problem: "set besides a certificate or key of its own: use the one or the other"}
	case hasCert && !hasKey:
		return &ConfigError{Key: "ssl_key_location", Problem: "missing: a certificate is set, its private key is not"}
	case hasKey && !hasCert:
		return &ConfigError{Key: "ssl_certificate_location", Problem: "missing: a private key is set, its certificate is not"}
	}
	return nil
}

// digest is of what the files hold; a missing file counts as a state. Neither time nor
// size would do: a file that replaces another within a tick of the file system's clock may
// have both.
func (f tlsFiles) digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	add := func(path string) {
		data, err := os.ReadFile(path)
		fmt.Fprintf(h, "%q %d %v\n", path, len(data), err)
		h.Write(data)
	}
	for _, path := range []string{f.ca, f.crl, f.keystore, f.certificate, f.key} {
		if path == "" {
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			add(path) // a file, as it should be
			continue
		}
		for _, e := range entries {
			add(filepath.Join(path, e.Name())) // links in such directories are followed
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (f tlsFiles) load() (*tlsMaterial, error) {
	m := &tlsMaterial{}
	var err error
	if m.roots, err = f.loadRoots(); err != nil {
		return nil, err
	}
	if m.crls, err = f.loadCRLs(); err != nil {
		return nil, err
	}
	if m.certificate, err = f.loadCertificate(); err != nil {
		return nil, err
	}
	if m.certificate != nil {
		if leaf := m.certificate.Leaf; time.Now().After(leaf.NotAfter) {
			return nil, &ConfigError{Key: f.certificateKey(), Problem: fmt.Sprintf("our certificate (%s) expired on %s: renew it", subject(leaf), day(leaf.NotAfter))}
		}
	}
	return m, nil
}

// certificateKey is the key that names our certificate.
func (f tlsFiles) certificateKey() string {
	switch {
	case f.keystore != "":
		return "ssl_keystore_location"
	case f.certificatePEM != "":
		return "ssl_certificate_pem"
	}
	return "ssl_certificate_location"
}

func (f tlsFiles) loadRoots() (*x509.CertPool, error) {
	if f.caPEM != "" {
		certs, err := parseCertificates([]byte(f.caPEM))
		if err != nil {
			return nil, &ConfigError{Key: "ssl_ca_pem", Err: err}
		}
		return pool(certs), nil
	}
	if f.ca == "" {
		return nil, nil
	}
	info, err := os.Stat(f.ca)
	if err != nil {
		return nil, fileError("ssl_ca_location", err)
	}
	if !info.IsDir() {
		data, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fileError("ssl_ca_location", err)
		}
		certs, err := parseCertificates(data)
		if err != nil {
			return nil, &ConfigError{Key: "ssl_ca_location", Problem: quoted(f.ca), Err: err}
		}
		return pool(certs), nil
	}
	entries, err := os.ReadDir(f.ca)
	if err != nil {
		return nil, fileError("ssl_ca_location", err)
	}
	var all []*x509.Certificate
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(f.ca, e.Name()))
		if err != nil {
			continue // a subdirectory, or another file that cannot be read
		}
		if certs, err := parseCertificates(data); err == nil {
			all = append(all, certs...)
		}
	}
	if len(all) == 0 {
		return nil, &ConfigError{Key: "ssl_ca_location", Problem: "no certificate in PEM format in directory " + quoted(f.ca)}
	}
	return pool(all), nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// loadCertificate returns nil when none is set.
func (f tlsFiles) loadCertificate() (*tls.Certificate, error) {
	if f.keystore != "" {
		data, err := os.ReadFile(f.keystore)
		if err != nil {
			return nil, fileError("ssl_keystore_location", err)
		}
		cert, err := parseKeystore(data, f.keystorePassword)
		if errors.Is(err, pkcs12.ErrIncorrectPassword) {
			return nil, &ConfigError{Key: "ssl_keystore_password", Problem: "wrong password for " + quoted(f.keystore)}
		}
		if err != nil {
			return nil, &ConfigError{Key: "ssl_keystore_location", Problem: quoted(f.keystore), Err: err}
		}
		return cert, nil
	}
	certPEM, err := f.text("ssl_certificate_location", f.certificate, f.certificatePEM)
	if err != nil || certPEM == nil {
		return nil, err
	}
	keyPEM, err := f.text("ssl_key_location", f.key, f.keyPEM)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return nil, &ConfigError{Key: f.certificateKey(), Problem: quoted(f.certificate), Err: err}
	}
	key, err := parseKey(keyPEM, f.keyPassword)
	switch {
	case errors.Is(err, errKeyPassword):
		return nil, &ConfigError{Key: "ssl_key_password", Problem: "wrong password for " + quoted(f.key)}
	case errors.Is(err, errKeyEncrypted):
		return nil, &ConfigError{Key: "ssl_key_password", Problem: "missing: the key in " + quoted(f.key) + " is encrypted"}
	case err != nil:
		return nil, &ConfigError{Key: "ssl_key_location", Problem: quoted(f.key), Err: err}
	}
	cert, err := keyPair(certs, key)
	if err != nil {
		return nil, &ConfigError{Key: "ssl_key_location", Problem: quoted(f.key), Err: err}
	}
	return cert, nil
}

// text returns what the key's file or its in-memory counterpart holds.
func (f tlsFiles) text(key, path, inMemory string) ([]byte, error) {
	if inMemory != "" {
		return []byte(inMemory), nil
	}
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError(key, err)
	}
	return data, nil
}

// parseCertificates returns the certificates of a PEM text, in order, at least
// one. Other blocks are skipped: a bundle may contain keys.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM format (-----BEGIN CERTIFICATE-----) found")
	}
	return certs, nil
}

var (
	errKeyEncrypted = errors.New("the key is encrypted")
)

// parseKey returns the first private key of a PEM text: PKCS#8, plain or
// encrypted, or the traditional format of RSA and EC keys, plain or encrypted.
func parseKey(data []byte, password string) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			key, err = decryptPKCS8(block.Bytes, password)
		case "RSA PRIVATE KEY", "EC PRIVATE KEY":
			key, err = parseTraditional(block, password)
		default:
			continue // EC PARAMETERS, certificates of a bundle
		}
		if err != nil {
			return nil, err
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("no private key in PEM format (-----BEGIN PRIVATE KEY-----) found")
}

func parseTraditional(block *pem.Block, password string) (any, error) {
	der := block.Bytes
	// The encryption of this format is weak by design, and what existing key
	// files use; it protects the file, not the connection.
	//nolint:staticcheck // SA1019: deprecated for new uses
	if x509.IsEncryptedPEMBlock(block) {
		if password == "" {
			return nil, errKeyEncrypted
		}
		var err error
		//nolint:staticcheck // SA1019: as above
		if der, err = x509.DecryptPEMBlock(block, []byte(password)); err != nil {
			if errors.Is(err, x509.IncorrectPasswordError) {
				return nil, errKeyPassword
			}
			return nil, err
		}
	}
	parse := func() (any, error) {
		if block.Type == "EC PRIVATE KEY" {
			return x509.ParseECPrivateKey(der)
		}
		return x509.ParsePKCS1PrivateKey(der)
	}
	key, err := parse()
	if err != nil && !bytes.Equal(der, block.Bytes) {
		return nil, errKeyPassword // the format has no checksum: padding can be right by chance
	}
	return key, err
}

// decryptPKCS8 decrypts a key.
func decryptPKCS8(der []byte, password string) (any, error) {
	if password == "" {
		return nil, errKeyEncrypted
	}
	return decryptKey(der, password)
}

// parseKeystore reads a PKCS#12 file with current or old encryption, with or without a
// checksum, and in any order.
func parseKeystore(data []byte, password string) (*tls.Certificate, error) {
	key, leaf, ca, err := pkcs12.DecodeChain(withMAC(data, password), password)
	if err != nil && strings.Contains(err.Error(), pkcs12.ErrDecryption.Error()) { // a checksum of its own would have told
		return nil, pkcs12.ErrIncorrectPassword
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	certs := append([]*x509.Certificate{leaf}, ca...)
	own := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return belongs(c, signer) })
	if own > 0 { // Java writes them in any order
		certs = slices.Concat(certs[own:own+1], certs[:own], certs[own+1:])
	}
	return keyPair(certs, signer)
}

// belongs reports whether a certificate has that key.
func belongs(c *x509.Certificate, key crypto.Signer) bool {
	pub, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key.Public())
}

// keyPair joins a certificate, followed by those that lead to its authority,
// with its key.
func keyPair(certs []*x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	if !belongs(certs[0], key) {
		return nil, fmt.Errorf("the private key does not belong to the certificate (%s)", subject(certs[0]))
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for i, c := range certs {
		if i > 0 && bytes.Equal(c.RawSubject, c.RawIssuer) {
			continue // the broker has its own roots
		}
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}
