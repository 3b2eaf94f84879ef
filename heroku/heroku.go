// Package heroku configures Racecar from the variables of Heroku's Kafka add-on. Importing it
// is enough:
//
//	import _ "github.com/racecar-go/racecar/heroku"
//
// KAFKA_URL becomes `brokers`; KAFKA_TRUSTED_CERT, KAFKA_CLIENT_CERT and
// KAFKA_CLIENT_CERT_KEY become `ssl_ca_pem`, `ssl_certificate_pem` and
// `ssl_key_pem`, without a file. The add-on's certificates name no hosts, so
// `ssl_verify_hostname` becomes false; their chain is verified all the same, up to an
// authority that signs for this cluster alone.
//
// If none of the variables is set, on a developer's machine for example, nothing changes.
// RACECAR_ variables and flags override the add-on's.
//
// KAFKA_PREFIX is not added to the names of topics and groups (upstream does not add it
// either): write the prefix into them (`group_id_prefix` for groups). A name without it is logged with a warning,
// since the add-on's shared plans allow no other names.
package heroku

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
)

func init() { UseAddon("KAFKA") }

// UseAddon reads the variables of an add-on that is attached under another name than KAFKA:
// name_URL and so on. Call it from init (upstream: kafka_name). Mistakes in the variables are
// reported at the start, as mistakes in the configuration.
func UseAddon(name string) {
	racecar.Configure(func(c *racecar.Config) error {
		if os.Getenv(config.EnvDevelopment) != "" {
			return nil // --dev: the embedded broker, whatever the add-on says
		}
		return configure(c, name, os.Getenv)
	})
}

func configure(c *racecar.Config, addon string, env func(string) string) error {
	list := env(addon + "_URL")
	ca, cert, key := env(addon+"_TRUSTED_CERT"), env(addon+"_CLIENT_CERT"), env(addon+"_CLIENT_CERT_KEY")
	if list == "" && ca == "" && cert == "" && key == "" {
		return nil
	}
	if list == "" {
		return fmt.Errorf("%s_URL is not set, but the add-on's certificates are", addon)
	}
	brokers, tls, err := parseURLs(list)
	if err != nil {
		return fmt.Errorf("%s_URL: %w", addon, err)
	}
	if tls {
		for _, v := range []struct{ name, value string }{{"_TRUSTED_CERT", ca}, {"_CLIENT_CERT", cert}, {"_CLIENT_CERT_KEY", key}} {
			if v.value == "" {
				err = errors.Join(err, fmt.Errorf("%s%s is not set, but %s_URL is: is the add-on attached as %s?", addon, v.name, addon, addon))
			}
		}
		if err != nil {
			return err
		}
		c.SecurityProtocol = "ssl"
		c.SSLCAPEM, c.SSLCertificatePEM, c.SSLKeyPEM = ca, cert, key
		// Those of the file belong to other certificates.
		c.SSLCALocation, c.SSLCertificateLocation, c.SSLKeyLocation, c.SSLKeyPassword = "", "", "", ""
		c.SSLKeystoreLocation, c.SSLKeystorePassword, c.SSLCRLLocation = "", "", ""
		c.SSLVerifyHostname = false
	}
	c.Brokers = brokers
	if prefix := env(addon + "_PREFIX"); prefix != "" {
		warnOfPrefix(c, addon, prefix)
	}
	return nil
}

// parseURLs parses a list of broker URLs: kafka+ssl://host:port, or kafka://host:port without
// TLS, which local replacements of the add-on use.
func parseURLs(list string) (brokers []string, tls bool, err error) {
	schemes := map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		u, err := url.Parse(item)
		if err != nil {
			return nil, false, errors.New("not a list of URLs such as kafka+ssl://host:9096,kafka+ssl://host:9096") // err may quote a password
		}
		if u.Scheme != "kafka+ssl" && u.Scheme != "kafka" {
			return nil, false, fmt.Errorf("scheme %q is neither kafka+ssl nor kafka", u.Scheme)
		}
		if u.Hostname() == "" {
			return nil, false, errors.New("a URL has no host")
		}
		if strings.ContainsAny(u.Hostname(), "[]:/%@ \t\r\n") && net.ParseIP(u.Hostname()) == nil {
			return nil, false, errors.New("a URL has an invalid host")
		}
		if u.User != nil {
			return nil, false, errors.New("a URL has a user name; the add-on uses certificates")
		}
		schemes[u.Scheme] = true
		port := u.Port()
		if port == "" {
			port = "9092"
		}
		brokers = append(brokers, net.JoinHostPort(u.Hostname(), port))
	}
	switch {
	case len(brokers) == 0:
		return nil, false, errors.New("names no broker")
	case len(schemes) > 1:
		return nil, false, errors.New("mixes kafka+ssl and kafka")
	}
	return brokers, schemes["kafka+ssl"], nil
}

// warnOfPrefix adds a warning to the review of each consumer.
func warnOfPrefix(c *racecar.Config, addon, prefix string) {
	before := c.Review
	c.Review = func(r racecar.Reviewed) []string {
		var warnings []string
		if before != nil {
			warnings = before(r)
		}
		if !strings.HasPrefix(r.Group, prefix) {
			warnings = append(warnings, fmt.Sprintf("%s: group %q does not begin with %s_PREFIX %q: set group_id_prefix to it", r.Consumer, r.Group, addon, prefix))
		}
		for _, topic := range r.Topics {
			if !strings.HasPrefix(topic, prefix) {
				warnings = append(warnings, fmt.Sprintf("%s: topic %q does not begin with %s_PREFIX %q: subscribe to %q", r.Consumer, topic, addon, prefix, prefix+topic))
			}
		}
		return warnings
	}
}
