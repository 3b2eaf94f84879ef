package ctl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/owner"
)

// devData is where `racecar --dev` and `racecar broker` keep an embedded broker's
// data, in the module's root; package devkafka says what lies in it.
const devData = "tmp/racecar-dev"

// useDevBroker makes the options lead to the embedded broker that runs for the
// module we stand in, if one does: it has not always Kafka's own port, and what is
// typed beside `racecar --dev` is meant for its broker. Whoever names brokers, a
// file or another environment than development means something else.
func (a *app) useDevBroker(o *config.Options) {
	if o.FileGiven || o.Flags["brokers"].Text != "" || a.getenv("RACECAR_BROKERS") != "" || a.getenv("RACECAR_CONFIG") != "" {
		return
	}
	for _, name := range []string{"RACECAR_ENV", "RAILS_ENV", "RACK_ENV"} {
		if v := a.getenv(name); v != "" && v != "development" {
			return
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return // then there is no configuration file either, as Load will say
	}
	if addr := devBroker(dir); addr != "" {
		a.note("=> The broker is the embedded one at %s (%s)\n", addr, devData)
		o.DevBroker = addr
	}
}

// devBroker is the address of the embedded broker that serves the module of dir,
// or empty.
func devBroker(dir string) string {
	for {
		data := filepath.Join(dir, filepath.FromSlash(devData))
		if served(data) {
			return devAddress(data)
		}
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		parent := filepath.Dir(dir)
		if err == nil || parent == dir {
			return ""
		}
		dir = parent
	}
}

// devAddress waits for the address of the broker that serves a data directory: it may be
// starting, and a message must not go to another broker then. Empty: it ended.
func devAddress(data string) string {
	for served(data) {
		addr, err := os.ReadFile(filepath.Join(data, "address"))
		if text := strings.TrimSpace(string(addr)); err == nil && text != "" {
			return text
		}
		<-time.After(10 * time.Millisecond) // nothing tells when it is written
	}
	return ""
}

// served says whether a broker holds the lock of a data directory.
func served(data string) bool {
	if owner.Trusted(data) != nil {
		return false // not there, or another user's
	}
	lock, err := os.Open(filepath.Join(data, "lock"))
	if err != nil {
		return false
	}
	defer lock.Close()
	// If nobody holds the lock, we do for a moment: a broker that starts just then
	// retries.
	return errors.Is(syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
