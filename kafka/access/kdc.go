package access

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	krb5config "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// The exchanges with the Kerberos server (KDC, RFC 4120). The library has its
// messages and its cryptography. Its own client trusts the network: it allocates
// whatever length an answer announces and panics on an empty list.

const (
	// maxKDCAnswer bounds an answer. A ticket with Active Directory's data about
	// groups has 64 KiB at most.
	maxKDCAnswer = 1 << 20
	// kdcTimeout bounds one question to one server.
	kdcTimeout = 5 * time.Second
	// maxReferrals bounds how often one realm may send us to another.
	maxReferrals = 5
)

// kdcError is an error message of a KDC. Nothing proves that the KDC sent it:
// anybody on the network can. So it is temporary, whatever it says.
type kdcError struct{ code int32 }

func (e *kdcError) Error() string { return "the KDC answers: " + errorcode.Lookup(e.code) }

// silentKDCError reports that no KDC of a realm answered. It is temporary.
type silentKDCError struct {
	realm string
	err   error
}

func (e *silentKDCError) Error() string {
	return fmt.Sprintf("no Kerberos server (KDC) of realm %s answers: %s", e.realm, lastLine(e.err))
}
func (e *silentKDCError) Unwrap() error { return e.err }

// unknownRealmError says that neither krb5.conf nor the DNS names a KDC.
type unknownRealmError struct{ realm string }

func (e *unknownRealmError) Error() string { return "no Kerberos server (KDC) of realm " + e.realm }

// badReplyError is a reply that our key does not decrypt or that does not match our
// request. Nothing proves who sent it, so it is temporary.
type badReplyError struct{ err error }

func (e *badReplyError) Error() string { return "the KDC's answer: " + lastLine(e.err) }
func (e *badReplyError) Unwrap() error { return e.err }

// requestTGT gets a ticket-granting ticket with the key of a keytab (RFC 4120, 3.1).
func requestTGT(ctx context.Context, conf *krb5config.Config, creds *credentials.Credentials) (ticket, error) {
	realm := creds.Realm()
	req, err := messages.NewASReqForTGT(realm, conf, creds.CName())
	if err != nil {
		return ticket{}, err
	}
	answer, err := askKDC(ctx, conf, realm, req.Marshal)
	var refused *kdcRefusal
	if errors.As(err, &refused) && refused.ErrorCode == errorcode.KDC_ERR_PREAUTH_REQUIRED {
		if err = addTimestamp(&req, conf, creds, refused.EData); err == nil {
			answer, err = askKDC(ctx, conf, realm, req.Marshal)
		}
	}
	if err != nil {
		return ticket{}, err
	}
	rep, err := readASRep(answer, conf, creds, req)
	if err != nil {
		return ticket{}, err
	}
	return newTicket(creds, rep.Ticket, rep.DecryptedEncPart), nil
}

// readASRep decodes and verifies a reply to requestTGT's request.
func readASRep(answer []byte, conf *krb5config.Config, creds *credentials.Credentials, req messages.ASReq) (rep messages.ASRep, err error) {
	err = safely(func() error {
		if err := rep.Unmarshal(answer); err != nil {
			return err
		}
		_, err := rep.Verify(conf, creds, req)
		return err
	})
	if err != nil {
		return rep, &badReplyError{err}
	}
	return rep, nil
}

// readTGSRep decodes and verifies a reply to requestTicket's request.
func readTGSRep(answer []byte, conf *krb5config.Config, key types.EncryptionKey, req messages.TGSReq) (rep messages.TGSRep, err error) {
	err = safely(func() error {
		if err := rep.Unmarshal(answer); err != nil {
			return err
		}
		if err := rep.DecryptEncPart(key); err != nil {
			return err
		}
		_, err := rep.Verify(conf, req)
		return err
	})
	if err != nil {
		return rep, &badReplyError{err}
	}
	return rep, nil
}

// addTimestamp proves to the KDC that we have the key (RFC 4120, 5.2.7.2). hint is
// its list of encryption types. addTimestamp uses only types that we offered, since anybody
// may have sent the list.
func addTimestamp(req *messages.ASReq, conf *krb5config.Config, creds *credentials.Credentials, hint []byte) error {
	var offered []int32
	if err := safely(func() (err error) { offered, err = encryptionTypes(hint); return err }); err != nil {
		return &badReplyError{err}
	}
	for _, id := range offered {
		if !slices.Contains(conf.LibDefaults.DefaultTktEnctypeIDs, id) {
			continue
		}
		key, kvno, err := creds.Keytab().GetEncryptionKey(creds.CName(), creds.Realm(), 0, id)
		if err != nil {
			continue // the keytab may have a key of the next type
		}
		now, err := types.GetPAEncTSEncAsnMarshalled()
		if err != nil {
			return err
		}
		sealed, err := crypto.GetEncryptedData(now, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, kvno)
		if err != nil {
			return err
		}
		value, err := sealed.Marshal()
		if err != nil {
			return err
		}
		req.PAData = append(req.PAData, types.PAData{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value})
		return nil
	}
	return &kdcError{errorcode.KDC_ERR_ETYPE_NOSUPP}
}

