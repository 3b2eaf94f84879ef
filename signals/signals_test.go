package signals

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestMeaning(t *testing.T) {
	for _, c := range []struct {
		sig      syscall.Signal
		terminal bool
		want     Action
	}{
		{syscall.SIGTERM, false, Stop},
		{syscall.SIGINT, false, Stop},
		{syscall.SIGQUIT, false, StopWithStacks},
		{syscall.SIGUSR1, false, PrintConfig},
		{syscall.SIGHUP, false, Reload},
		{syscall.SIGHUP, true, Stop},
		{syscall.SIGTTIN, true, More},
		{syscall.SIGTTOU, false, Fewer},
		{syscall.SIGTSTP, true, Quiet},
		{syscall.SIGCONT, false, Continue},
		{syscall.SIGUSR2, false, Reserved},
		{syscall.SIGCHLD, false, Reap},
		{syscall.SIGPIPE, false, None},
		{syscall.SIGWINCH, true, None},
	} {
		if got := Meaning(c.sig, c.terminal); got != c.want {
			t.Errorf("%v, terminal %v: order %d, want %d", c.sig, c.terminal, got, c.want)
		}
	}
}

// Each signal of the table reaches the queue, none kills the process, and after Close
// none is received.
func TestQueueReceivesTheTable(t *testing.T) {
	q := Listen(false, true)
	defer q.Close()
	for _, sig := range []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGPIPE, syscall.SIGCHLD,
	} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-q.C():
			if got != sig {
				t.Errorf("sent %v, received %v", sig, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%v did not arrive", sig)
		}
	}
	q.Close()
	q.Close()
}
