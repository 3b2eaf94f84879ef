package access

import (
	"crypto"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// testdata/keys holds one key, encrypted by OpenSSL 3 in all the ways that it and Java
// read ("sécret"), and with its certificate in key stores ("secret"): OpenSSL's, with and
// without a checksum (-nomac), and Java's keytool's, in one of which an authority's
// entry comes before the key's.

func TestEncryptedKeys(t *testing.T) {
	paths, err := filepath.Glob("testdata/keys/*.pem")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d keys, %v", len(paths), err)
	}
	data, err := os.ReadFile("testdata/keys/plain.pem")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := parseKey(data, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if path == "testdata/keys/plain.pem" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		key, err := parseKey(data, "sécret")
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !plain.(interface {
			Equal(x crypto.PrivateKey) bool
		}).Equal(key) {
			t.Errorf("%s: another key", path)
		}
		if _, err := parseKey(data, "secret"); !errors.Is(err, errKeyPassword) {
			t.Errorf("%s with a wrong password: %v", path, err)
		}
		if _, err := parseKey(data, ""); !errors.Is(err, errKeyEncrypted) {
			t.Errorf("%s without a password: %v", path, err)
		}
	}
}

func TestKeyStoresOfOpenSSLAndJava(t *testing.T) {
	paths, err := filepath.Glob("testdata/keys/*.p12")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d key stores, %v", len(paths), err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := parseKeystore(data, "secret")
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if name := cert.Leaf.Subject.CommonName; name != "worker" || len(cert.Certificate) != 1 {
			t.Errorf("%s: the certificate is %s's, with %d more", path, name, len(cert.Certificate)-1)
		}
		if _, err := parseKeystore(data, "wrong"); !errors.Is(err, pkcs12.ErrIncorrectPassword) {
			t.Errorf("%s with a wrong password: %v", path, err)
		}
	}
}

// What we do not know is named, and damaged files are no panic.
func TestDamagedEncryptedKeys(t *testing.T) {
	paths, err := filepath.Glob("testdata/keys/*.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		for i := range block.Bytes {
			der := slices.Clone(block.Bytes)
			der[i] ^= 0x04
			if hasLargeInteger(der) && !hasLargeInteger(block.Bytes) {
				continue // more rounds of hashing than a test has time for
			}
			if i > 120 || strings.Contains(path, "scrypt") && i > 40 {
				break // ciphertext from here on; scrypt takes long
			}
			if _, err := decryptKey(der, "x"); err == nil || strings.Contains(err.Error(), "panic") {
				t.Errorf("%s, byte %d: %v", path, i, err)
			}
		}
	}
}
