package config

import (
	"reflect"
	"strings"
	"testing"
)

// Under --dev an application runs that has TLS or SASL in its configuration, from
// wherever that comes: each key of security by itself, and all together.
func TestDevelopment(t *testing.T) {
	const addr = "127.0.0.1:9092"
	values := map[string]string{
		"security_protocol": "sasl_ssl", "sasl_mechanism": "PLAIN", "ssl_verify_hostname": "false", "sasl_over_ssl": "false",
		"sasl_kerberos_min_time_before_relogin": "5", "ssl_ca_pem": testPEM, "ssl_certificate_pem": testPEM, "ssl_key_pem": testPEM,
	}
	check := func(name string, o Options, aside ...string) {
		t.Helper()
		l, err := Load(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		want := Default()
		want.Brokers = []string{addr}
		if len(l.Config.Consumer)+len(l.Config.Producer) == 0 {
			l.Config.Consumer, l.Config.Producer = nil, nil
		}
		if !reflect.DeepEqual(l.Config, want) {
			t.Errorf("%s: %v", name, l.Config)
		}
		const prefix = "--dev: set aside, since the embedded broker has neither TLS nor SASL: "
		if len(l.Warnings) != 1 || !strings.HasPrefix(l.Warnings[0], prefix) {
			t.Errorf("%s: %q", name, l.Warnings)
		}
		for _, a := range aside {
			if !strings.Contains(strings.Join(l.Warnings, ""), a) {
				t.Errorf("%s: %q does not name %s", name, l.Warnings, a)
			}
		}
	}
	var all, file []string
	for _, theme := range Themes() {
		for _, k := range theme.Keys {
			if k.Group != groupSecurity {
				continue
			}
			value := values[k.Name]
			if value == "" {
				value = "x"
			}
			all = append(all, k.Env+"="+value)
			file = append(file, "  "+k.Name+": "+strings.TrimSpace(strings.ReplaceAll("|\n"+value, "\n", "\n    ")))
			check(k.Env, Options{Dir: t.TempDir(), Environ: []string{EnvDevelopment + "=" + addr, k.Env + "=" + value}}, k.Env)
			check("--"+k.Flag, Options{Dir: t.TempDir(), Environ: []string{EnvDevelopment + "=" + addr},
				Flags: map[string]Flag{k.Name: {Text: value, As: "--" + k.Flag}}}, "--"+k.Flag)
		}
	}
	check("all variables", Options{Dir: t.TempDir(), Environ: append(all, EnvDevelopment+"="+addr, "RACECAR_BROKERS=kafka:1")})
	check("the file", Options{Dir: project(t, "development:\n"+strings.Join(file, "\n")), Environ: []string{EnvDevelopment + "=" + addr}},
		"config/racecar.yml:2: security_protocol")
	check("Configure", Options{Dir: t.TempDir(), Environ: []string{EnvDevelopment + "=" + addr}, Configure: []func(*Config) error{func(c *Config) error {
		c.Brokers, c.SecurityProtocol, c.SSLKeyPEM, c.SSLVerifyHostname = []string{"prod:1"}, "ssl", testPEM, false
		return nil
	}}}, "security_protocol", "ssl_key_pem", "ssl_verify_hostname")
	check("properties", Options{Dir: project(t, "development: {consumer: [ssl.ca.location=x, security.protocol=ssl], producer: [sasl.username=x, bootstrap.servers=y]}"),
		Environ: []string{EnvDevelopment + "=" + addr}}, "consumer", "producer")
}
