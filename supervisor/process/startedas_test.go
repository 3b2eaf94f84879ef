package process

import (
	"os"
	"path/filepath"
	"testing"
)

// A process under a name that is no program, as after exec -a, finds the file from which it
// was started.
func TestFindUnderAnotherName(t *testing.T) {
	e, err := New(Options{Program: "racecar-web.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if name := filepath.Base(e.startedAs); name != filepath.Base(os.Args[0]) {
		t.Errorf("started as %q, argv[0] is %s", e.startedAs, os.Args[0])
	}
	running, err := e.CurrentImage()
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	found, err := e.Find()
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if !found.Same(running) {
		t.Errorf("found %v, running is %v", found, running)
	}
	e.startedAs = ""
	if _, err := e.Find(); err == nil {
		t.Error("found without knowing where")
	}
}

// A script cannot be started from a descriptor, and we hold programs by descriptors.
func TestScriptInTheProgramsPlaceIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec app.real\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{Program: path})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Find(); err == nil || err.Error() != path+" is a script now: put the program itself in its place" {
		t.Error(err)
	}
}
