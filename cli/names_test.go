package cli

import "testing"

// A mistyped command is one also where no consumer has been written yet.
func TestMistypedCommandWithoutConsumers(t *testing.T) {
	for name, want := range map[string]string{
		"instal":   `no consumer is called "instal" (did you mean "install"?); none is registered`,
		"TapDance": "no consumer is registered in this program: call racecar.Register from an init function of a package that main imports",
	} {
		if got := noneRegistered([]string{name}).Error(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
