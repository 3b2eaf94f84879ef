package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
)

// This file explains errors of Kerberos to the user.

// explain explains a failed login or request for a ticket. Errors of a KDC are temporary:
// nothing proves that the KDC sent them.
func (k *kerberos) explain(host string, err error) error {
	var (
		refused *kdcError
		unknown *unknownRealmError
	)
	if _, ok := errors.AsType[*ConfigError](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &BrokerError{Err: err, Temporary: true, Problem: lastLine(err)}
	switch {
	case errors.As(err, &unknown):
		e.Temporary = false
		e.Key, e.Problem = "sasl_kerberos_principal", fmt.Sprintf("%s names no Kerberos server (kdc) of realm %s", k.confPath, unknown.realm)
	case errors.As(err, &refused):
		e.Key, e.Problem = k.explainCode(host, refused.code)
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

// explainCode explains a KDC's error code, with the configuration key to check.
func (k *kerberos) explainCode(host string, code int32) (key, problem string) {
	switch code {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN:
		return "sasl_kerberos_principal", fmt.Sprintf("Kerberos knows no principal %s: check sasl_kerberos_principal", k.name())
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
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
