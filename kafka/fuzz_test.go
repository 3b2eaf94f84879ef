package kafka

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/racecar-go/racecar/test/kafka/pki"
)

// FuzzPEM: whatever a file holds, it is certificates, a key, a list or an error,
// never a panic; and what is accepted can be used.
func FuzzPEM(f *testing.F) {
	ca := pki.Root(f, "Test CA")
	client := ca.Issue("worker")
	f.Add(client.CertPEM(), "")
	f.Add(client.KeyPEM(), "")
	f.Add(ca.CRL(pki.Revocation{Revoked: []*pki.Pair{client}}), "")
	var encrypted []byte
	for encrypted == nil || expensive(encrypted) { // by chance
		der, err := pkcs8.MarshalPrivateKey(client.Key, []byte("secret"), &pkcs8.Opts{
			Cipher: pkcs8.AES256CBC, KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 1, HMACHash: crypto.SHA256}})
		if err != nil {
			f.Fatal(err)
		}
		encrypted = pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	}
	f.Add(encrypted, "secret")
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899aabbccddeeff\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "secret")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		if expensive(data) {
			t.Skip("asks for more hashing than a fuzzer has time for")
		}
		certs, err := parseCertificates(data)
		if (err == nil) != (len(certs) > 0) {
			t.Errorf("certificates %v and error %v", certs, err)
		}
		key, err := parseKey(data, password)
		if (err == nil) != (key != nil) {
			t.Errorf("key %v and error %v", key, err)
		}
		if len(certs) > 0 && key != nil {
			if pair, err := keyPair(certs, key); err == nil && (pair.Leaf == nil || len(pair.Certificate) == 0) {
				t.Error("a pair without a certificate")
			}
		}
		crls, err := parseCRLs(data)
		if (err == nil) != (len(crls) > 0) {
			t.Errorf("lists %v and error %v", crls, err)
		}
		if len(certs) > 1 && crls != nil {
			_ = checkRevocation([][]*x509.Certificate{certs}, crls) // any answer but a panic
		}
	})
}

// expensive tells whether key derivation could take long: the number of its
// rounds is in the file, which its owner wrote and a fuzzer writes anew.
func expensive(data []byte) bool {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" && hasLargeInteger(block.Bytes) {
			return true
		}
	}
	return false
}

// hasLargeInteger looks for what may be an ASN.1 INTEGER that counts rounds by
// the ten thousand.
func hasLargeInteger(der []byte) bool {
	for i := 0; i+2 < len(der); i++ {
		n := int(der[i+1])
		if der[i] != 2 || n < 2 || n > 8 || i+2+n > len(der) {
			continue
		}
		if new(big.Int).SetBytes(der[i+2:i+2+n]).BitLen() > 13 {
			return true
		}
	}
	return false
}

// FuzzKeystore: PKCS#12 of any kind is a certificate with its key, or an error.
func FuzzKeystore(f *testing.F) {
	ca := pki.Root(f, "Test CA")
	encode := func(e *pkcs12.Encoder) []byte {
		for range 100 {
			client := ca.Issue("worker") // its fingerprint is in the file as it is
			data, err := e.WithIterations(1).Encode(client.Key, client.Cert, client.Chain, "secret")
			if err != nil {
				f.Fatal(err)
			}
			if !hasLargeInteger(data) { // which is there by chance
				return data
			}
		}
		f.Fatal("no keystore is without what looks like a large integer")
		return nil
	}
	for _, e := range []*pkcs12.Encoder{pkcs12.Modern2023, pkcs12.LegacyRC2, pkcs12.LegacyDES} {
		f.Add(encode(e), "secret")
	}
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		if hasLargeInteger(data) {
			t.Skip("may ask for more hashing than a fuzzer has time for")
		}
		cert, err := parseKeystore(data, password)
		if (err == nil) != (cert != nil) {
			t.Errorf("certificate %v and error %v", cert, err)
		}
	})
}

// FuzzSASLAnswer: a broker's answer of any bytes is understood or refused.
func FuzzSASLAnswer(f *testing.F) {
	f.Add([]byte("\x00\x21\x00\x00\x00\x01\x00\x05PLAIN"))
	f.Add([]byte("\x00\x00\xff\xff\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x10\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &reader{buf: body}
		_ = r.int16()
		for range r.count() {
			_ = r.string()
		}
		r = &reader{buf: body}
		_, _, _, _ = r.int16(), r.string(), r.bytes(), r.int64()
		var c frameCounter
		if ends := c.add(body); ends > len(body)/4 {
			t.Errorf("%d frames in %d bytes", ends, len(body))
		}
	})
}
