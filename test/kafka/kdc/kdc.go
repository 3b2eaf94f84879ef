// Package kdc runs a Kerberos server for tests: MIT's krb5kdc (Debian: krb5-kdc,
// krb5-admin-server) as an ordinary process on a free loopback port, with a
// realm of its own in a temporary directory.
package kdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/internal/spawn"
)

// Realm is that of all servers.
const Realm = "TEST.RACECAR"

// Server is a running KDC. Its methods fail the test instead of returning errors.
type Server struct {
	t    testing.TB
	dir  string // configuration and log
	data string // database, of the first server of a realm
	port int
}

// Start starts a server that ends with the test. Without the programs the test
// fails: that it is skipped unnoticed would be worse.
func Start(t testing.TB) *Server {
	t.Helper()
	for _, program := range []string{"krb5kdc", "kdb5_util", "kadmin.local"} {
		if _, err := find(program); err != nil {
			t.Fatalf("%v: apt-get install krb5-kdc krb5-admin-server krb5-user", err)
		}
	}
	s := &Server{t: t, dir: t.TempDir()}
	s.data = s.dir
	s.configure(0) // the tools below want a configuration, though no server
	s.run("kdb5_util", "create", "-s", "-r", Realm, "-P", "master")
	s.serve(0)
	return s
}

// Skewed starts a second server of the same realm whose clock is ahead by offset.
func (s *Server) Skewed(offset time.Duration) *Server {
	s.t.Helper()
	other := &Server{t: s.t, dir: s.t.TempDir(), data: s.data}
	other.serve(offset)
	return other
}

// serve starts the process and waits until it answers.
func (s *Server) serve(offset time.Duration) {
	s.t.Helper()
	for range 5 { // the port is free when we look; another process may be quicker
		s.configure(freePort(s.t))
		stop, err := s.try(offset)
		if err == nil {
			s.t.Cleanup(stop)
			return
		}
		s.t.Logf("krb5kdc on port %d: %v", s.port, err)
	}
	s.t.Fatal("krb5kdc does not start")
}

func (s *Server) try(offset time.Duration) (stop func(), err error) {
	path, err := find("krb5kdc")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-n", "-r", Realm, "-T", strconv.Itoa(int(offset.Seconds())))
	cmd.Env = s.Env()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	spawner := spawn.New()
	if err := spawner.Start(cmd); err != nil {
		spawner.Close()
		return nil, err
	}
	ended := make(chan struct{})
	var how error // set before ended is closed
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended                //nolint:errcheck // killed, as we know
		spawner.Close()
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", s.addr())
		if err == nil {
			return stop, conn.Close()
		}
		select {
		case <-ended:
			stop()
			return nil, fmt.Errorf("ended: %w: %s", how, out.String())
		case <-deadline:
			stop()
			return nil, errors.New("does not listen after 10 s")
		case <-tick.C:
		}
	}
}

// Principal makes a principal with a random key; options are kadmin's, such as
// -pwexpire and a date.
func (s *Server) Principal(name string, options ...string) {
	s.t.Helper()
	s.kadmin(append(append([]string{"addprinc", "-randkey"}, options...), name)...)
}

// ChangeKey gives a principal a new key, so that keytabs made before are void.
func (s *Server) ChangeKey(name string) {
	s.t.Helper()
	s.kadmin("change_password", "-randkey", name)
}

// Delete removes a principal.
func (s *Server) Delete(name string) {
	s.t.Helper()
	s.kadmin("delprinc", "-force", name)
}

// Modify changes a principal; options are kadmin's.
func (s *Server) Modify(name string, options ...string) {
	s.t.Helper()
	s.kadmin(append(append([]string{"modprinc"}, options...), name)...)
}

// Keytab writes the keys that principals have now to a file.
func (s *Server) Keytab(names ...string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "keytab")
	s.kadmin(append([]string{"ktadd", "-norandkey", "-k", path}, names...)...)
	return path
}

// Conf is the path of a krb5.conf for clients.
func (s *Server) Conf() string { return s.path("krb5.conf") }

// Env is the environment of programs that are to use this server.
func (s *Server) Env() []string {
	return append(os.Environ(), "KRB5_CONFIG="+s.Conf(), "KRB5_KDC_PROFILE="+s.path("kdc.conf"))
}

// Requests counts what the server answered, by a word of its log: AS_REQ or
// TGS_REQ.
func (s *Server) Requests(word string) int {
	s.t.Helper()
	log, err := os.ReadFile(s.path("kdc.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, word) && strings.Contains(line, ": ISSUE: ") {
			n++
		}
	}
	return n
}

func (s *Server) kadmin(words ...string) {
	s.t.Helper()
	for i, w := range words {
		if strings.ContainsAny(w, " ") {
			words[i] = `"` + w + `"`
		}
	}
	s.run("kadmin.local", "-r", Realm, "-q", strings.Join(words, " "))
}

func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	path, err := find(program)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = s.Env()
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "while ") { // kadmin fails with 0
		s.t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// configure writes the server's and the clients' configuration.
func (s *Server) configure(port int) {
	s.port = port
	s.write("kdc.conf", fmt.Sprintf(`[kdcdefaults]
kdc_listen = %[2]s
kdc_tcp_listen = %[2]s
[realms]
%[1]s = {
  database_name = %[3]s/principal
  key_stash_file = %[3]s/stash
  default_principal_flags = +preauth
  max_life = 1h
  max_renewable_life = 1d
}
[logging]
kdc = FILE:%[4]s
`, Realm, s.addr(), s.data, s.path("kdc.log")))
	s.write("krb5.conf", fmt.Sprintf(`[libdefaults]
default_realm = %[1]s
dns_lookup_kdc = false
dns_lookup_realm = false
rdns = false
ticket_lifetime = 1h
forwardable = false
[realms]
%[1]s = {
  kdc = %[2]s
}
`, Realm, s.addr()))
}

func (s *Server) addr() string            { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// find looks where administrators' programs are as well.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", program))
}

// freePort returns a port that is free for TCP and UDP.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close() // it only reserved a port, as the next
		if err == nil {
			_ = u.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return 0
}
