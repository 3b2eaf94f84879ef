package launcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	modversion "golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A module that was set up with a checkout can require a release in its place, or take
// the checkout along; either builds from code that is there without the checkout.
func TestBuildsElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches modules")
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	caches := strings.Fields(runIn(t, "", nil, "go", "env", "GOCACHE", "GOMODCACHE"))
	proxy := t.TempDir()
	publish(t, checkout, proxy, "v1.2.3")
	env := []string{
		"GOCACHE=" + caches[0], "GOMODCACHE=" + filepath.Join(t.TempDir(), "mod"), "GOFLAGS=-modcacherw -buildvcs=false", "GOSUMDB=off",
		"GOPROXY=file://" + proxy + ",file://" + filepath.Join(caches[1], "cache", "download"),
	}
	dir := filepath.Join(t.TempDir(), "dance")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const racecar = "racecar" // this test's binary, see TestMain
	runIn(t, dir, env, racecar, "install")
	runIn(t, dir, env, racecar, "generate", "consumer", "TapDance")

	runIn(t, dir, env, "go", "mod", "vendor")
	folders := func() []string {
		return strings.Fields(runIn(t, dir, append(env, "GOPROXY=off"), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", "."))
	}
	for _, folder := range folders() {
		if !strings.HasPrefix(folder, dir) {
			t.Fatalf("the vendored build takes %s", folder)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "vendor")); err != nil {
		t.Fatal(err)
	}

	runIn(t, dir, env, racecar, "install", "--release", "v1.2.3")
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || strings.Contains(string(goMod), "replace") || !strings.Contains(string(goMod), racecarPath+" v1.2.3") {
		t.Errorf("%v: %s", err, goMod)
	}
	for _, folder := range folders() {
		if strings.HasPrefix(folder, checkout) {
			t.Fatalf("the build of a release takes %s", folder)
		}
	}
	cmd := exec.Command(racecar, "install", "--release", "1.2")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil || string(out) != "racecar: --release 1.2: write a version such as v1.2.3\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// publish makes a checkout a module of a proxy's folder.
func publish(t *testing.T, checkout, proxy, version string) {
	t.Helper()
	dir := filepath.Join(proxy, filepath.FromSlash(racecarPath), "@v")
	goMod, err := os.ReadFile(filepath.Join(checkout, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, version+".mod"), string(goMod))
	writeFile(t, filepath.Join(dir, version+".info"), `{"Version":"`+version+`"}`)
	archive, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := zip.CreateFromDir(archive, modversion.Version{Path: racecarPath, Version: version}, checkout); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// runIn runs a command with variables set and returns what it wrote.
func runIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
