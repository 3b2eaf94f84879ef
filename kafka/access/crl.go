package access

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// loadCRLs returns the revocation lists of ssl_crl_location, nil when not set: a
// PEM file of one or several, or a single one in DER.
func (f tlsFiles) loadCRLs() ([]*x509.RevocationList, error) {
	if f.crl == "" {
		return nil, nil
	}
	data, err := os.ReadFile(f.crl)
	if err != nil {
		return nil, fileError("ssl_crl_location", err)
	}
	crls, err := parseCRLs(data)
	if err != nil {
		return nil, &ConfigError{Key: "ssl_crl_location", Problem: quoted(f.crl), Err: err}
	}
	return crls, nil
}

func parseCRLs(data []byte) ([]*x509.RevocationList, error) {
	var crls []*x509.RevocationList
	add := func(der []byte) error {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		if err := plainCRL(crl); err != nil {
			return err
		}
		crls = append(crls, crl)
		return nil
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			if err := add(block.Bytes); err != nil {
				return nil, err
			}
		}
	}
	if len(crls) == 0 && len(data) > 0 && data[0] == 0x30 { // an ASN.1 sequence
		if err := add(data); err != nil {
			return nil, err
		}
	}
	if len(crls) == 0 {
		return nil, errors.New("no certificate revocation list (-----BEGIN X509 CRL-----) found")
	}
	return crls, nil
}

// plainCRL rejects lists that are not an authority's complete list: those have a critical
// extension (RFC 5280, 5.2).
func plainCRL(crl *x509.RevocationList) error {
	for _, ext := range crl.Extensions {
		if !ext.Critical {
			continue
		}
		kind := "with an unknown critical extension " + ext.Id.String()
		switch {
		case ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}):
			kind = "a delta list"
		case ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}):
			kind = "for a part of the certificates only (issuing distribution point)"
		}
		return fmt.Errorf("the list of %s is %s, which is not supported: use the complete one", crl.Issuer, kind)
	}
	return nil
}

// revokedError is a certificate that its authority has revoked.
type revokedError struct {
	cert      *x509.Certificate
	revokedAt time.Time
}

func (e *revokedError) Error() string {
	return fmt.Sprintf("the broker's certificate (%s, serial %s) was revoked on %s", subject(e.cert), e.cert.SerialNumber, day(e.revokedAt))
}

// crlError reports that a revocation cannot be checked.
type crlError struct{ problem string }

func (e *crlError) Error() string { return e.problem }

// checkRevocation accepts the broker if, in one of the chains to a trusted authority, all
// certificates can be checked and none is revoked. Without lists (nil) it checks nothing.
func checkRevocation(chains [][]*x509.Certificate, crls []*x509.RevocationList) error {
	if crls == nil {
		return nil
	}
	var first error
	for _, chain := range chains {
		err := checkChain(chain, crls, time.Now())
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = &crlError{"no chain of certificates to check"}
	}
	return first
}

// checkChain checks each certificate except the last, which is a trusted authority.
func checkChain(chain []*x509.Certificate, crls []*x509.RevocationList, now time.Time) error {
	for i, cert := range chain[:len(chain)-1] {
		crl, err := newestCRL(chain[i+1], crls)
		if err != nil {
			return err
		}
		if now.Before(crl.ThisUpdate) {
			return &crlError{fmt.Sprintf("the list of %s is valid from %s only", crl.Issuer, crl.ThisUpdate.UTC().Format(time.RFC3339))}
		}
		if !crl.NextUpdate.IsZero() && now.After(crl.NextUpdate) {
			return &crlError{fmt.Sprintf("the list of %s expired on %s: fetch a current one", crl.Issuer, day(crl.NextUpdate))}
		}
		for _, entry := range crl.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return &revokedError{cert, entry.RevocationTime}
			}
		}
	}
	return nil
}

// newestCRL returns the latest list that issuer has signed.
func newestCRL(issuer *x509.Certificate, crls []*x509.RevocationList) (*x509.RevocationList, error) {
	var newest *x509.RevocationList
	problem := ""
	for _, crl := range crls {
		if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
			continue
		}
		if err := crl.CheckSignatureFrom(issuer); err != nil {
			problem = fmt.Sprintf("the list of %s is not signed by that authority: %v", crl.Issuer, err)
			continue
		}
		if newest == nil || crl.ThisUpdate.After(newest.ThisUpdate) {
			newest = crl
		}
	}
	if newest == nil {
		if problem == "" {
			problem = fmt.Sprintf("no list of %s, which signed a certificate of the broker's chain", issuer.Subject)
		}
		return nil, &crlError{problem}
	}
	return newest, nil
}
