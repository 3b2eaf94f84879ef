package cluster

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
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a broker's graceful shutdown may take. Moving its leaders
// away takes a second; the last broker of a quorum has nobody to move them to.
const stopTimeout = 30 * time.Second

// State is what a broker's process is doing.
type State string

// States of a broker.
const (
	Running State = "running"
	Paused  State = "paused"  // stopped by SIGSTOP
	Stopped State = "stopped" // by Stop or Kill, or not started yet
	Died    State = "died"    // of its own accord
)

// Broker is one node of a cluster. Its methods may be called at the same time.
type Broker struct {
	// ID is the node id: 1 for the first.
	ID int

	cluster *Cluster
	ports   map[string]int // by listener
	proxy   *proxy         // nil without Options.Proxy

	mu    sync.Mutex
	state State
	cmd   *exec.Cmd
	done  chan struct{} // closed when cmd has been waited for; cmd.ProcessState is set then
}

// newBroker reserves broker id's ports and starts its proxy.
func newBroker(c *Cluster, id int) (*Broker, error) {
	b := &Broker{ID: id, cluster: c, ports: map[string]int{}, state: Stopped}
	names := []string{clientListener, internalListener, controllerListener}
	for _, l := range c.opts.Listeners {
		names = append(names, l.Name)
	}
	for _, name := range names {
		port, err := c.ports.Reserve()
		if err != nil {
			return nil, err
		}
		b.ports[name] = port
	}
	if !c.opts.Proxy {
		return b, nil
	}
	port, err := c.ports.Reserve()
	if err != nil {
		return nil, err
	}
	b.proxy, err = newProxy(fmt.Sprintf("broker-%d", id), net.JoinHostPort(loopback, strconv.Itoa(port)), b.addr(clientListener))
	return b, err
}

// configure writes the broker's configuration and an empty data directory.
func (b *Broker) configure() error {
	if err := os.MkdirAll(b.dataDir(), 0o755); err != nil {
		return err
	}
	checkpoint, err := os.ReadFile(b.cluster.dist.bootstrap)
	if err != nil {
		return err
	}
	meta := formatProperties(map[string]string{
		"version": "1", "cluster.id": clusterID, "node.id": strconv.Itoa(b.ID),
	})
	return errors.Join(
		os.WriteFile(filepath.Join(b.dataDir(), "meta.properties"), meta, 0o644),
		os.WriteFile(filepath.Join(b.dataDir(), "bootstrap.checkpoint"), checkpoint, 0o644),
		os.WriteFile(b.configFile(), formatProperties(b.cluster.properties(b)), 0o600),
	)
}

// Addr is where clients reach this broker: its proxy where there is one.
func (b *Broker) Addr() string {
	if b.proxy != nil {
		return b.proxy.Addr()
	}
	return b.addr(clientListener)
}

// Pid returns the process id, 0 when the broker does not run.
func (b *Broker) Pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != Running && b.state != Paused {
		return 0
	}
	return b.cmd.Process.Pid
}

// State returns what the broker is doing.
func (b *Broker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Kill ends the broker with SIGKILL and returns when it is gone. Its partitions get
// another leader when broker.session.timeout.ms (6 s) has passed; before that,
// Restart does not get it back into the cluster either.
func (b *Broker) Kill() error {
	return b.signalAndWait(syscall.SIGKILL)
}

// Stop ends the broker in order with SIGTERM, which hands its partitions to the
// others first, and returns when it is gone. One that takes longer than 30 s, as
// it does when there is no quorum left to tell, is killed, with an error.
func (b *Broker) Stop() error {
	return b.signalAndWait(syscall.SIGTERM)
}

// signalAndWait sends sig and waits. A broker that does not run is fine with that.
func (b *Broker) signalAndWait(sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case Stopped:
		return nil
	case Died:
		b.state = Stopped
		return b.deathError()
	}
	wasPaused := b.state == Paused
	b.state = Stopped // whatever its exit code is now, we asked for it
	if err := b.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end broker %d: %w", b.ID, err)
	}
	if wasPaused && sig != syscall.SIGKILL {
		if err := b.cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end broker %d: %w", b.ID, err)
		}
	}
	select {
	case <-b.done:
		return nil
	case <-time.After(stopTimeout):
	}
	err := b.cmd.Process.Kill()
	<-b.done
	return errors.Join(fmt.Errorf("broker %d did not end within %s of %s and was killed", b.ID, stopTimeout, sig), err)
}

// Pause stops the broker with SIGSTOP: connections stay open and nothing answers.
func (b *Broker) Pause() error { return b.signal(Running, Paused, syscall.SIGSTOP) }

// Continue lets a paused broker go on.
func (b *Broker) Continue() error { return b.signal(Paused, Running, syscall.SIGCONT) }

// signal takes the broker from one state to the next.
func (b *Broker) signal(from, to State, sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != from {
		return fmt.Errorf("broker %d is %s, not %s", b.ID, b.state, from)
	}
	if err := b.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal broker %d: %w", b.ID, err)
	}
	b.state = to
	return nil
}

// Restart starts the broker on the same ports with the same data, after stopping
// it in order if it runs, and returns when it serves again. It does not wait for
// the broker's replicas to catch up: see Cluster.AwaitInSync.
func (b *Broker) Restart(ctx context.Context) error {
	if err := b.Stop(); err != nil {
		return err
	}
	if err := b.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := b.cluster.awaitBrokers(ctx); err != nil {
		return fmt.Errorf("restart broker %d: %w\n%s", b.ID, err, b.LogTail(40))
	}
	return nil
}

// start starts the process and returns at once.
func (b *Broker) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := b.cluster.dist.command(b.cluster.opts.HeapMB, b.cluster.opts.JVMFlags, b.configFile())
	cmd.Dir = b.cluster.dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := b.cluster.spawner.Start(cmd); err != nil {
		return fmt.Errorf("start broker %d: %w", b.ID, err)
	}
	done := make(chan struct{})
	b.cmd, b.done, b.state = cmd, done, Running
	go func() {
		// How it ended is kept in cmd.ProcessState; Wait's error says the same.
		_ = cmd.Wait()
		close(done)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.cmd == cmd && b.state != Stopped {
			b.state = Died
		}
	}()
	return nil
}

// close ends the broker for good, and its proxy. It returns an error if the
// broker had died of its own accord.
func (b *Broker) close() error {
	err := b.Kill()
	if b.proxy != nil {
		b.proxy.Close()
	}
	return err
}

// deathError says how a broker ended that nobody had asked to.
func (b *Broker) deathError() error {
	return fmt.Errorf("broker %d died: %s\n%s", b.ID, b.cmd.ProcessState, b.LogTail(40))
}

// LogTail returns the last lines of the broker's log.
func (b *Broker) LogTail(lines int) string {
	log, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// addr is the address of one of the broker's three own listeners.
func (b *Broker) addr(listener string) string {
	return net.JoinHostPort(loopback, strconv.Itoa(b.ports[listener]))
}

// listenerAddr is the address l advertises.
func (b *Broker) listenerAddr(l Listener) string {
	host := l.Host
	if host == "" {
		host = loopback
	}
	return net.JoinHostPort(host, strconv.Itoa(b.ports[l.Name]))
}

func (b *Broker) file(format string) string {
	return filepath.Join(b.cluster.dir, fmt.Sprintf(format, b.ID))
}
func (b *Broker) dataDir() string    { return b.file("broker-%d") }
func (b *Broker) configFile() string { return b.file("broker-%d.properties") }
func (b *Broker) logFile() string    { return b.file("broker-%d.log") }
