package examples

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// condition reports whether the machine has what a script asks for.
func condition(name string) (bool, error) {
	switch name {
	case "postgres":
		_, err := postgresProgram("initdb")
		return err == nil, nil
	case "redis":
		_, err := exec.LookPath("redis-server")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// postgresProgram finds a program of PostgreSQL. Debian keeps those of a server out of PATH.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return found[len(found)-1], nil
}

// postgres is a script's database server. It has a socket in its own directory and no port.
type postgres struct{ dir string }

// runPostgres starts or stops the script's database server: `postgres start|stop`. The first
// start creates it and sets DATABASE_URL.
func runPostgres(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.Getenv("POSTGRES_DIR")
	if dir == "" {
		var err error
		dir, err = os.MkdirTemp("", "postgres") // the server's user cannot enter a script's directory
		ts.Check(err)
		p := postgres{dir}
		ts.Defer(func() {
			_ = p.command("pg_ctl", "-D", dir+"/data", "-m", "immediate", "-w", "stop").Run() // it may be stopped
			ts.Check(os.RemoveAll(dir))
		})
		ts.Check(p.create())
		ts.Setenv("POSTGRES_DIR", dir)
		ts.Setenv("DATABASE_URL", "host="+dir+" user=racecar dbname=postgres")
	}
	p := postgres{dir}
	switch args[0] {
	case "start":
		options := "-c listen_addresses= -c fsync=off -k " + dir
		ts.Check(p.run("pg_ctl", "-D", dir+"/data", "-l", dir+"/log", "-o", options, "-w", "start"))
	case "stop":
		ts.Check(p.run("pg_ctl", "-D", dir+"/data", "-m", "fast", "-w", "stop"))
	default:
		ts.Fatalf("postgres start|stop")
	}
}

func (p postgres) create() error {
	if c := credential(); c != nil {
		if err := os.Chown(p.dir, int(c.Uid), int(c.Gid)); err != nil {
			return err
		}
	}
	if err := os.Chmod(p.dir, 0o755); err != nil { //nolint:gosec // the consumer connects through a socket in it
		return err
	}
	return p.run("initdb", "-D", p.dir+"/data", "-U", "racecar", "-A", "trust", "--no-sync")
}

func (p postgres) run(name string, args ...string) error {
	cmd := p.command(name, args...)
	out, err := os.Create(filepath.Join(p.dir, name+".out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out // a file: the server that pg_ctl starts keeps it
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return nil
}

// command is one of PostgreSQL's programs, run as its user where we are root: it refuses root.
func (p postgres) command(name string, args ...string) *exec.Cmd {
	path, err := postgresProgram(name)
	if err != nil {
		path = name
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = p.dir
	if c := credential(); c != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	}
	return cmd
}

// credential is that of PostgreSQL's user; nil: our own will do.
func credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32) // a number on Unix
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
