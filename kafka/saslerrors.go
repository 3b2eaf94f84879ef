package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/IBM/sarama"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
)

// explainSASL says what a failed authentication means; nil for nil. proven tells
// whether TLS has shown that the broker is one: only then is its answer final.
func explainSASL(addr string, mechanism sarama.SASLMechanism, proven bool, err error) error {
	e := &AccessError{Addr: addr, Err: err, Passes: !proven}
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

// explain says what a failed login or request for a ticket means. What a KDC says
// passes: nothing proves that it was the KDC who said it.
func (k *kerberos) explain(addr string, err error) error {
	var (
		refused *kdcError
		unknown *unknownRealmError
	)
	if _, ok := errors.AsType[*ConfigError](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &AccessError{Addr: addr, Err: err, Passes: true, Problem: lastLine(err)}
	switch {
	case errors.As(err, &unknown):
		e.Passes = false
		e.Key, e.Problem = "sasl_kerberos_principal", fmt.Sprintf("%s names no Kerberos server (kdc) of realm %s", k.confPath, unknown.realm)
	case errors.As(err, &refused):
		e.Key, e.Problem = k.explainCode(addr, refused.code)
	case strings.Contains(err.Error(), "clock skew"): // in the library's check of a reply
		e.Problem = clockProblem
	case strings.Contains(err.Error(), "error decrypting"), strings.Contains(err.Error(), "matching key not found"):
		e.Key, e.Problem = "sasl_kerberos_keytab", k.keyProblem()
	}
	return e
}

const clockProblem = "our clock differs too much from that of the Kerberos server: set the clock"

func (k *kerberos) keyProblem() string {
	return fmt.Sprintf("the keytab's key is not (or no longer) that of %s: have a new keytab made", k.name())
}

// explainCode words an error message of a KDC, with the configuration key to look at.
func (k *kerberos) explainCode(addr string, code int32) (key, problem string) {
	switch code {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN:
		return "sasl_kerberos_principal", fmt.Sprintf("Kerberos knows no principal %s: check sasl_kerberos_principal", k.name())
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
		host, _, _ := net.SplitHostPort(addr) //nolint:errcheck // it was dialed
		return "sasl_kerberos_service_name",
			fmt.Sprintf("Kerberos knows no service %s/%s: check sasl_kerberos_service_name and the name that the broker advertises", k.service, host)
	case errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_CLIENT_REVOKED:
		return "sasl_kerberos_principal", fmt.Sprintf("the Kerberos principal %s has expired or is locked", k.name())
	case errorcode.KDC_ERR_KEY_EXPIRED:
		return "sasl_kerberos_keytab", fmt.Sprintf("the key of %s has expired: have a new one made, with a new keytab", k.name())
	case errorcode.KDC_ERR_PREAUTH_FAILED, errorcode.KRB_AP_ERR_BAD_INTEGRITY:
		return "sasl_kerberos_keytab", k.keyProblem()
	case errorcode.KDC_ERR_ETYPE_NOSUPP:
		return "sasl_kerberos_keytab", fmt.Sprintf("the KDC accepts no encryption type of the key of %s: have a new keytab made", k.name())
	case errorcode.KRB_AP_ERR_SKEW:
		return "", clockProblem
	case errorcode.KRB_AP_ERR_TKT_EXPIRED:
		return "", "our Kerberos ticket has expired"
	}
	return "", "Kerberos: " + lastLine(&kdcError{code})
}

// lastLine makes an error of the Kerberos library, which puts causes in lines
// and brackets, one line.
func lastLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
