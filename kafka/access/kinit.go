package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/addresses"
)

// kinit is sasl_kerberos_kinit_cmd (librdkafka: sasl.kerberos.kinit.cmd): a
// command for the shell that gets a ticket.
//
// The shell gets the values of the placeholders in environment variables. They
// are never part of the command line: a value cannot become a command, and other
// users cannot read passwords in the list of processes.
type kinit struct {
	script  string            // the command with a variable in place of each placeholder
	names   []string          // of the placeholders in it
	values  map[string]string // librdkafka's name → value, for %{name}
	secrets []string
}

var placeholder = regexp.MustCompile(`^%\{([^}]*)\}`)

// brokerName is the only placeholder that is not a property: the broker's host.
const brokerName = "broker.name"

func newKinit(c *config.Config) (*kinit, error) {
	k := &kinit{values: properties(c), secrets: secrets(c)}
	k.script, k.names = shellScript(c.SASLKerberosKinitCmd)
	for _, name := range k.names {
		if _, ok := k.values[name]; !ok && name != brokerName {
			return nil, &ConfigError{Key: "sasl_kerberos_kinit_cmd",
				Problem: fmt.Sprintf("%%{%s} names nothing we know: use librdkafka's names, such as %%{sasl.kerberos.principal}, or %%{broker.name}", name)}
		}
	}
	return k, nil
}

// shellScript replaces each placeholder by a variable of the shell, quoted so that
// its value stays one word, wherever in quotes the placeholder stands.
func shellScript(command string) (script string, names []string) {
	var out strings.Builder
	quote := byte(0) // the quotes that are open; 0: none
	for i := 0; i < len(command); i++ {
		if m := placeholder.FindStringSubmatch(command[i:]); m != nil {
			variable := "${" + kinitVariable(m[1]) + "}"
			switch quote {
			case '\'':
				variable = `'"` + variable + `"'`
			case 0:
				variable = `"` + variable + `"`
			}
			out.WriteString(variable)
			names = append(names, m[1])
			i += len(m[0]) - 1
			continue
		}
		c := command[i]
		out.WriteByte(c)
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(command):
			i++
			out.WriteByte(command[i])
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		}
	}
	return out.String(), names
}

// kinitVariable is the environment variable that holds a placeholder's value.
func kinitVariable(name string) string {
	return "KINIT_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// properties are the values that a command may refer to, by librdkafka's names.
func properties(c *config.Config) map[string]string {
	service := c.SASLKerberosServiceName
	if service == "" {
		service = "kafka"
	}
	return map[string]string{
		"bootstrap.servers":                     strings.Join(addresses.Complete(c.Brokers), ","),
		"metadata.broker.list":                  strings.Join(addresses.Complete(c.Brokers), ","),
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
// input is empty. The error is the last line of the command's output.
func (k *kinit) run(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, kinitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", k.script) // #nosec G204 -- a command is what this key holds
	cmd.Env = os.Environ()
	for _, name := range k.names {
		value := k.values[name]
		if name == brokerName {
			value = host
		}
		cmd.Env = append(cmd.Env, kinitVariable(name)+"="+value)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // a process that it started may hold the pipe open
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &kinitError{fmt.Sprintf("did not end within %v", kinitTimeout)}
		}
		return &kinitError{k.failure(err, out.String())}
	}
	return nil
}

// kinitError is temporary: the command may succeed next time.
type kinitError struct{ problem string }

func (e *kinitError) Error() string { return "sasl_kerberos_kinit_cmd: " + e.problem }

// failure returns the last line of the output, without secrets, and how the command ended.
func (k *kinit) failure(err error, output string) string {
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
