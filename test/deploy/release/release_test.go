// Package release checks .goreleaser.yaml with goreleaser's own reader: a module
// of its own, since that is large.
package release

import (
	"os"
	"slices"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

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
	for _, a := range project.Archives {
		for _, file := range a.Files {
			if _, err := os.Stat("../../../" + file.Source); err != nil {
				t.Errorf("archive: %v", err)
			}
		}
	}
}
