package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": "s3cr3t", "line": "s3cr3t\n", "dos": "s3cr3t\r\n", "two": "s3cr3t\n\n", "spaces": " s3cr3t ", "yaml": "s3cr3t: #",
		"empty": "", "newline": "\n", "large": strings.Repeat("s3cr3t", 11000), "open": "s3cr3t\n",
	} {
		write(t, dir, name, text)
	}
	if err := os.Chmod(filepath.Join(dir, "open"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := map[string]Flag{
		"security_protocol": {"sasl_plaintext", "--security-protocol"}, "sasl_mechanism": {"PLAIN", "--sasl-mechanism"}, "sasl_username": {"u", "--sasl-username"},
	}
	for name, test := range map[string]struct {
		file    string
		want    string
		problem string
		warned  bool
	}{
		"as it is":     {file: "plain", want: "s3cr3t"},
		"absolute":     {file: filepath.Join(dir, "plain"), want: "s3cr3t"},
		"a line":       {file: "line", want: "s3cr3t"},
		"a DOS line":   {file: "dos", want: "s3cr3t"},
		"two newlines": {file: "two", want: "s3cr3t"},
		"spaces":       {file: "spaces", want: " s3cr3t "},
		"like YAML":    {file: "yaml", want: "s3cr3t: #"},
		"readable":     {file: "open", want: "s3cr3t", warned: true},
		"missing":      {file: "none", problem: "none: no such file or directory"},
		"a directory":  {file: ".", problem: ".: is a directory"},
		"a pipe":       {file: "fifo", problem: "fifo: is not a regular file"},
		"empty":        {file: "empty", problem: "empty: is empty"},
		"a newline":    {file: "newline", problem: "newline: is empty"},
		"too large":    {file: "large", problem: "large: is larger than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, dir, "f.yml", "development:\n  sasl_password: ${file:"+test.file+"}\n")
			for source, o := range map[string]Options{
				"f.yml:2":                    {Dir: dir, File: "f.yml", FileGiven: true, Flags: flags},
				"RACECAR_SASL_PASSWORD_FILE": {Dir: dir, Flags: flags, Environ: []string{"RACECAR_SASL_PASSWORD_FILE=" + test.file}},
			} {
				l, err := Load(o)
				if test.problem != "" {
					if err == nil || strings.Count(err.Error(), "\n") != 0 || strings.Contains(err.Error(), "s3cr3t") ||
						!strings.Contains(err.Error(), test.problem) || !strings.Contains(strings.ToLower(err.Error()), "sasl_password") {
						t.Errorf("%s: %v, want %s", source, err, test.problem)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", source, err)
				}
				if l.Config.SASLPassword != test.want || l.Sources["sasl_password"] != source {
					t.Errorf("%q from %s, want %q from %s", l.Config.SASLPassword, l.Sources["sasl_password"], test.want, source)
				}
				warned := strings.Contains(strings.Join(l.Warnings, "\n"), test.file+": every user of this host can read it (mode 0644): chmod o-r")
				if warned != test.warned {
					t.Errorf("%s: warnings %q", source, l.Warnings)
				}
			}
		})
	}
}

// A file that is missing is one problem, not one more for the key that goes without a value.
func TestMissingSecretIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f.yml", "development:\n  security_protocol: sasl_plaintext\n  sasl_mechanism: PLAIN\n  sasl_username: u\n  sasl_password: ${file:none}\n")
	_, err := Load(Options{Dir: dir, File: "f.yml", FileGiven: true})
	if want := "f.yml:5:18: sasl_password: none: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPlacesOfSecrets(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "s", "s3cr3t\n")
	write(t, dir, "f.yml", "development:\n  security_protocol: sasl_plaintext\n  sasl_mechanism: PLAIN\n  sasl_username: u-${file:s}-${X:-y}\n  sasl_password: '${file: s }'\n  client_id: $${file:s}\n")
	l, err := Load(Options{Dir: dir, File: "f.yml", FileGiven: true})
	if err != nil || l.Config.SASLUsername != "u-s3cr3t-y" || l.Config.SASLPassword != "s3cr3t" || l.Config.ClientID != "${file:s}" {
		t.Errorf("%+v, %v", l, err)
	}
	for vars, want := range map[string]string{
		"RACECAR_SASL_PASSWORD=a RACECAR_SASL_PASSWORD_FILE=s": "RACECAR_SASL_PASSWORD and RACECAR_SASL_PASSWORD_FILE are both set: unset one of them",
		"RACECAR_SASL_USERNAME_FILE=s":                         "RACECAR_SASL_USERNAME_FILE: unknown environment variable",
	} {
		if _, err := Load(Options{Dir: dir, Environ: strings.Fields(vars)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", vars, err)
		}
	}
	for _, k := range Keys() { // or a variable would have two meanings
		if _, taken := Lookup(k.Name + "_file"); taken && k.Secret {
			t.Errorf("%s_file is a key", k.Name)
		}
	}
}

func TestEmptyNameOfASecretsFile(t *testing.T) {
	_, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_SASL_PASSWORD_FILE="}})
	if want := "RACECAR_SASL_PASSWORD_FILE: names no file: write the path of one, or unset it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
