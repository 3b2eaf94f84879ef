package access

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // #nosec G502 -- what existing key files are encrypted with
	"crypto/hmac"
	"crypto/md5" // #nosec G501 -- likewise
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- likewise
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"slices"
	"unicode/utf16"

	"golang.org/x/crypto/scrypt"
)

// Encrypted private keys in PKCS#8, in all schemes that OpenSSL and Java write: PBES2
// (RFC 8018), and the older PBES1 and PKCS#12 (RFC 7292, appendix B).

// encryptedKey is EncryptedPrivateKeyInfo.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

var (
	oidMD5DES   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 3}
	oidSHA1DES  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 10}
	oidSHA13DES = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 3}
	oidPBES2    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMAC     = asn1.ObjectIdentifier{1, 2, 840, 113549, 2} // with a hash's number behind it
	oidDES3     = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
	oidAES      = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1} // with a size's number behind it
)

// decryptKey decrypts PKCS#8. errKeyPassword: the result is not a key.
func decryptKey(der []byte, password string) (any, error) {
	var info encryptedKey
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("the encrypted key is damaged")
	}
	block, iv, err := keyCipher(info.Algorithm, password)
	if err != nil {
		return nil, err
	}
	if len(iv) != block.BlockSize() || len(info.Data) == 0 || len(info.Data)%block.BlockSize() != 0 {
		return nil, errors.New("the encrypted key is damaged")
	}
	plain := bytes.Clone(info.Data)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, plain)
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > block.BlockSize() {
		return nil, errKeyPassword
	}
	key, err := x509.ParsePKCS8PrivateKey(plain[:len(plain)-padding])
	if err != nil {
		return nil, errKeyPassword // there is no checksum: the padding can be right by chance
	}
	return key, nil
}

// keyCipher derives the cipher and its initialization vector from an algorithm and a password.
func keyCipher(alg pkix.AlgorithmIdentifier, password string) (cipher.Block, []byte, error) {
	if alg.Algorithm.Equal(oidPBES2) {
		return pbes2(alg.Parameters.FullBytes, password)
	}
	var p struct {
		Salt   []byte
		Rounds int
	}
	if _, err := asn1.Unmarshal(alg.Parameters.FullBytes, &p); err != nil || p.Rounds < 1 {
		return nil, nil, fmt.Errorf("the key is encrypted with %s, which we do not know", alg.Algorithm)
	}
	switch {
	case alg.Algorithm.Equal(oidSHA13DES):
		block, err := des.NewTripleDESCipher(pkcs12KDF(1, password, p.Salt, p.Rounds, 24)) // #nosec G405 -- see above
		return block, pkcs12KDF(2, password, p.Salt, p.Rounds, 8), err
	case alg.Algorithm.Equal(oidMD5DES), alg.Algorithm.Equal(oidSHA1DES):
		h := md5.New() // #nosec G401 -- see above
		if alg.Algorithm.Equal(oidSHA1DES) {
			h = sha1.New() // #nosec G401 -- see above
		}
		derived := slices.Concat([]byte(password), p.Salt)
		for range p.Rounds { // PBKDF1
			h.Reset()
			h.Write(derived)
			derived = h.Sum(nil)
		}
		block, err := des.NewCipher(derived[:8]) // #nosec G405 -- see above
		return block, derived[8:16], err
	}
	return nil, nil, fmt.Errorf("the key is encrypted with %s, which we do not know", alg.Algorithm)
}

// pbes2 is the current scheme: one algorithm derives a key from the password, another
// encrypts with it.
func pbes2(params []byte, password string) (cipher.Block, []byte, error) {
	var p struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	var iv []byte
	if _, err := asn1.Unmarshal(params, &p); err != nil {
		return nil, nil, errors.New("the encrypted key is damaged")
	}
	if _, err := asn1.Unmarshal(p.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, nil, fmt.Errorf("the key is encrypted with %s, which we do not know", p.Cipher.Algorithm)
	}
	size, make := 24, des.NewTripleDESCipher
	if n := len(oidAES); len(p.Cipher.Algorithm) == n+1 && p.Cipher.Algorithm[:n].Equal(oidAES) {
		sizes := map[int]int{2: 16, 22: 24, 42: 32} // CBC with keys of 128, 192 and 256 bits
		size, make = sizes[p.Cipher.Algorithm[n]], aes.NewCipher
	} else if !p.Cipher.Algorithm.Equal(oidDES3) {
		size = 0
	}
	if size == 0 {
		return nil, nil, fmt.Errorf("the key is encrypted with %s, which we do not know", p.Cipher.Algorithm)
	}
	key, err := deriveKey(p.KDF, password, size)
	if err != nil {
		return nil, nil, err
	}
	block, err := make(key)
	return block, iv, err
}

