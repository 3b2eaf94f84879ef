package config

import (
	"path/filepath"
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
	if path, unix := strings.CutPrefix(c.StatusAddr, "unix:"); unix && !filepath.IsAbs(path) {
		c.StatusAddr = "unix:" + filepath.Join(dir, path)
	}
}
