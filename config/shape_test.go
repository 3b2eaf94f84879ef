package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testPEM = "-----BEGIN CERTIFICATE-----\nMIIBszCC\nQWxhZGRp\n-----END CERTIFICATE-----"

// Deployment platforms hand values over in many shapes; each is taken for what it is,
// or refused with a line that names the key and shows nothing of a secret.
func TestShapes(t *testing.T) {
	for _, tt := range []struct{ key, given, want, wrong string }{
		{"group_id", "g\n", "g", ""},
		{"client_id", "\tx \r\n", "x", ""},
		{"static_id", "\u200bx\ufeff", "x", ""},
		{"group_id", `"g"`, "", `stands in quotes ("): leave them out`},
		{"group_id", "${GROUP}", "", "${GROUP} is a placeholder that nothing has replaced: check the tool that should have"},
		{"group_id", "$(GROUP)", "", "$(GROUP) is a placeholder that nothing has replaced: check the tool that should have"},
		{"group_id", "{{ .Values.group }}", "", "{{ .Values.group }} is a placeholder that nothing has replaced: check the tool that should have"},
		{"group_id", "a${x}", "a${x}", ""},
		{"sasl_username", "me\n", "me", ""},
		{"sasl_password", "p@ss word \n", "p@ss word ", ""},
		{"sasl_password", `"quoted"`, `"quoted"`, ""},
		{"sasl_password", "one\ntwo", "", "contains a line break: only one line of text belongs here"},
		{"sasl_password", "<%= ENV['X'] %>", "", "<%= ENV['X'] %> is a placeholder that nothing has replaced: check the tool that should have"},
		{"sasl_kerberos_kinit_cmd", "kinit -k\necho done\n", "kinit -k\necho done", ""},
		{"ssl_ca_location", "/etc/ca.pem\n", "/etc/ca.pem", ""},
		{"ssl_ca_location", testPEM, "", "this is a certificate, not a path: use ssl_ca_pem"},
		{"ssl_key_location", strings.ReplaceAll(testPEM, "CERTIFICATE", "PRIVATE KEY"), "", "this is a key, not a path: use ssl_key_pem"},
		{"sasl_kerberos_keytab", testPEM, "", "this is a certificate, not a path"},
		{"ssl_ca_pem", testPEM + "\n", testPEM, ""},
		{"ssl_ca_pem", strings.ReplaceAll(testPEM, "\n", "\r\n"), testPEM, ""},
		{"ssl_ca_pem", strings.ReplaceAll(testPEM, "\n", `\n`), testPEM, ""},
		{"ssl_ca_pem", strings.ReplaceAll(testPEM, "\n", " "), testPEM, ""},
		{"ssl_ca_pem", `"` + strings.ReplaceAll(testPEM, "\n", `\n`) + `"`, testPEM, ""},
		{"ssl_ca_pem", base64.StdEncoding.EncodeToString([]byte(testPEM)), testPEM, ""},
		{"ssl_ca_pem", testPEM + " " + testPEM, testPEM + " " + testPEM, ""},
		{"ssl_ca_pem", "/etc/ca.pem", "", "this is a path, not PEM: use ssl_ca_location"},
		{"ssl_key_pem", "hunter2", "", "holds no PEM (-----BEGIN …): for a file use ssl_key_location"},
		{"brokers", "a:1, b:2\n", "a:1|b:2", ""},
		{"brokers", `"a:1,b:2"`, "", ""},
		{"brokers", "${BROKERS}", "", "${BROKERS} is a placeholder that nothing has replaced: check the tool that should have"},
		{"consumer", "ssl.key.pem=" + testPEM, "ssl.key.pem=" + testPEM, ""},
	} {
		k, _ := Lookup(tt.key)
		v, err := k.parse(input{text: tt.given})
		got := fmt.Sprint(v)
		if list, ok := v.([]string); ok {
			got = strings.Join(list, "|")
		}
		if tt.want == "" {
			if err == nil && k.Type == TypeList { // told by what is checked next
				continue
			}
			if err == nil || err.Error() != tt.wrong {
				t.Errorf("%s %q: %q, %v, want the error %q", tt.key, tt.given, got, err, tt.wrong)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %q: %q, %v, want %q", tt.key, tt.given, got, err, tt.want)
		}
	}
}

// Whatever key a private key is given for, in whatever place, no message and no dump
// repeats it.
func TestKeysAreNeverShown(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\ns3cr3t+s3cr3t/AAAA\n-----END PRIVATE KEY-----\n"
	for _, value := range []string{pem, strings.ReplaceAll(pem, "\n", `\n`), strings.ReplaceAll(pem, "\n", " ")} {
		for _, k := range Keys() {
			loaded, err := Load(Options{Dir: t.TempDir(), Environ: []string{k.Env + "=" + value, "RACECAR_SECURITY_PROTOCOL=sasl_ssl"}})
			shown := text(err)
			if err == nil {
				var b strings.Builder
				for _, json := range []bool{true, false} {
					if err := Dump(&b, loaded.Config, loaded.Sources, DumpOptions{JSON: json}); err != nil {
						t.Fatal(err)
					}
				}
				shown = b.String() + loaded.Config.String() + strings.Join(loaded.Warnings, "\n")
			}
			if strings.Contains(shown, "s3cr3t") {
				t.Errorf("%s: %s", k.Name, shown)
			}
			for _, line := range strings.Split(text(err), "\n") {
				if strings.TrimSpace(line) == "" && err != nil || strings.HasPrefix(line, "-----") {
					t.Errorf("%s: an error of several lines: %q", k.Name, text(err))
				}
			}
		}
	}
}

// What stands in braces may be a password that looks like a placeholder.
func TestPlaceholdersInSecrets(t *testing.T) {
	for value, want := range map[string]string{
		"{{ s3cr3t }}":   "RACECAR_SASL_PASSWORD: [hidden] is a placeholder",
		"${DB_PASSWORD}": "RACECAR_SASL_PASSWORD: ${DB_PASSWORD} is a placeholder",
	} {
		_, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_SASL_PASSWORD=" + value}})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s…", value, err, want)
		}
	}
}