func deriveKey(alg pkix.AlgorithmIdentifier, password string, size int) ([]byte, error) {
	switch {
	case alg.Algorithm.Equal(oidPBKDF2):
		var p struct {
			Salt   []byte
			Rounds int
			Size   int                      `asn1:"optional"`
			PRF    pkix.AlgorithmIdentifier `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(alg.Parameters.FullBytes, &p); err != nil || p.Rounds < 1 {
			return nil, errors.New("the encrypted key is damaged")
		}
		h, ok := prfHash(p.PRF.Algorithm)
		if !ok {
			return nil, fmt.Errorf("the key's password is hashed with %s, which we do not know", p.PRF.Algorithm)
		}
		return pbkdf2.Key(h, password, p.Salt, p.Rounds, size)
	case alg.Algorithm.Equal(oidScrypt):
		var p struct {
			Salt              []byte
			N, R, Parallelism int
			Size              int `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(alg.Parameters.FullBytes, &p); err != nil {
			return nil, errors.New("the encrypted key is damaged")
		}
		if p.N > 1<<20 || p.R < 1 || p.R > 64 || p.Parallelism < 1 || p.Parallelism > 64 || p.N/64*p.R > 1<<20 {
			return nil, errors.New("the key's password is hashed with more memory than we grant (scrypt)")
		}
		return scrypt.Key([]byte(password), p.Salt, p.N, p.R, p.Parallelism, size)
	}
	return nil, fmt.Errorf("the key's password is hashed with %s, which we do not know", alg.Algorithm)
}

// prfHash is the hash of an HMAC; without one it is SHA-1 (RFC 8018, A.2).
func prfHash(oid asn1.ObjectIdentifier) (func() hash.Hash, bool) {
	n := len(oidHMAC)
	if len(oid) == 0 {
		return sha1.New, true
	}
	if len(oid) != n+1 || !oid[:n].Equal(oidHMAC) {
		return nil, false
	}
	h, ok := map[int]func() hash.Hash{7: sha1.New, 8: sha256.New224, 9: sha256.New, 10: sha512.New384, 11: sha512.New}[oid[n]]
	return h, ok
}

// pkcs12KDF is RFC 7292, B.2, with SHA-1: purpose 1 makes a key, 2 a vector.
func pkcs12KDF(purpose byte, password string, salt []byte, rounds, size int) []byte {
	const blockSize = 64 // of SHA-1
	fill := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		n := (len(b) + blockSize - 1) / blockSize * blockSize
		return bytes.Repeat(b, n/len(b)+1)[:n]
	}
	var text []byte
	for _, u := range append(utf16.Encode([]rune(password)), 0) {
		text = append(text, byte(u>>8), byte(u))
	}
	in := slices.Concat(fill(salt), fill(text))
	var out []byte
	for len(out) < size {
		sum := sha1.Sum(slices.Concat(bytes.Repeat([]byte{purpose}, blockSize), in)) // #nosec G401 -- see above
		for range rounds - 1 {
			sum = sha1.Sum(sum[:]) // #nosec G401 -- see above
		}
		out = append(out, sum[:]...)
		add := fill(sum[:])
		for i := 0; i < len(in); i += blockSize { // each block of in plus add plus 1
			carry := 1
			for j := blockSize - 1; j >= 0; j-- {
				carry += int(in[i+j]) + int(add[j])
				in[i+j] = byte(carry)
				carry >>= 8
			}
		}
	}
	return out[:size]
}

// pfx is PKCS#12's outermost structure.
type pfx struct {
	Version  int
	AuthSafe struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	MAC asn1.RawValue `asn1:"optional"`
}

// withMAC adds the checksum to a PKCS#12 file that has none, as OpenSSL's -nomac
// leaves it: the library wants one, OpenSSL and Java do not. A file that has one, or
// that is none, is returned as it is.
func withMAC(der []byte, password string) []byte {
	var file pfx
	if rest, err := asn1.Unmarshal(der, &file); err != nil || len(rest) > 0 || len(file.MAC.FullBytes) > 0 || password == "" {
		return der
	}
	var content []byte
	if _, err := asn1.Unmarshal(file.AuthSafe.Content.Bytes, &content); err != nil {
		return der
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	const rounds, size = 1, 32
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, size)
	if err != nil {
		return der
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	type algorithm struct {
		ID     asn1.ObjectIdentifier
		Params any `asn1:"optional"`
	}
	type kdf struct {
		Salt         []byte
		Rounds, Size int
		PRF          pkix.AlgorithmIdentifier
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: append(slices.Clone(oidHMAC), 9)}
	pbmac1 := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14} // RFC 9579
	sum, err := asn1.Marshal(struct {
		Digest struct {
			Algorithm algorithm
			Sum       []byte
		}
		Salt   []byte
		Rounds int
	}{
		Digest: struct {
			Algorithm algorithm
			Sum       []byte
		}{algorithm{pbmac1, struct {
			KDF algorithm
			MAC pkix.AlgorithmIdentifier
		}{algorithm{oidPBKDF2, kdf{salt, rounds, size, sha}}, sha}}, mac.Sum(nil)},
		Salt: salt, Rounds: rounds,
	})
	if err != nil {
		return der
	}
	file.MAC = asn1.RawValue{FullBytes: sum}
	if whole, err := asn1.Marshal(file); err == nil {
		return whole
	}
	return der
}

var errKeyPassword = errors.New("wrong password for the key")
