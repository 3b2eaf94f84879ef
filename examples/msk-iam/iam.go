package main

import (
	"context"
	"errors"
	"os"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"

	"github.com/racecar-go/racecar/racecar"
)

func init() { racecar.Configure(useIAM) }

// useIAM authenticates each connection with a token that is signed with the credentials that the
// AWS SDK finds: in the environment, in shared files, or by the role of the pod, task or machine.
func useIAM(c *racecar.Config) error {
	region := os.Getenv("AWS_REGION")
	if region == "" {
		return errors.New("AWS_REGION is not set: the region of the MSK cluster is needed to sign tokens")
	}
	c.SecurityProtocol = "sasl_ssl"
	c.SASLMechanism = "OAUTHBEARER"
	c.OAuthToken = func(ctx context.Context) (racecar.OAuthToken, error) {
		token, _, err := signer.GenerateAuthToken(ctx, region)
		return racecar.OAuthToken{Token: token}, err
	}
	return nil
}
