package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/signals"
	"github.com/racecar-go/racecar/supervisor/process"
)

// TestMain makes the test binary a child where its role says so, so that tests
// with real processes need no other program.
func TestMain(m *testing.M) {
	role := wire.Role(os.Getenv(wire.EnvRole))
	_ = os.Unsetenv(wire.EnvRole)
	switch role {
	case "":
		if plan, ok := os.LookupEnv(envSupervise); ok {
			os.Exit(superviseMain(plan))
		}
		os.Exit(m.Run())
	case wire.RoleWorker:
		os.Exit(workerMain())
	case wire.RolePlan:
		os.Exit(planMain())
	case wire.RoleLeave:
		os.Exit(leaveMain())
	}
	os.Exit(2)
}

// envSupervise makes the test binary a supervisor of the plan in it, for tests
// that kill or stop the supervisor itself.
const envSupervise = "SUPERVISOR_TEST_PLAN"

func superviseMain(plan string) int {
	var p wire.Plan
	if err := json.Unmarshal([]byte(plan), &p); err != nil {
		panic(err)
	}
	_ = os.Unsetenv(envSupervise)
	spawner, err := process.New(process.Options{})
	if err != nil {
		panic(err)
	}
	terminal := signals.OnTerminal()
	queue := signals.Listen(terminal, false)
	defer queue.Close()
	log := logrus.New()
	sup, err := New(Options{Plan: p, Spawner: spawner, Log: log, Signals: queue.C(), Terminal: terminal, OnReady: func() { fmt.Println("ready") }})
	if err != nil {
		panic(err)
	}
	code, err := sup.Run(context.Background())
	if err != nil {
		fmt.Println(err)
	}
	return code
}

func testSocket() (*wire.Conn, net.Conn) {
	f := os.NewFile(wire.SocketFD, "socket")
	c, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	_ = f.Close()
	return wire.NewConn(c), c
}

// workerMain is a worker that does what its configuration's ClientID says, a
// list of words: see the cases.
func workerMain() int {
	conn, raw := testSocket()
	env, err := conn.Read()
	if err != nil {
		return wire.ExitCrash
	}
	var h wire.Handshake
	if err := env.Decode(&h); err != nil {
		return wire.ExitCrash
	}
	if err := conn.Write(wire.KindHello, wire.Hello{Version: h.Versions.Max}); err != nil {
		return wire.ExitOK
	}
	for h.Standby {
		if err := conn.Write(wire.KindFrame, wire.Frame{State: status.Standby, Live: true}); err != nil {
			return wire.ExitOK
		}
		env, err := conn.Read()
		if err != nil {
			return wire.ExitOK
		}
		if env.Kind != wire.KindHandshake { // a command: it is not needed any more
			return wire.ExitOK
		}
		h = wire.Handshake{}
		if err := env.Decode(&h); err != nil {
			return wire.ExitCrash
		}
	}
	board, err := scoreboard.Open(os.NewFile(wire.ScoreboardFD, "scoreboard"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return wire.ExitCrash
	}
	board.Counters().Add(scoreboard.Batches, 3)
	does := map[string]bool{}
	for _, word := range strings.Fields(h.Consumer.Config.ClientID) {
		does[word] = true
	}
	send := func(kind wire.Kind, body any) {
		if err := conn.Write(kind, body); err != nil {
			os.Exit(wire.ExitOK) // the supervisor is gone
		}
	}
	place := status.Member{Group: "g", InstanceID: fmt.Sprintf("%s-%s-%d", h.Nonce, h.Consumer.Name, h.Index), MemberID: fmt.Sprint(os.Getpid())}
	switch {
	case does["silent"]:
		select {}
	case does["permanent"]:
		send(wire.KindExitReason, wire.ExitReason{Reason: "bad credentials", Permanent: true})
		return wire.ExitPermanent
	case does["crash"]:
		fmt.Fprintln(os.Stderr, "a line before the crash")
		return wire.ExitCrash
	case does["garbage"]:
		_, _ = raw.Write([]byte("garbage garbage garbage"))
	}
	if does["child"] {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintf(os.Stderr, "child %d.\n", cmd.Process.Pid)
	}
	if does["chatty"] {
		line := strings.Repeat("chatter ", 1000) + "\n"
		for range 1000 {
			fmt.Fprint(os.Stderr, line)
		}
	}
	send(wire.KindMembers, []status.Member{place})
	if does["poison"] && !poisoned(h.Suspects) {
		board.Begin(0, "topic", 0, 7, 7, true)
		panic("poison")
	}
	frame := wire.Frame{State: status.Running, Live: true}
	if h.Quiet {
		frame.State = status.Quiet
	}
	send(wire.KindFrame, frame)
	if does["stuck"] {
		board.Begin(0, "topic", 0, 7, 7, true)
	}
	commands := make(chan wire.Command)
	go func() {
		for {
			env, err := conn.Read()
			if err != nil {
				os.Exit(wire.ExitOK)
			}
			var cmd wire.Command
			if err := env.Decode(&cmd); err != nil {
				panic(err)
			}
			commands <- cmd
		}
	}()
	t := time.NewTicker(100 * time.Millisecond)
	for {
		select {
		case <-t.C:
			board.Counters().Add(scoreboard.Messages, 1)
		case cmd := <-commands:
			reply := wire.Reply{ID: cmd.ID}
			switch cmd.Kind {
			case wire.CommandStop:
				if does["unresponsive"] {
					continue
				}
				return wire.ExitOK
			case wire.CommandStatus:
				reply.Data, _ = json.Marshal(status.Report{Counters: board.Counters().Work().Counters})
			case wire.CommandQuiet:
				frame.State = status.Quiet
			case wire.CommandContinue:
				frame.State = status.Running
			case wire.CommandLogLevel:
				if cmd.Value == "error" {
					reply.Error = "no such level here"
				}
			}
			send(wire.KindReply, reply)
		}
		send(wire.KindFrame, frame)
	}
}

func poisoned(list []wire.Suspect) bool {
	for _, s := range list {
		if s.FirstOffset == 7 && s.Deaths >= wire.PoisonedAfter {
			return true
		}
	}
	return false
}

// planMain answers with the plan in the file that the arguments name.
func planMain() int {
	conn, c := testSocket()
	b, err := os.ReadFile(os.Args[len(os.Args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if string(b) == "hang" {
		select {}
	}
	if err := conn.Write(wire.KindPlan, json.RawMessage(b)); err != nil {
		return 1
	}
	_, _ = c.Read(make([]byte, 1)) // until the supervisor has seen who we are
	return 0
}

// leaveMain appends the members to the file that the group's id names.
func leaveMain() int {
	conn, _ := testSocket()
	env, err := conn.Read()
	if err != nil {
		return 0
	}
	var l wire.Leave
	if err := env.Decode(&l); err != nil {
		return 1
	}
	f, err := os.OpenFile(l.Consumer.Config.GroupID, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		_ = conn.Write(wire.KindReply, wire.Reply{Error: err.Error()})
		return 1
	}
	for _, p := range l.Members {
		fmt.Fprintln(f, p.InstanceID)
	}
	if err := errors.Join(f.Close(), conn.Write(wire.KindReply, wire.Reply{})); err != nil {
		return 1
	}
	return 0
}