// encryptionTypes are those that a KDC's hint lists.
func encryptionTypes(hint []byte) (offered []int32, err error) {
	var data types.PADataSequence
	if err := data.Unmarshal(hint); err != nil {
		return nil, err
	}
	for _, pa := range data {
		switch pa.PADataType {
		case patype.PA_ETYPE_INFO2:
			info, err := pa.GetETypeInfo2()
			if err != nil {
				return nil, err
			}
			for _, i := range info {
				offered = append(offered, i.EType)
			}
		case patype.PA_ETYPE_INFO:
			info, err := pa.GetETypeInfo()
			if err != nil {
				return nil, err
			}
			for _, i := range info {
				offered = append(offered, i.EType)
			}
		}
	}
	return offered, nil
}

// requestTicket gets a ticket for a service (RFC 4120, 3.3) and follows referrals to
// other realms.
func requestTicket(ctx context.Context, conf *krb5config.Config, creds *credentials.Credentials, realm string, tgt ticket, service types.PrincipalName) (ticket, error) {
	for range maxReferrals {
		req, err := messages.NewTGSReq(creds.CName(), realm, conf, tgt.Ticket, tgt.key, service, false)
		if err != nil {
			return ticket{}, err
		}
		answer, err := askKDC(ctx, conf, realm, req.Marshal)
		if err != nil {
			return ticket{}, err
		}
		rep, err := readTGSRep(answer, conf, tgt.key, req)
		if err != nil {
			return ticket{}, err
		}
		got := newTicket(creds, rep.Ticket, rep.DecryptedEncPart)
		name := rep.DecryptedEncPart.SName
		if name.Equal(service) || len(name.NameString) != 2 || name.NameString[0] != "krbtgt" {
			return got, nil
		}
		tgt, realm = got, name.NameString[1]
	}
	return ticket{}, &badReplyError{fmt.Errorf("more than %d referrals to other realms", maxReferrals)}
}

// kdcRefusal is a complete error message.
type kdcRefusal struct{ messages.KRBError }

func (e *kdcRefusal) Unwrap() error { return &kdcError{e.ErrorCode} }

// askKDC sends a request to the realm's servers, one after the other, until one
// answers: by TCP, and by UDP where none does.
func askKDC(ctx context.Context, conf *krb5config.Config, realm string, marshal func() ([]byte, error)) ([]byte, error) {
	request, err := marshal()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, network := range []string{"tcp", "udp"} {
		if network == "udp" && conf.LibDefaults.UDPPreferenceLimit == 1 { // krb5.conf(5): never
			break
		}
		servers, err := Await(ctx, func() (map[int]string, error) { // may ask the DNS
			_, servers, err := conf.GetKDCs(realm, network == "tcp")
			return servers, err
		})
		if err != nil {
			if !conf.LibDefaults.DNSLookupKDC {
				return nil, &unknownRealmError{realm}
			}
			errs = append(errs, err)
			continue
		}
		for _, i := range slices.Sorted(maps.Keys(servers)) {
			answer, err := roundTrip(ctx, network, servers[i], request)
			if err == nil {
				return checkRefusal(answer)
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			errs = append(errs, err)
		}
	}
	return nil, &silentKDCError{realm, errors.Join(errs...)}
}

// checkRefusal returns an answer that is an error message as an error.
func checkRefusal(answer []byte) ([]byte, error) {
	var refusal messages.KRBError
	if err := safely(func() error { return refusal.Unmarshal(answer) }); err != nil {
		return answer, nil //nolint:nilerr // so it is a reply
	}
	return nil, &kdcRefusal{refusal}
}

// roundTrip sends one request to one server and returns the answer, of maxKDCAnswer
// bytes at most.
func roundTrip(ctx context.Context, network, addr string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kdcTimeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, strconv.Itoa(kerberosPort))
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // it served for one question
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "udp" {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		answer := make([]byte, 64<<10)
		n, err := conn.Read(answer)
		return answer[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("read from %s: %w", addr, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxKDCAnswer {
		return nil, fmt.Errorf("%s announces an answer of %d bytes: not a Kerberos server", addr, n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("read from %s: %w", addr, err)
	}
	return answer, nil
}

const kerberosPort = 88

// lastLine joins the lines of the Kerberos library's errors.
func lastLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// ticket is a ticket with its key.
type ticket struct {
	messages.Ticket
	key         types.EncryptionKey
	start, end  time.Time
	client      types.PrincipalName // whose it is
	clientRealm string
}

// newTicket takes a ticket out of the KDC's answer, the parts of which have the
// same form for both kinds.
func newTicket(client *credentials.Credentials, t messages.Ticket, enc messages.EncKDCRepPart) ticket {
	return ticket{
		Ticket: t, key: enc.Key, start: enc.AuthTime, end: enc.EndTime,
		client: client.CName(), clientRealm: client.Realm(),
	}
}

// ticketMargin is how long a ticket must still be valid to be used.
const ticketMargin = time.Minute

func (t ticket) valid() bool { return time.Until(t.end) > ticketMargin }

// renewalDue reports whether four fifths of the ticket's lifetime are over: time to renew, as in
// Java.
func (t ticket) renewalDue() bool { return time.Since(t.start) > t.end.Sub(t.start)*4/5 }

// safely turns the panics of a parser on damaged bytes into an error.
func safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("damaged")
		}
	}()
	return f()
}
