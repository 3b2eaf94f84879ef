package access

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// plain is SASL's PLAIN (RFC 4616): name and password as they are.
type plain struct{ username, password string }

func newPlain(c *config.Config, _ logrus.FieldLogger) (mechanism, error) {
	username, password, err := nameAndPassword(c)
	return plain{username, password}, err
}

func (p plain) begin(context.Context, string) (exchange, []byte, error) {
	return p, []byte("\x00" + p.username + "\x00" + p.password), nil
}

func (plain) next([]byte) ([]byte, bool, error) { return nil, true, nil }
func (plain) refused() BrokerError              { return wrongPassword() }
func (plain) close()                            {}
