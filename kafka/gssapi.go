package kafka

import (
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

// gssapiClient is the client's side of SASL's GSSAPI mechanism (RFC 4752) with
// Kerberos 5 (RFC 4121): it proves who we are, and wants neither signed nor
// sealed messages, since Kafka has TLS for that.
type gssapiClient struct {
	ticket ticket // for the broker
	begun  bool
}

// step returns the next token. The broker's answer to the first names the
// security layers it offers, our second takes none of them.
func (g *gssapiClient) step(challenge []byte) (answer []byte, last bool, err error) {
	if !g.begun {
		g.begun = true
		answer, err = g.request()
		return answer, false, err
	}
	answer, err = g.noLayer(challenge)
	return answer, true, err
}

// request is the token that carries our ticket (RFC 4121, 4.1).
func (g *gssapiClient) request() ([]byte, error) {
	auth, err := types.NewAuthenticator(g.ticket.clientRealm, g.ticket.client)
	if err != nil {
		return nil, err
	}
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: contextFlags()}
	req, err := messages.NewAPReq(g.ticket.Ticket, g.ticket.key, auth)
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

// noLayer answers the broker's offer (RFC 4752, 3.1): four bytes, the first a set
// of layers of which bit 1 is "none", the others a size that has no meaning then.
func (g *gssapiClient) noLayer(challenge []byte) ([]byte, error) {
	var offer gssapi.WrapToken
	err := safely(func() error {
		if err := offer.Unmarshal(challenge, true); err != nil {
			return err
		}
		if ok, err := offer.Verify(g.ticket.key, keyusage.GSSAPI_ACCEPTOR_SEAL); !ok {
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
	answer, err := gssapi.NewInitiatorWrapToken([]byte{none, 0, 0, 0}, g.ticket.key)
	if err != nil {
		return nil, err
	}
	return answer.Marshal()
}
