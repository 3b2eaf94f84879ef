package config

import (
	"fmt"
	"strings"
)

// tlsKeys need a protocol with TLS.
var tlsKeys = []string{
	"ssl_ca_location", "ssl_crl_location", "ssl_keystore_location", "ssl_keystore_password",
	"ssl_certificate_location", "ssl_key_location", "ssl_key_password",
	"ssl_ca_pem", "ssl_certificate_pem", "ssl_key_pem",
}

// saslKeys need a protocol with SASL.
var saslKeys = []string{
	"sasl_mechanism", "sasl_username", "sasl_password", "sasl_kerberos_principal",
	"sasl_kerberos_keytab", "sasl_oauthbearer_token_file",
}

// UsesTLS reports whether connections to brokers use TLS.
func (c Config) UsesTLS() bool { return strings.HasSuffix(c.SecurityProtocol, "ssl") }

// UsesSASL reports whether clients authenticate with SASL.
func (c Config) UsesSASL() bool { return strings.HasPrefix(c.SecurityProtocol, "sasl_") }

// Mechanism is the SASL mechanism in use, by default GSSAPI, as in librdkafka. Empty without
// SASL.
func (c Config) Mechanism() string {
	switch {
	case !c.UsesSASL():
		return ""
	case c.SASLMechanism == "":
		return "GSSAPI"
	}
	return c.SASLMechanism
}

// security checks the keys of TLS and SASL against the protocol, and reports settings that
// would have no effect.
func (v *validator) security() {
	if !v.sound("security_protocol", "sasl_mechanism") {
		return // what follows from them is not known
	}
	c := v.c
	protocol := c.SecurityProtocol
	if protocol == "" {
		protocol = "plaintext"
	}
	// A value that could not be read was given all the same.
	given := func(key string) bool {
		k, _ := Lookup(key)
		return v.unsound[key] || !k.value(c).IsZero()
	}
	with := "ssl"
	if c.UsesSASL() {
		with = "sasl_ssl"
	}
	for _, key := range tlsKeys {
		if given(key) && !c.UsesTLS() {
			v.idle(key, "has no effect with security_protocol %s: set security_protocol to %s", protocol, with)
		}
	}
	with = "sasl_ssl"
	if c.SecurityProtocol == "" {
		with = "sasl_ssl or sasl_plaintext"
	}
	for _, key := range saslKeys {
		if given(key) && !c.UsesSASL() {
			v.idle(key, "has no effect with security_protocol %s: set security_protocol to %s", protocol, with)
		}
	}
	if c.UsesTLS() {
		v.clientCertificate(given)
	}
	v.mechanism(given)
}

// idle reports a key that has no effect. In the common section of a file it may be meant
// for another environment, whose section sets the protocol: then it is a warning.
func (v *validator) idle(key, format string, args ...any) {
	if source := v.sources[key]; source != "" && source == v.shared[key] {
		v.warnings = append(v.warnings, fmt.Sprintf("%s: %s", Locate(key, v.sources), fmt.Sprintf(format, args...)))
		return
	}
	v.bad(key, format, args...)
}

func (v *validator) clientCertificate(given func(string) bool) {
	keystore := given("ssl_keystore_location")
	for _, key := range []string{"ssl_certificate_location", "ssl_key_location", "ssl_certificate_pem", "ssl_key_pem"} {
		if keystore && given(key) {
			v.bad(key, "cannot be combined with %s: both hold the client's certificate and key; leave one out", v.keySource("ssl_keystore_location"))
		}
	}
	for _, what := range []string{"ssl_ca", "ssl_certificate", "ssl_key"} {
		if given(what+"_pem") && given(what+"_location") {
			v.bad(what+"_pem", "cannot be combined with %s: leave one out", v.keySource(what+"_location"))
		}
	}
	pair := func(one, other string) {
		if given(one) && !given(other) && !keystore {
			v.bad(one, "needs %s as well (one PEM file may hold both)", other)
		}
	}
	pair("ssl_certificate_location", "ssl_key_location")
	pair("ssl_key_location", "ssl_certificate_location")
	pair("ssl_certificate_pem", "ssl_key_pem")
	pair("ssl_key_pem", "ssl_certificate_pem")
	if given("ssl_keystore_password") && !keystore {
		v.bad("ssl_keystore_password", "needs ssl_keystore_location")
	}
	if given("ssl_key_password") && !given("ssl_key_location") && !given("ssl_key_pem") {
		v.bad("ssl_key_password", "needs ssl_key_location")
	}
}

func (v *validator) mechanism(given func(string) bool) {
	c := v.c
	switch c.Mechanism() {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if !given("sasl_username") {
			v.bad("sasl_mechanism", "%s needs sasl_username", c.SASLMechanism)
		}
		if !given("sasl_password") {
			v.bad("sasl_mechanism", "%s needs sasl_password", c.SASLMechanism)
		}
	case "OAUTHBEARER":
		if !given("sasl_oauthbearer_token_file") && c.OAuthToken == nil {
			v.bad("sasl_mechanism", "OAUTHBEARER needs sasl_oauthbearer_token_file, or OAuthToken in racecar.Configure")
		}
	case "GSSAPI":
		if c.SASLMechanism == "" && (c.SASLUsername != "" || c.SASLPassword != "") {
			v.bad("security_protocol", "%s without sasl_mechanism means GSSAPI, which takes no user name and password: set sasl_mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.SecurityProtocol)
		}
	}
}
