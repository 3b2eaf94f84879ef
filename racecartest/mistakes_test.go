package racecartest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// A test fails if the program under test has registered a consumer that cannot be run. The
// registry belongs to the process, so this needs a separate one.
func TestMistakesOfRegisterFailTheTest(t *testing.T) {
	const inside = "RACECARTEST_MISTAKE"
	if os.Getenv(inside) != "" {
		racecar.Register(func(racecar.Runtime) (racecar.ProcessFunc, error) { return nil, nil }, racecar.Spec{Name: "X"})
		Run(t, func(racecar.Runtime) (racecar.ProcessFunc, error) {
			return func(context.Context, *racecar.Message) error { return nil }, nil
		}, nil)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMistakesOfRegisterFailTheTest$", "-test.count=1")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mistakes_test.go:21: Register of X: Spec.Subscriptions is empty") {
		t.Errorf("%v\n%s", err, out)
	}
}

// failures is a test whose errors are expected.
type failures struct {
	testing.TB
	mu   sync.Mutex
	text string
}

func (f *failures) Errorf(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text += fmt.Sprintf(format, a...)
}

// A panic of a subscriber fails the test. It is not taken for a failure of the consumer, whose
// message would be retried.
func TestPanicOfASubscriberFailsTheTest(t *testing.T) {
	b := NewBroker(t)
	b.Topic("in", 1)
	b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("x")})
	f := &failures{TB: t}
	w := RunWorker(f, b, func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(context.Context, *racecar.Message) error { return nil }, nil
	}, WithSpec(racecar.Spec{Name: "C", GroupID: "c", Subscriptions: []racecar.Subscription{{Topic: "in"}}}), func(o *options) {
		o.subscribers = []func(racecar.Event){func(e racecar.Event) {
			if _, ok := e.(event.ProcessMessage); ok {
				panic("broken subscriber")
			}
		}}
	})
	b.WaitConsumed("c", "in")
	w.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := strings.Count(f.text, "a subscriber to events panicked at process_message: broken subscriber"); n != 1 {
		t.Errorf("%d failures: %s", n, f.text)
	}
}
