package access

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	krb5config "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/racecar-go/racecar/test/kafka/pki"
)

// FuzzPEM: every file yields certificates, a key, a revocation list or an error, and never a
// panic. Accepted material can be used.
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

// expensive reports whether key derivation could take long: the file says how many
// rounds it has, and the fuzzer changes that number.
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
	f.Add([]byte("\x00\x00\x00\x11\x00\x00\x00\x01\x00\x21\x00\x00\x00\x01\x00\x05PLAIN"))
	f.Add([]byte("\x00\x00\x00\x16\x00\x00\x00\x01\x00\x00\xff\xff\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x10\x00"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		_ = (&Wire{Conn: &answering{answer: answer}}).handshake("PLAIN")
		_, _, _ = (&Wire{Conn: &answering{answer: answer}}).authenticate(nil)
		var c frameCounter
		if ends := c.add(answer); ends > len(answer)/4 {
			t.Errorf("%d frames in %d bytes", ends, len(answer))
		}
	})
}

// answering is a connection to a broker that answers anything with the same bytes.
type answering struct {
	net.Conn
	answer []byte
}

func (*answering) SetDeadline(time.Time) error { return nil }
func (*answering) Write(b []byte) (int, error) { return len(b), nil }
func (a *answering) Read(b []byte) (int, error) {
	if len(a.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(b, a.answer)
	a.answer = a.answer[n:]
	return n, nil
}

// FuzzAnswers: a stream of any bytes, in pieces of any size, is followed or rejected, and no
// answer above its limit passes.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"), uint8(3))
	f.Add([]byte("\x7f\xff\xff\xff\x00\x00\x00\x00"), uint8(1))
	f.Add([]byte("\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x81\x80\x00"), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		c := &limitedConn{}
		for id, key := range []kmsg.Key{kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.Metadata, kmsg.Metadata, kmsg.Fetch, kmsg.JoinGroup} {
			c.asked = append(c.asked, request{key: int16(key), version: int16(id * 3), correlationID: uint32(id)})
		}
		for b := stream; len(b) > 0; {
			n := min(int(step)+1, len(b))
			if err := c.check(b[:n]); err != nil {
				return
			}
			b = b[n:]
			if c.left > int64(answerLimit(c.current.key)) {
				t.Fatalf("%d bytes of an answer to %d are awaited", c.left, c.current.key)
			}
		}
	})
}

// FuzzKDCAnswer: what a Kerberos server sends is a reply, an error message or damaged.
func FuzzKDCAnswer(f *testing.F) {
	conf, err := krb5config.NewFromString("[libdefaults]\ndefault_realm = TEST\n")
	if err != nil {
		f.Fatal(err)
	}
	kt := keytab.New()
	if err := kt.AddEntry("alice", "TEST", "secret", time.Now(), 1, etypeID.AES256_CTS_HMAC_SHA1_96); err != nil {
		f.Fatal(err)
	}
	creds := credentials.New("alice", "TEST").WithKeytab(kt)
	req, err := messages.NewASReqForTGT("TEST", conf, creds.CName())
	if err != nil {
		f.Fatal(err)
	}
	refusal := messages.NewKRBError(creds.CName(), "TEST", 25, "")
	refusal.EData = []byte{0x30, 0x0d, 0x30, 0x0b, 0xa1, 3, 2, 1, 19, 0xa2, 4, 4, 2, 0x30, 0}
	seed, err := refusal.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x6b\x03\x30\x01\x00"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		rest, err := checkRefusal(answer)
		if refused, ok := errors.AsType[*kdcRefusal](err); ok {
			again := req
			if err := addTimestamp(&again, conf, creds, refused.EData); err == nil && len(again.PAData) == 0 {
				t.Error("neither a timestamp nor an error")
			}
			return
		}
		if _, err := readASRep(rest, conf, creds, req); err == nil {
			t.Error("a reply without the key is taken")
		}
		if _, err := readTGSRep(rest, conf, kt.Entries[0].Key, messages.TGSReq{}); err == nil {
			t.Error("a ticket without the session's key is taken")
		}
	})
}

// FuzzKerberosOffer: the broker's offer of layers is its own, or damaged.
func FuzzKerberosOffer(f *testing.F) {
	f.Add([]byte("\x05\x04\x01\xff\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x00\x00AAAAAAAAAAAA"))
	key := types.EncryptionKey{KeyType: etypeID.AES256_CTS_HMAC_SHA1_96, KeyValue: make([]byte, 32)}
	f.Fuzz(func(t *testing.T, token []byte) {
		x := &gssapiExchange{ticket: ticket{key: key}}
		if answer, done, err := x.next(token); err == nil && (len(answer) == 0 || done) {
			t.Errorf("answer %q, done %v", answer, done)
		}
	})
}

// FuzzScram: what a broker says in a SCRAM exchange ends in time and never in a login,
// since it does not know the password.
func FuzzScram(f *testing.F) {
	f.Add("r=NONCEx,s=c2FsdA==,i=4096", "v=c2lnbmF0dXJl")
	f.Add("r=NONCE,s=,i=2147483647", "e=no")
	f.Fuzz(func(t *testing.T, first, second string) {
		if m := iterations.FindStringSubmatch(first); m != nil && len(m[1]) > 4 {
			t.Skip("may ask for more hashing than a fuzzer has time for")
		}
		x, own, err := scramOf(t).begin(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(own), "r=")
		if _, _, err := x.next([]byte(strings.ReplaceAll(first, "NONCE", nonce))); err != nil {
			return
		}
		if _, _, err := x.next([]byte(second)); err == nil {
			t.Errorf("%q and %q prove the password", first, second)
		}
	})
}