// A tag that is not understood may hold a password as its default.
func TestTagsOfSecretsAreNotShown(t *testing.T) {
	for line, want := range map[string]string{
		`sasl_password: <%= "s3cr3t" %>`:                     "sasl_password: [hidden] is Ruby, which is not run here",
		`sasl_password: <%= ENV["X"] || "s3cr3t".chomp %>`:   "sasl_password: the default in [hidden] is Ruby, which is not run here",
		`sasl_password: "a${DB.PW:-s3cr3t}"`:                 "sasl_password: [hidden] is not understood: write ${NAME}",
		`consumer: ["sasl.password=${DB.PW:-s3cr3t}"]`:       "consumer: [hidden] is not understood: write ${NAME}",
		`client_id: ${x.y:-name}`:                            "client_id: ${x.y:-name} is not understood",
		`sasl_password: <%= ENV.fetch("RACECAR_TEST_PW") %>`: `sasl_password: <%= ENV.fetch("RACECAR_TEST_PW") %>: the variable RACECAR_TEST_PW is not set`,
	} {
		_, err := Load(Options{Dir: project(t, "common:\n  "+line+"\n")})
		if got := text(err); !strings.Contains(got, want) || strings.Contains(got, "s3cr3t") {
			t.Errorf("%s: got %s, want %s…", line, got, want)
		}
	}
}

func TestBrokerAddresses(t *testing.T) {
	for given, want := range map[string]string{
		"kafka": "kafka:9092", "10.0.0.1": "10.0.0.1:9092", "::1": "[::1]:9092", "[::1]": "[::1]:9092", "[::1]:1": "[::1]:1",
		"fe80::1%eth0": "[fe80::1%eth0]:9092", "[fe80::1%eth0]:1": "[fe80::1%eth0]:1", ":9093": "localhost:9093",
		"kafka:": "", "a b:1": "", "k$(id):1": "", "[::1%$(id)]:1": "", "{a}:1": "", `"a:1"`: "", "[a:1]": "", "tcp://a:1": "", "käfka:1": "",
	} {
		l, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_BROKERS=" + given}})
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: %v was accepted", given, l.Config.Brokers)
		case want != "" && (err != nil || l.Config.Brokers[0] != want):
			t.Errorf("%q: %v, %v, want %q", given, l, err, want)
		}
	}
}

// A warning names each file that other users of the host can write or read, and its mode.
func TestFileModes(t *testing.T) {
	dir := project(t, "development: {client_id: x}")
	path := filepath.Join(dir, DefaultFile)
	key := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file string
		mode os.FileMode
		want string
	}{
		{path, 0o644, ""},
		{path, 0o666, "config/racecar.yml: can be changed by every user of this host (mode 0666): chmod go-w"},
		{key, 0o640, ""},
		{key, 0o604, "RACECAR_SSL_KEY_LOCATION: " + key + " can be read by every user of this host (mode 0604): chmod o-r"},
	} {
		for _, f := range []string{path, key} {
			if err := os.Chmod(f, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(tt.file, tt.mode); err != nil {
			t.Fatal(err)
		}
		l, err := Load(Options{Dir: dir, Environ: []string{"RACECAR_SECURITY_PROTOCOL=ssl", "RACECAR_SSL_KEY_LOCATION=" + key, "RACECAR_SSL_CERTIFICATE_LOCATION=" + key}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(l.Warnings, "\n"); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.file, tt.mode, got, tt.want)
		}
	}
}

// A file that is used because of the folder we stand in may be another user's: it is
// warned of, and a command in it is run only if the file was named.
func TestCommandsInFilesOfOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; .ci/run is root")
	}
	for _, text := range []string{
		"development: {client_id: x}", "development: {sasl_kerberos_kinit_cmd: id}",
		"development: {consumer: [client.rack=a, sasl.kerberos.kinit.cmd = id]}", "development: {producer: 'acks=all,sasl.kerberos.kinit.cmd=id'}",
		"development: {consumer: {sasl.kerberos.kinit.cmd: id}}", "development: {consumer: [client.rack=a]}",
	} {
		dir := project(t, text)
		path := filepath.Join(dir, DefaultFile)
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		command := strings.Contains(text, "kinit")
		l, err := Load(Options{Dir: dir})
		switch {
		case command && (err == nil || !strings.HasPrefix(err.Error(), "config/racecar.yml:1:") || !strings.Contains(err.Error(), "a command in a file of user 65534 is not run")):
			t.Errorf("%s: %v", text, err)
		case !command && (err != nil || !strings.Contains(strings.Join(l.Warnings, "\n"), "config/racecar.yml: belongs to user 65534, neither to you (0) nor to root")):
			t.Errorf("%s: %v, %v", text, err, l)
		}
		if l, err = Load(Options{Dir: dir, File: path, FileGiven: true}); err != nil || len(l.Warnings) > 0 {
			t.Errorf("named, %s: %v, %v", text, err, l)
		}
	}
}
