package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

// A token is a request that is signed for the cluster's region, without a request to AWS.
func TestUseIAM(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var c racecar.Config
	if err := useIAM(&c); err != nil {
		t.Fatal(err)
	}
	if c.SecurityProtocol != "sasl_ssl" || c.SASLMechanism != "OAUTHBEARER" {
		t.Errorf("protocol %q, mechanism %q", c.SecurityProtocol, c.SASLMechanism)
	}
	token, err := c.OAuthToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	url, err := base64.RawURLEncoding.DecodeString(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"https://kafka.eu-central-1.amazonaws.com/", "AKIDEXAMPLE", "X-Amz-Signature="} {
		if !strings.Contains(string(url), part) {
			t.Errorf("%q is not in %s", part, url)
		}
	}
}

func TestUseIAMWithoutRegion(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	if err := useIAM(new(racecar.Config)); err == nil {
		t.Error("a region was guessed")
	}
}
