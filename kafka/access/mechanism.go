package access

import (
	"context"

	"github.com/racecar-go/racecar/config"
)

// mechanism is a way to authenticate with brokers. It is safe for concurrent use.
type mechanism interface {
	// begin starts an authentication with the broker on host and returns the first
	// message. It may ask other servers, such as a KDC.
	begin(ctx context.Context, host string) (exchange, []byte, error)
	// close drops what the mechanism keeps between authentications.
	close()
}

// exchange is one authentication.
type exchange interface {
	// next takes the broker's answer to the previous message and returns the next message,
	// or done. An *Error is a broker that we do not trust.
	next(answer []byte) (message []byte, done bool, err error)
	// refused returns the setting to correct when the broker rejects the login.
	refused() BrokerError
}

// nameAndPassword returns sasl_username and sasl_password.
func nameAndPassword(c *config.Config) (username, password string, err error) {
	for _, setting := range []struct{ key, value string }{{"sasl_username", c.SASLUsername}, {"sasl_password", c.SASLPassword}} {
		if setting.value == "" {
			return "", "", &ConfigError{Key: setting.key, Problem: "missing: sasl_mechanism " + c.SASLMechanism + " needs it"}
		}
	}
	return c.SASLUsername, c.SASLPassword, nil
}

// wrongPassword is the result of refused in mechanisms with a name and a password.
func wrongPassword() BrokerError {
	return BrokerError{Key: "sasl_password", Problem: "wrong sasl_username or sasl_password"}
}
