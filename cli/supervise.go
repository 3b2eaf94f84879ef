package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/monitor"
	"github.com/racecar-go/racecar/pidfile"
	"github.com/racecar-go/racecar/signals"
	"github.com/racecar-go/racecar/supervisor"
	"github.com/racecar-go/racecar/supervisor/daemon"
	"github.com/racecar-go/racecar/supervisor/process"
)

// runConsumers is the default command: load everything, then supervise.
func runConsumers(in *parsed, stdout, stderr io.Writer) error {
	if in.line.Dev {
		return fmt.Errorf("--dev belongs to the racecar command, which has an embedded broker; this program needs a real one (--brokers)")
	}
	r, err := load(in.invocation)
	switch {
	case err != nil:
	case in.line.Check:
		return check(r, stdout, stderr)
	case in.line.Inline && len(r.plan.Consumers) > 1:
		err = errors.New("--inline runs one worker of one consumer; name one")
	case in.line.Inline && r.process().Daemonize:
		err = errors.New("--inline runs in the foreground; leave out --daemonize")
	}
	if err != nil {
		return err
	}
	if daemon.IsDaemon() {
		return runDaemon(in, r)
	}
	if err := checkFiles(r); err != nil {
		return err
	}
	banner := supervisor.Banner{W: stderr}
	for _, c := range r.plan.Consumers {
		banner.Starting(c.Name)
	}
	warn(stderr, r.plan.Warnings)
	if logfile := in.logfile(r); logfile != "" {
		banner.Logging(logfile)
	}
	banner.Ready()
	switch {
	case in.line.Inline:
		return runInline(r, banner)
	case r.process().Daemonize:
		return daemonize(r, banner)
	}
	return supervise(in, r, banner, nil)
}

// check prints what would run.
func check(r *run, stdout, stderr io.Writer) error {
	warn(stderr, r.plan.Warnings)
	if err := checkFiles(r); err != nil {
		return err
	}
	for _, c := range r.plan.Consumers {
		workers := "1 worker"
		if n := c.Config.ParallelWorkers; n != 1 {
			workers = fmt.Sprintf("%d workers", n)
		}
		if _, err := fmt.Fprintf(stdout, "%s: %s, group %s, brokers %s\n",
			c.Name, workers, c.Config.GroupID, strings.Join(c.Config.Brokers, ",")); err != nil {
			return err
		}
	}
	return nil
}

func warn(stderr io.Writer, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(stderr, "=> Warning: %s\n", w)
	}
}

// supervisorGC is GOGC in a supervisor: it allocates little and lives long, and Go lets a
// heap grow to 4 MB × GOGC/100 however little of it lives.
const supervisorGC = 25

// supervise runs the supervisor in this process until it has stopped. d is nil
// in the foreground.
func supervise(in *parsed, r *run, banner supervisor.Banner, d *daemon.Daemon) (err error) {
	c := r.process()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(supervisorGC)
	}
	// Before the pidfile is written: whoever reads it may send a HUP, which would end us.
	terminal := d == nil && signals.OnTerminal()
	pid1 := os.Getpid() == 1
	queue := signals.Listen(terminal, pid1)
	defer queue.Close()
	if c.Pidfile != "" {
		held, err := pidfile.Create(c.Pidfile)
		if err != nil {
			return refused(located(err, "pidfile", r.sources()), banner, d)
		}
		defer func() { err = errors.Join(err, held.Remove()) }()
	}
	log, err := logs.Open(c, os.Stdout)
	if err != nil {
		return located(err, "logfile", r.sources())
	}
	defer closeLog(log)
	log.Detach(0, nil) // nobody here waits for a log that nobody reads
	socket, err := listen(c, ctl.Runtime{}, log.WithField("component", "control"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.close()) }()

	subscribers := monitor.NewSubscribers(registered.Observers(), log)
	defer func() { err = errors.Join(err, subscribers.Close()) }()
	app := newAppMetrics(c, log)
	sup, err := newSupervisor(in, r, log, supervisor.Options{
		OnEvent: emitWorkerEvents(subscribers),
		Stderr:  banner.W, Signals: queue.C(), Terminal: terminal, PID1: pid1,
		Pidfile: c.Pidfile, Socket: socket.Path(), OnReady: onReady(d),
		AppMetrics: app, LogProblem: log.Problem, OnReload: func() { reopen(log, c, d); socket.reload() },
	})
	if err != nil {
		return err
	}
	server := ctl.NewServer(control{sup}, log.WithField("component", "control"))
	beside, err := newMonitoring(c, sup, app, server.Handler(), log)
	if err != nil {
		return err
	}
	if d != nil {
		err = d.ChdirRoot()
	} else {
		banner.HowToStop()
	}
	if err != nil {
		return err
	}
	defer beside.start()()
	return serve(sup, server, socket)
}

func newSupervisor(in *parsed, r *run, log *logs.Log, o supervisor.Options) (*supervisor.Supervisor, error) {
	dir, err := workingDir()
	if err != nil {
		return nil, err
	}
	spawner, err := process.New(process.Options{Program: in.args[0], Dir: dir, Stderr: o.Stderr})
	if err != nil {
		return nil, err
	}
	o.Plan, o.PlanArgv, o.Spawner, o.Log, o.PrintConfig, o.Dir = r.plan, in.args, spawner, log, printConfig, dir
	o.SetLogLevel = func(level string) error { return setLevel(log, level) }
	sup, err := supervisor.New(o)
	if err != nil {
		return nil, errors.Join(err, spawner.Close())
	}
	return sup, nil
}

// serve runs the supervisor and its control socket until it has stopped.
func serve(sup *supervisor.Supervisor, server *ctl.Server, socket *controlSocket) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	kept := make(chan struct{})
	keeping, enough := context.WithCancel(context.Background())
	go func() { defer close(kept); socket.keep(keeping) }()
	code, err := sup.Run(context.Background())
	enough()
	<-kept

	// Clients that wait for the stop get their answer before the process exits.
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	err = errors.Join(err, server.Shutdown(ctx), <-served)
	if err == nil && code != exitOK {
		return exitCode(code)
	}
	return err
}

// answerWithin bounds the last answers of the control socket.
const answerWithin = 2 * time.Second

func setLevel(log *logs.Log, level string) error {
	l, err := logs.ParseLevel(level)
	if err == nil {
		log.SetLevel(l)
	}
	return err
}

// printConfig answers USR1.
func printConfig(w io.Writer, c wire.Consumer) {
	// An error of stderr cannot be reported anywhere.
	_ = config.Dump(w, c.Config, c.Sources, config.DumpOptions{})
}

// runInline runs worker 0 of the only consumer in this process.
func runInline(r *run, banner supervisor.Banner) error {
	c := r.plan.Consumers[0]
	log, err := openLog(&c.Config, "")
	if err != nil {
		return err
	}
	defer closeLog(log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if c.Config.StatusAddr != "" || c.Config.LivenessProbeEnabled {
		log.Warn("without a supervisor (--inline) there are no status page and no liveness file")
	}
	banner.HowToStop()
	var nonce [6]byte
	_, _ = rand.Read(nonce[:]) // never fails
	h := wire.Handshake{Consumer: c, Nonce: hex.EncodeToString(nonce[:]), StartedAt: time.Now()}
	if code := runWatched(ctx, workerOptions(nil, nil, h, log), log); code != exitOK {
		return exitCode(code)
	}
	return nil
}
