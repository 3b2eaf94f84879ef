package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/racecar-go/racecar/config"
)

// saslSettings are the sasl_ keys, checked. Kerberos is in krb5.go.
type saslSettings struct {
	mechanism sarama.SASLMechanism
	username  string
	password  string
	tokens    sarama.AccessTokenProvider // OAUTHBEARER only
}

// newSASL checks the settings; its error is permanent.
func newSASL(c *config.Config) (*saslSettings, error) {
	s := &saslSettings{mechanism: sarama.SASLMechanism(c.SASLMechanism), username: c.SASLUsername, password: c.SASLPassword}
	if s.mechanism == "" {
		s.mechanism = sarama.SASLTypeGSSAPI // librdkafka's default, so upstream's
	}
	switch s.mechanism {
	case sarama.SASLTypeGSSAPI:
	case sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		if s.username == "" {
			return nil, &ConfigError{Key: "sasl_username", Problem: "missing: sasl_mechanism " + c.SASLMechanism + " needs it"}
		}
		if s.password == "" {
			return nil, &ConfigError{Key: "sasl_password", Problem: "missing: sasl_mechanism " + c.SASLMechanism + " needs it"}
		}
	case sarama.SASLTypeOAuth:
		s.tokens = tokenSource{file: c.SASLOAuthBearerTokenFile, ask: c.OAuthToken, timeout: socketTimeout(c)}
		if c.SASLOAuthBearerTokenFile == "" && c.OAuthToken == nil {
			return nil, &ConfigError{Key: "sasl_oauthbearer_token_file",
				Problem: "missing: sasl_mechanism OAUTHBEARER needs it, or an OAuthToken function set by racecar.Configure"}
		}
	default:
		return nil, &ConfigError{Key: "sasl_mechanism",
			Problem: quoted(c.SASLMechanism) + " is unknown: use GSSAPI, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"}
	}
	return s, nil
}

// apply leaves GSSAPI to our dialer: sarama would log in for each connection.
func (s *saslSettings) apply(conf *sarama.Config) {
	if s.mechanism == sarama.SASLTypeGSSAPI {
		return
	}
	n := &conf.Net.SASL
	n.Enable = true
	n.Mechanism = s.mechanism
	n.User, n.Password = s.username, s.password
	n.TokenProvider = s.tokens
	switch s.mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		n.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
	case sarama.SASLTypeSCRAMSHA512:
		n.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
	}
}

// scramClient is one authentication by SCRAM (RFC 5802).
type scramClient struct {
	hash         scram.HashGeneratorFcn
	conversation *scram.ClientConversation
}

// Begin implements sarama.SCRAMClient.
func (s *scramClient) Begin(user, password, authzID string) error {
	// Unprepped: Kafka's brokers, Java's client and librdkafka take names and passwords
	// as they are, without the normalization of RFC 4013.
	client, err := s.hash.NewClientUnprepped(user, password, authzID)
	if err != nil {
		return err
	}
	s.conversation = client.WithMinIterations(minIterations).NewConversation()
	return nil
}

// Kafka's brokers keep passwords with 4,096 to 16,384 rounds of hashing. Fewer would
// make it easy to guess the password from what we send. How many there are is said by
// whoever answers: with two thousand million a core would be busy for half an hour.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// iterations finds the number of rounds in a server's first message (RFC 5802, 7).
var iterations = regexp.MustCompile(`(?:^|,)i=([0-9]*)`)

// Step implements sarama.SCRAMClient.
func (s *scramClient) Step(challenge string) (string, error) {
	if m := iterations.FindStringSubmatch(challenge); m != nil {
		if n, err := strconv.ParseUint(m[1], 10, 32); err != nil || n > maxIterations {
			return "", fmt.Errorf("%s: it wants %.20s rounds of hashing, more than %d", scramRefused, m[1], maxIterations)
		}
	}
	response, err := s.conversation.Step(challenge)
	if err != nil {
		return "", fmt.Errorf("%s: %w", scramRefused, err)
	}
	return response, nil
}

// Done implements sarama.SCRAMClient.
func (s *scramClient) Done() bool { return s.conversation.Done() }

// scramRefused begins the error of a broker that does not prove that it knows
// the password as well.
const scramRefused = "the broker's part of the SCRAM exchange is wrong"

// tokenSource hands OAUTHBEARER tokens to sarama.
type tokenSource struct {
	file    string // read anew for each connection
	ask     func(context.Context) (config.OAuthToken, error)
	timeout time.Duration
}

// TokenError is an OAUTHBEARER token that was not to be had. It passes: tokens
// are renewed by others.
type TokenError struct{ Err error }

func (e *TokenError) Error() string { return "token for sasl_mechanism OAUTHBEARER: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

// Token implements sarama.AccessTokenProvider. A function set by the user beats
// the file.
func (t tokenSource) Token() (*sarama.AccessToken, error) {
	token, err := t.token()
	if err != nil {
		return nil, &TokenError{err}
	}
	return token, nil
}

// asked is what the user's function returns. It runs inside sarama, where a panic
// would end the process and a call that never ends would hold the broker for ever.
func (t tokenSource) asked(ctx context.Context) (config.OAuthToken, error) {
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
		a.token, a.err = t.ask(ctx)
	}()
	select {
	case a := <-got:
		return a.token, a.err
	case <-ctx.Done():
		return config.OAuthToken{}, fmt.Errorf("the OAuthToken function did not return within %v", t.timeout)
	}
}

func (t tokenSource) token() (*sarama.AccessToken, error) {
	if t.ask != nil {
		ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
		defer cancel()
		token, err := t.asked(ctx)
		if err == nil && token.Token == "" {
			err = errors.New("the OAuthToken function returned an empty one")
		}
		return &sarama.AccessToken{Token: token.Token, Extensions: token.Extensions}, err
	}
	data, err := os.ReadFile(t.file)
	if err != nil {
		return nil, fmt.Errorf("sasl_oauthbearer_token_file: %w", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, fmt.Errorf("sasl_oauthbearer_token_file: %q is empty", t.file)
	}
	if bytes.ContainsAny(data, "\x01\r\n") {
		return nil, fmt.Errorf("sasl_oauthbearer_token_file: %q holds more than one line", t.file)
	}
	return &sarama.AccessToken{Token: string(data)}, nil
}
