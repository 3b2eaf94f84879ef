// Package harness runs real supervisors and workers as processes in tests, and
// ensures that nothing of them is left.
//
// A test binary runs itself again in a role, so that no second program has to be
// built, and what is tested carries the race detector too:
//
//	func TestMain(m *testing.M) {
//		os.Exit(harness.Main(m, map[string]func(){"app": cli.Main}))
//	}
//
//	func TestStop(t *testing.T) {
//		p := harness.Start(t, harness.Command{Role: "app", Args: []string{"MyConsumer"}})
//		p.WaitLine(`=> Ctrl-C to shutdown`)
//		p.Signal(syscall.SIGTERM)
//		if code := p.Wait(); code != 0 { … }
//	}
//
// Whatever the role starts in turn runs TestMain as well and plays the same role,
// since the environment is inherited: that is how a supervisor's workers come to be.
//
// Every process that descends from a Command, daemons that left its tree included,
// is found by a variable in its environment. When the test ends they are told to
// stop, killed if they do not, and the test fails for each that had to be killed,
// for each socket, pidfile or temporary file that is left behind, and for a data
// race that the race detector reported in one of them. If the test has failed, the
// output of each command is printed.
//
// Processes that run consumers write what they saw to a Journal, which survives
// their being killed; the test reads all of them with ReadJournals.
//
// Linux only: it reads /proc. Elsewhere Start skips the test.
package harness
