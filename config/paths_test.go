package config

import (
	"reflect"
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
