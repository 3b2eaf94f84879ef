package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/racecar-go/racecar/config"
)

// kinit is sasl_kerberos_kinit_cmd (librdkafka: sasl.kerberos.kinit.cmd): a
// command for the shell that gets a ticket.
type kinit struct {
	command string
	values  map[string]string // librdkafka's name → value, for %{name}
	secrets []string
}

var placeholder = regexp.MustCompile(`%\{([^}]*)\}`)

// brokerName is the one placeholder that is no property: the broker's host.
const brokerName = "broker.name"

func newKinit(c *config.Config) (*kinit, error) {
	k := &kinit{command: c.SASLKerberosKinitCmd, values: properties(c), secrets: secrets(c)}
	for _, m := range placeholder.FindAllStringSubmatch(k.command, -1) {
		if _, ok := k.values[m[1]]; !ok && m[1] != brokerName {
			return nil, &ConfigError{Key: "sasl_kerberos_kinit_cmd",
				Problem: fmt.Sprintf("%s names nothing we know: use librdkafka's names, such as %%{sasl.kerberos.principal}, or %%{broker.name}", m[0])}
		}
	}
	return k, nil
}

// properties are what a command may refer to, by librdkafka's names.
func properties(c *config.Config) map[string]string {
	service := c.SASLKerberosServiceName
	if service == "" {
		service = "kafka"
	}
	return map[string]string{
		"bootstrap.servers":                     strings.Join(Brokers(c), ","),
		"metadata.broker.list":                  strings.Join(Brokers(c), ","),
		"client.id":                             c.ClientID,
		"group.id":                              c.GroupID,
		"security.protocol":                     c.SecurityProtocol,
		"sasl.mechanism":                        c.SASLMechanism,
		"sasl.mechanisms":                       c.SASLMechanism,
		"sasl.kerberos.service.name":            service,
		"sasl.kerberos.principal":               c.SASLKerberosPrincipal,
		"sasl.kerberos.keytab":                  c.SASLKerberosKeytab,
		"sasl.kerberos.min.time.before.relogin": strconv.FormatInt(c.SASLKerberosMinTimeBeforeRelogin.Milliseconds(), 10),
		"sasl.username":                         c.SASLUsername,
		"sasl.password":                         c.SASLPassword,
		"ssl.ca.location":                       c.SSLCALocation,
		"ssl.certificate.location":              c.SSLCertificateLocation,
		"ssl.key.location":                      c.SSLKeyLocation,
		"ssl.key.password":                      c.SSLKeyPassword,
		"ssl.keystore.location":                 c.SSLKeystoreLocation,
		"ssl.keystore.password":                 c.SSLKeystorePassword,
		"socket.timeout.ms":                     strconv.FormatInt(c.SocketTimeout.Milliseconds(), 10),
		"session.timeout.ms":                    strconv.FormatInt(c.SessionTimeout.Milliseconds(), 10),
	}
}

func secrets(c *config.Config) []string {
	var s []string
	for _, v := range []string{c.SASLPassword, c.SSLKeyPassword, c.SSLKeystorePassword} {
		if v != "" {
			s = append(s, v)
		}
	}
	return s
}

// kinitTimeout bounds the command, which otherwise could wait for a password.
const kinitTimeout = time.Minute

// run runs the command for a connection to the broker on host. Its standard
// input is empty. The error is one line: what the command said last.
func (k *kinit) run(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, kinitTimeout)
	defer cancel()
	line := placeholder.ReplaceAllStringFunc(k.command, func(p string) string {
		if name := p[2 : len(p)-1]; name != brokerName {
			return k.values[name]
		}
		return host
	})
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line) // #nosec G204 -- a command is what this key holds
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // what it left behind may hold the pipe
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &kinitError{fmt.Sprintf("did not end within %v", kinitTimeout)}
		}
		return &kinitError{k.said(err, out.String())}
	}
	return nil
}

// kinitError passes: the command may succeed next time.
type kinitError struct{ problem string }

func (e *kinitError) Error() string { return "sasl_kerberos_kinit_cmd: " + e.problem }

func (k *kinit) said(err error, output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	last := lines[len(lines)-1]
	for _, s := range k.secrets {
		last = strings.ReplaceAll(last, s, "***")
	}
	if last == "" {
		return err.Error()
	}
	return fmt.Sprintf("%s (%v)", last, err)
}
