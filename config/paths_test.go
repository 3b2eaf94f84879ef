package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Each key that names a file is resolved: one forgotten would be looked for
// under / by a daemon.
func TestResolvePaths(t *testing.T) {
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for _, k := range Keys() {
		if f := k.value(&c); f.Kind() == reflect.String {
			f.SetString("x")
		}
	}
	c.SSLCALocation = "/etc/ca"
	c.StatusAddr = "unix:run/status.sock"
	c.ResolvePaths("/srv/app")
	if c.StatusAddr != "unix:/srv/app/run/status.sock" {
		t.Errorf("status_addr is %s", c.StatusAddr)
	}
	c.StatusAddr = "x"
	c.ResolvePaths("/srv/app")
	if c.SSLCALocation != "/etc/ca" {
		t.Errorf("an absolute path became %s", c.SSLCALocation)
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("key")
		isPath := strings.HasSuffix(name, "_location") || strings.HasSuffix(name, "_path") ||
			strings.HasSuffix(name, "file") || strings.HasSuffix(name, "keytab") || name == "control_socket"
		if isPath && name != "ssl_ca_location" && v.Field(i).String() != "/srv/app/x" {
			t.Errorf("%s is %s", name, v.Field(i))
		}
		if !isPath && v.Field(i).Kind() == reflect.String && v.Field(i).String() != "x" {
			t.Errorf("%s is %s", name, v.Field(i))
		}
	}
}

// A property's path overrides the key's, so that it is resolved as well.
func TestResolvePathsOfProperties(t *testing.T) {
	given := []string{"ssl.ca.location=certs/ca.pem", "ssl.key.location = key.pem", "ssl.certificate.location=/etc/cert", "client.rack=a/b", "sasl.kerberos.keytab=k"}
	c := Config{Consumer: given, Producer: []string{"ssl.crl.location=crl"}}
	c.ResolvePaths("/srv/app")
	want := []string{"ssl.ca.location=/srv/app/certs/ca.pem", "ssl.key.location=/srv/app/key.pem", "ssl.certificate.location=/etc/cert", "client.rack=a/b", "sasl.kerberos.keytab=/srv/app/k"}
	if !slices.Equal(c.Consumer, want) || !slices.Equal(c.Producer, []string{"ssl.crl.location=/srv/app/crl"}) {
		t.Errorf("%q, %q", c.Consumer, c.Producer)
	}
	if given[0] != "ssl.ca.location=certs/ca.pem" {
		t.Error("the list that was given was changed")
	}
}
