package supervisor

import (
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifier reports the state to systemd (sd_notify(3)), when NOTIFY_SOCKET is set. The
// loop itself sends the watchdog's signs of life, so that systemd notices a loop that
// hangs.
type notifier struct {
	conn  *net.UnixConn // nil: nobody listens
	every time.Duration // of WATCHDOG=1; 0: never
	last  time.Time
}

func newNotifier() *notifier {
	n := &notifier{}
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return n
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return n // systemd logs that nothing came; nobody else waits for it
	}
	n.conn = conn
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.every = time.Duration(us) * time.Microsecond / 2
		}
	}
	return n
}

// send sends one message, dropping it when the receiver is full.
func (n *notifier) send(message string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = n.conn.Write([]byte(message))
}

// alive sends the watchdog's sign of life when it is due.
func (n *notifier) alive(now time.Time) {
	if n.every == 0 || now.Sub(n.last) < n.every {
		return
	}
	n.last = now
	n.send("WATCHDOG=1")
}

// next is when the watchdog needs the next sign of life; zero: it needs none.
func (n *notifier) next() time.Time {
	if n.every == 0 {
		return time.Time{}
	}
	return n.last.Add(n.every)
}

// reloading reports a reload (Type=notify-reload), which ends with ready.
func (n *notifier) reloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err == nil {
		n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(ts.Nano()/1000, 10))
	}
}

func (n *notifier) ready() { n.send("READY=1") }

func (n *notifier) close() {
	if n.conn != nil {
		_ = n.conn.Close()
	}
}
