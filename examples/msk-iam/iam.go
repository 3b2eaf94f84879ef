package main

import (
	"context"
	"errors"
	"os"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"

	"github.com/racecar-go/racecar/racecar"
)

func init() { racecar.Configure(useIAM) }

// useIAM makes each connection bring a token signed with whatever credentials the
// AWS SDK finds: environment, shared files, the role of the pod, task or machine.
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
