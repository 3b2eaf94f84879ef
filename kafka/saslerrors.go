package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
)

// explainSASL says what a failed authentication means; nil for nil.
func explainSASL(addr string, mechanism sarama.SASLMechanism, err error) error {
	e := &AccessError{Addr: addr, Err: err}
	var mech *mechanismError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mech):
		e.Key = "sasl_mechanism"
		e.Problem = fmt.Sprintf("it does not offer sasl_mechanism %s: %s", mechanism, mech)
	case errors.Is(err, sarama.ErrUnsupportedSASLMechanism):
		e.Key = "sasl_mechanism"
		e.Problem = fmt.Sprintf("it does not offer sasl_mechanism %s", mechanism)
	case errors.Is(err, sarama.ErrIllegalSASLState):
		e.Key = "security_protocol"
		e.Problem = "it wants no authentication on this port: change security_protocol (to plaintext or ssl) or the port"
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed) && mechanism == sarama.SASLTypeOAuth:
		e.Key, e.Passes = "sasl_oauthbearer_token_file", true // whoever makes the tokens may make a better one
		e.Problem = "it refuses our token" + said(err)
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed) && mechanism == sarama.SASLTypeGSSAPI:
		e.Key = "sasl_kerberos_principal"
		e.Problem = "it refuses our Kerberos ticket (does its own keytab fit its name and sasl_kerberos_service_name?)" + said(err)
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		e.Key = "sasl_password"
		e.Problem = "wrong sasl_username or sasl_password" + said(err)
	case err != nil && strings.Contains(err.Error(), scramRefused):
		e.Key = "sasl_password"
		e.Problem = err.Error() + ": it does not know our password, or is not the broker it claims to be"
	default:
		return err
	}
	return e
}

// said is what the broker answered beyond the error's number.
func said(err error) string {
	s := strings.TrimSpace(strings.TrimPrefix(err.Error(), sarama.ErrSASLAuthenticationFailed.Error()))
	if s = strings.TrimLeft(s, ": "); s == "" {
		return ""
	}
	return " (the broker says: " + s + ")"
}

// krbCode finds the number of a KDC's answer in an error of the Kerberos
// library, which keeps its text alone.
var krbCode = regexp.MustCompile(`KRB Error: \((\d+)\)`)

// explain says what a failed login or request for a ticket means.
func (k *kerberos) explain(addr string, err error) error {
	var conf *ConfigError
	var expired *expiredTicketError
	var command *kinitError
	if errors.As(err, &conf) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &AccessError{Addr: addr, Err: err}
	if errors.As(err, &expired) || errors.As(err, &command) {
		e.Passes = true
		e.Problem = err.Error()
		return e
	}
	code := int64(-1)
	if m := krbCode.FindStringSubmatch(err.Error()); m != nil {
		code, _ = strconv.ParseInt(m[1], 10, 32) //nolint:errcheck // digits; too many leave -1's meaning: unknown
	}
	host, _, _ := strings.Cut(addr, ":")
	switch int32(code) {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN:
		e.Key, e.Problem = "sasl_kerberos_principal", fmt.Sprintf("Kerberos knows no principal %s: check sasl_kerberos_principal", k.name())
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
		e.Key, e.Problem = "sasl_kerberos_service_name",
			fmt.Sprintf("Kerberos knows no service %s/%s: check sasl_kerberos_service_name and the name that the broker advertises", k.service, host)
	case errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_CLIENT_REVOKED:
		e.Key, e.Problem = "sasl_kerberos_principal", fmt.Sprintf("the Kerberos principal %s has expired or is locked", k.name())
	case errorcode.KDC_ERR_KEY_EXPIRED:
		e.Key, e.Problem = "sasl_kerberos_keytab", fmt.Sprintf("the key of %s has expired: have a new one made, with a new keytab", k.name())
	case errorcode.KDC_ERR_PREAUTH_FAILED, errorcode.KRB_AP_ERR_BAD_INTEGRITY:
		e.Key, e.Problem = "sasl_kerberos_keytab", fmt.Sprintf("the keytab's key is not (or no longer) that of %s: have a new keytab made", k.name())
	case errorcode.KDC_ERR_ETYPE_NOSUPP:
		e.Key, e.Problem = "sasl_kerberos_keytab", fmt.Sprintf("the KDC accepts no encryption type of the key of %s: have a new keytab made", k.name())
	case errorcode.KRB_AP_ERR_SKEW:
		e.Passes = true
		e.Problem = "our clock differs too much from that of the Kerberos server: set the clock"
	case errorcode.KRB_AP_ERR_TKT_EXPIRED:
		e.Passes = true
		e.Problem = "our Kerberos ticket has expired"
	case -1:
		e.Passes = true // networks come back
		e.Problem = "Kerberos: " + lastLine(err)
		switch text := err.Error(); {
		case strings.Contains(text, "clock skew"):
			e.Problem = "our clock differs too much from that of the Kerberos server: set the clock"
		case strings.Contains(text, "client password/keytab incorrect"), strings.Contains(text, "error decrypting"):
			e.Passes = false
			e.Key, e.Problem = "sasl_kerberos_keytab", fmt.Sprintf("the keytab's key is not (or no longer) that of %s: have a new keytab made", k.name())
		case strings.Contains(text, "does not have any defined KDCs"), strings.Contains(text, "no KDC"):
			e.Passes = false
			e.Key, e.Problem = "sasl_kerberos_principal", fmt.Sprintf("%s names no Kerberos server (kdc) of realm %s", k.confPath, k.realm)
		case strings.Contains(text, "KDC"):
			e.Problem = fmt.Sprintf("no Kerberos server (KDC) of realm %s answers: %s", k.realm, lastLine(err))
		}
	default:
		e.Passes = true
		e.Problem = "Kerberos: " + lastLine(err)
	}
	return e
}

// lastLine makes an error of the Kerberos library, which puts causes in lines
// and brackets, one line.
func lastLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
