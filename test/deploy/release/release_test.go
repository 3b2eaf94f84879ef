// Package release checks .goreleaser.yaml with goreleaser's own reader: a module
// of its own, since that is large.
package release

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// A tag of somebody else's repository can be moved to other code; a commit cannot.
func TestActionsArePinned(t *testing.T) {
	files, err := filepath.Glob("../../../.github/workflows/*.yml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	pinned := regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(string(text)) {
			_, action, ok := strings.Cut(line, "uses: ")
			if !ok {
				continue
			}
			found++
			if !pinned.MatchString(strings.TrimSpace(action)) {
				t.Errorf("%s: %s", filepath.Base(name), action)
			}
		}
		if found == 0 {
			t.Errorf("%s uses no action", name)
		}
	}
}

func TestConfiguration(t *testing.T) {
	f, err := os.Open("../../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	project, err := config.LoadReader(f) // strict: what it does not know is an error
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range project.Builds {
		if _, err := os.Stat("../../../" + b.Main); err != nil {
			t.Errorf("build %s: %v", b.ID, err)
		}
		if !slices.Equal(b.Goos, []string{"linux", "darwin"}) || !slices.Equal(b.Goarch, []string{"amd64", "arm64"}) || !slices.Contains(b.Env, "CGO_ENABLED=0") {
			t.Errorf("build %s: %v %v %v", b.ID, b.Goos, b.Goarch, b.Env)
		}
	}
	if len(project.Builds) != 2 || len(project.SBOMs) != 1 || project.Checksum.Algorithm != "sha256" {
		t.Errorf("%d builds, %d SBOMs, checksums %q", len(project.Builds), len(project.SBOMs), project.Checksum.Algorithm)
	}
	if len(project.Signs) != 1 || project.Signs[0].Artifacts != "checksum" || project.Signs[0].Cmd != "cosign" {
		t.Errorf("signs %+v", project.Signs)
	}
	workflow, err := os.ReadFile("../../../.github/workflows/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range project.Archives {
		shipped := false
		for _, file := range a.Files {
			// The texts of others' licenses are put there before goreleaser runs.
			if folder, ok := strings.CutSuffix(file.Source, "/**"); ok && strings.Contains(string(workflow), "- run: .ci/licenses "+folder+"\n") {
				shipped = true
			} else if _, err := os.Stat("../../../" + file.Source); err != nil {
				t.Errorf("archive: %v", err)
			}
		}
		if !shipped {
			t.Errorf("archive %q has none of the license texts of what is linked in", a.ID)
		}
	}
}
