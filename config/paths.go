package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// ResolvePaths makes the relative paths among the values absolute, from dir: for
// a process that is about to leave its working directory.
func (c *Config) ResolvePaths(dir string) {
	for _, p := range []*string{
		&c.Logfile, &c.Pidfile, &c.ControlSocket, &c.LivenessProbeFilePath, &c.DatadogSocketPath,
		&c.SSLCALocation, &c.SSLCRLLocation, &c.SSLKeystoreLocation, &c.SSLCertificateLocation, &c.SSLKeyLocation,
		&c.SASLKerberosKeytab, &c.SASLOAuthBearerTokenFile,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	c.Consumer, c.Producer = resolveProperties(c.Consumer, dir), resolveProperties(c.Producer, dir)
	if path, unix := strings.CutPrefix(c.StatusAddr, "unix:"); unix && !filepath.IsAbs(path) {
		c.StatusAddr = "unix:" + filepath.Join(dir, path)
	}
}

// resolveProperties does the same for librdkafka properties that stand for a path.
func resolveProperties(list []string, dir string) []string {
	list = slices.Clone(list)
	for i, item := range list {
		name, value, _ := strings.Cut(item, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		k, ok := Lookup(propertyIndex[name].key)
		if ok && k.shape() == shapePath && value != "" && !filepath.IsAbs(value) {
			list[i] = name + "=" + filepath.Join(dir, value)
		}
	}
	return list
}
