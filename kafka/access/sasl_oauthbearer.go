package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// oauthBearer is SASL's OAUTHBEARER (RFC 7628, KIP-255): a token that another system issues.
type oauthBearer struct {
	file    string // read again for each authentication
	ask     func(context.Context) (config.OAuthToken, error)
	timeout time.Duration
}

func newOAuthBearer(c *config.Config, _ logrus.FieldLogger) (mechanism, error) {
	if c.SASLOAuthBearerTokenFile == "" && c.OAuthToken == nil {
		return nil, &ConfigError{Key: "sasl_oauthbearer_token_file",
			Problem: "missing: sasl_mechanism OAUTHBEARER needs it, or an OAuthToken function set by racecar.Configure"}
	}
	return oauthBearer{file: c.SASLOAuthBearerTokenFile, ask: c.OAuthToken, timeout: socketTimeout(c)}, nil
}

func (o oauthBearer) begin(ctx context.Context, _ string) (exchange, []byte, error) {
	token, err := o.token(ctx)
	if err != nil {
		return nil, nil, &TokenError{err}
	}
	var message strings.Builder
	fmt.Fprintf(&message, "n,,\x01auth=Bearer %s", token.Token)
	for _, k := range slices.Sorted(maps.Keys(token.Extensions)) {
		fmt.Fprintf(&message, "\x01%s=%s", k, token.Extensions[k])
	}
	message.WriteString("\x01\x01")
	return o, []byte(message.String()), nil
}

// next answers a broker's objection to the token with an empty message; the broker then
// rejects the login (RFC 7628, 3.2.3).
func (oauthBearer) next(answer []byte) ([]byte, bool, error) {
	return []byte("\x01"), len(answer) == 0, nil
}

// refused is temporary: the next token may be valid.
func (oauthBearer) refused() BrokerError {
	return BrokerError{Key: "sasl_oauthbearer_token_file", Problem: "it refuses our token", Temporary: true}
}

func (oauthBearer) close() {}

// TokenError is an OAUTHBEARER token that could not be obtained. It is temporary: others
// renew tokens.
type TokenError struct{ Err error }

func (e *TokenError) Error() string { return "token for sasl_mechanism OAUTHBEARER: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

// token asks the function set by the user, or else reads the file.
func (o oauthBearer) token(ctx context.Context) (config.OAuthToken, error) {
	if o.ask == nil {
		return o.read()
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	token, err := o.asked(ctx)
	if err == nil && token.Token == "" {
		err = errors.New("the OAuthToken function returned an empty one")
	}
	if _, reserved := token.Extensions["auth"]; err == nil && reserved {
		err = errors.New(`the OAuthToken function returned an extension "auth", which is the token's name`)
	}
	return token, err
}

// asked calls the user's function. It recovers panics, which would end the process, and
// returns at the timeout, since a call that hangs would block the connection for ever.
func (o oauthBearer) asked(ctx context.Context) (config.OAuthToken, error) {
	type answer struct {
		token config.OAuthToken
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("the OAuthToken function panicked: %v", p)
			}
			got <- a
		}()
		a.token, a.err = o.ask(ctx)
	}()
	select {
	case a := <-got:
		return a.token, a.err
	case <-ctx.Done():
		return config.OAuthToken{}, fmt.Errorf("the OAuthToken function did not return within %v", o.timeout)
	}
}

func (o oauthBearer) read() (config.OAuthToken, error) {
	data, err := os.ReadFile(o.file)
	if err != nil {
		return config.OAuthToken{}, fmt.Errorf("sasl_oauthbearer_token_file: %w", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return config.OAuthToken{}, fmt.Errorf("sasl_oauthbearer_token_file: %q is empty", o.file)
	}
	if bytes.ContainsAny(data, "\x01\r\n") {
		return config.OAuthToken{}, fmt.Errorf("sasl_oauthbearer_token_file: %q holds more than one line", o.file)
	}
	return config.OAuthToken{Token: string(data)}, nil
}
