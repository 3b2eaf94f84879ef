package access

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// gssapiExchange is the client's side of SASL's GSSAPI mechanism (RFC 4752) with
// Kerberos 5 (RFC 4121): it authenticates us, and uses neither signed nor sealed
// messages: Kafka has TLS for that.
type gssapiExchange struct {
	kerberos *kerberos
	host     string
	ticket   ticket // for the broker
	cached   bool   // the ticket is not new
	answered bool   // the broker's offer of layers
}

// begin implements mechanism, with a ticket for the broker on host.
func (k *kerberos) begin(ctx context.Context, host string) (exchange, []byte, error) {
	x := &gssapiExchange{kerberos: k, host: host}
	var err error
	if x.ticket, x.cached, err = k.ticketFor(ctx, host); err != nil {
		return nil, nil, k.explain(host, err)
	}
	message, err := x.request()
	return x, message, err
}

// next answers the broker's first message, its offer of security layers.
func (x *gssapiExchange) next(answer []byte) ([]byte, bool, error) {
	if x.answered {
		return nil, true, nil
	}
	x.answered = true
	message, err := x.noLayer(answer)
	return message, false, err
}

func (x *gssapiExchange) refused() BrokerError {
	if x.cached {
		x.kerberos.forget(x.host) // the broker's key may have changed: the next connection brings a new ticket
		return BrokerError{Key: "sasl_kerberos_principal", Temporary: true, Problem: "it refuses our Kerberos ticket; the next attempt uses a new one"}
	}
	return BrokerError{Key: "sasl_kerberos_principal",
		Problem: "it refuses our Kerberos ticket (does its own keytab fit its name and sasl_kerberos_service_name?)"}
}

// request returns the token with our ticket (RFC 4121, 4.1).
func (x *gssapiExchange) request() ([]byte, error) {
	auth, err := types.NewAuthenticator(x.ticket.clientRealm, x.ticket.client)
	if err != nil {
		return nil, err
	}
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: contextFlags()}
	req, err := messages.NewAPReq(x.ticket.Ticket, x.ticket.key, auth)
	if err != nil {
		return nil, err
	}
	body, err := req.Marshal()
	if err != nil {
		return nil, err
	}
	oid, err := asn1.Marshal(gssapi.OIDKRB5.OID())
	if err != nil {
		return nil, err
	}
	token := append(oid, 0x01, 0x00) // KRB_AP_REQ
	return asn1tools.AddASNAppTag(append(token, body...), 0), nil
}

// contextFlags is the "checksum" of RFC 4121, 4.1.1: no channel bindings, and the
// flags of the context.
func contextFlags() []byte {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint32(b[0:], 16) // length of the bindings, which are zero
	binary.LittleEndian.PutUint32(b[20:], gssapi.ContextFlagInteg|gssapi.ContextFlagConf)
	return b
}

// noLayer answers the broker's offer (RFC 4752, 3.1): four bytes, of which the first is a
// set of layers, with bit 1 for "none", and the others are a size that does not matter.
func (x *gssapiExchange) noLayer(challenge []byte) ([]byte, error) {
	var offer gssapi.WrapToken
	err := safely(func() error {
		if err := offer.Unmarshal(challenge, true); err != nil {
			return err
		}
		if ok, err := offer.Verify(x.ticket.key, keyusage.GSSAPI_ACCEPTOR_SEAL); !ok {
			return errors.Join(errors.New("its checksum is wrong"), err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the broker's Kerberos token: %w", err)
	}
	const none = 1
	if len(offer.Payload) != 4 || offer.Payload[0]&none == 0 {
		return nil, errors.New("the broker insists on GSSAPI's own signing or sealing, which Kafka does not have")
	}
	answer, err := gssapi.NewInitiatorWrapToken([]byte{none, 0, 0, 0}, x.ticket.key)
	if err != nil {
		return nil, err
	}
	return answer.Marshal()
}
