package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
)

type livenessCmd struct {
	Config string `placeholder:"FILE" help:"Configuration file (default: config/racecar.yml)"`
}

// Help is shown below the flags.
func (livenessCmd) Help() string {
	return "Reads liveness_probe_file_path and liveness_probe_max_interval; with RACECAR_LIVENESS_PROBE_SKIP_CONFIG_FILES=true from variables alone, " +
		"and also where neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set and the file cannot be used."
}

// Run exits 0 when the file was touched within the interval. The words are
// upstream's. It asks nobody but the file system, so that it is quick however
// busy or stuck the consumers are.
func (c *livenessCmd) Run(_ context.Context, a *app) error {
	skip, _ := strconv.ParseBool(a.getenv("RACECAR_LIVENESS_PROBE_SKIP_CONFIG_FILES")) // nonsense is refused by Load
	o := config.Options{Environ: a.environ, NoFile: skip}
	if !skip {
		o.File, o.FileGiven = c.Config, c.Config != ""
		o.Configure = registered.Configures() // in an application's binary
	}
	loaded, err := config.Load(o)
	if err != nil && !skip && c.Config == "" && a.getenv("RACECAR_ENV")+a.getenv("RAILS_ENV")+a.getenv("RACK_ENV") == "" {
		// Ruby's probe reads no file then: it must not fail for one.
		a.note("Warning: the configuration file is ignored: %v\n", err)
		loaded, err = config.Load(config.Options{Environ: a.environ, NoFile: true})
	}
	if err != nil {
		return err
	}
	path, limit := loaded.Config.LivenessProbeFilePath, loaded.Config.LivenessProbeMaxInterval
	if path == "" {
		if path, err = onlyLivenessFile(config.LivenessDir(a.environ)); err != nil {
			return err
		}
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		a.note("Racecar healthcheck failed: Liveness file not found `%s`\n", path)
		return exit(exitFailed)
	}
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && int(st.Uid) != os.Geteuid() {
		a.note("Racecar healthcheck failed: `%s` is no file of this user\n", path)
		return exit(exitFailed)
	}
	last := info.ModTime()
	// A clock that was put back would have it alive until it has caught up.
	if elapsed := a.now().Sub(last); elapsed >= limit || elapsed <= -limit {
		a.note("Racecar healthcheck failed: No liveness within interval %ss. Last liveness at %s, %s seconds ago.\n",
			strconv.FormatFloat(limit.Seconds(), 'f', -1, 64), last.Format("2006-01-02 15:04:05 -0700"),
			strconv.FormatFloat(elapsed.Seconds(), 'f', -1, 64))
		return exit(exitFailed)
	}
	return nil
}

// onlyLivenessFile finds the file of the one supervisor that has one without a path of
// its own.
func onlyLivenessFile(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+config.LivenessSuffix))
	switch {
	case err != nil:
		return "", err
	case len(files) > 1:
		return "", fmt.Errorf("several liveness files in %s: name one with liveness_probe_file_path", dir)
	case len(files) == 0:
		return filepath.Join(dir, "*"+config.LivenessSuffix), nil // which is not found
	}
	return files[0], nil
}
