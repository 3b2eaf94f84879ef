package access

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/sirupsen/logrus"
	sasl "github.com/xdg-go/scram"

	"github.com/racecar-go/racecar/config"
)

// scram is SASL's SCRAM (RFC 5802): either side proves that it knows the password.
type scram struct{ client *sasl.Client }

func newScram256(c *config.Config, _ logrus.FieldLogger) (mechanism, error) {
	return newScram(c, sasl.SHA256)
}

func newScram512(c *config.Config, _ logrus.FieldLogger) (mechanism, error) {
	return newScram(c, sasl.SHA512)
}

func newScram(c *config.Config, hash sasl.HashGeneratorFcn) (mechanism, error) {
	username, password, err := nameAndPassword(c)
	if err != nil {
		return nil, err
	}
	// Unprepped: Kafka's brokers, Java's client and librdkafka take names and passwords
	// as they are, without the normalization of RFC 4013.
	client, err := hash.NewClientUnprepped(username, password, "")
	if err != nil {
		return nil, &ConfigError{Key: "sasl_username", Err: err}
	}
	return &scram{client: client.WithMinIterations(minIterations)}, nil
}

func (s *scram) begin(context.Context, string) (exchange, []byte, error) {
	x := scramExchange{s.client.NewConversation()}
	first, err := x.Step("")
	return x, []byte(first), err
}

func (*scram) close() {}

// scramExchange is one authentication.
type scramExchange struct{ *sasl.ClientConversation }

// Kafka's brokers keep passwords with 4,096 to 16,384 rounds of hashing. Fewer would
// make it easy to guess the password from what we send. The broker says how many there
// are: two thousand million would keep a core busy for half an hour.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// iterations matches the number of rounds in a server's first message (RFC 5802, 7).
var iterations = regexp.MustCompile(`(?:^|,)i=([0-9]*)`)

func (x scramExchange) next(challenge []byte) ([]byte, bool, error) {
	if m := iterations.FindSubmatch(challenge); m != nil {
		if n, err := strconv.ParseUint(string(m[1]), 10, 32); err != nil || n > maxIterations {
			return nil, false, untrusted(fmt.Errorf("it wants %.20s rounds of hashing, more than %d", m[1], maxIterations))
		}
	}
	response, err := x.Step(string(challenge))
	if err != nil {
		return nil, false, untrusted(err)
	}
	return []byte(response), x.Done(), nil
}

func (scramExchange) refused() BrokerError { return wrongPassword() }

// untrusted is the error for a broker that does not prove that it knows the password.
func untrusted(err error) error {
	return &BrokerError{Key: "sasl_password", Err: err,
		Problem: fmt.Sprintf("the broker's part of the SCRAM exchange is wrong: %v: it does not know our password, or is not the broker it claims to be", err)}
}
