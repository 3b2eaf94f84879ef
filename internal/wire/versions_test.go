package wire

import "testing"

func TestAgreeOnTheHighestCommonVersion(t *testing.T) {
	for _, c := range []struct {
		supervisor, program Versions
		want                int
	}{
		{Versions{1, 1}, Versions{1, 1}, 1},
		{Versions{1, 3}, Versions{2, 4}, 3},
		{Versions{2, 4}, Versions{1, 3}, 3},
		{Versions{1, 2}, Versions{3, 4}, 0},
		{Versions{3, 4}, Versions{1, 2}, 0},
		{Versions{1, 1}, Versions{}, 0},
	} {
		got, err := Agree(c.supervisor, c.program)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%v and %v agree on %d, %v", c.supervisor, c.program, got, err)
		}
	}
	_, err := Agree(Versions{1, 2}, Versions{3, 3})
	const want = "the running supervisor speaks versions 1 to 2 of the protocol between supervisor and workers, the program for the workers version 3: " +
		"stop Racecar and start it again with that program, a restart in place keeps the supervisor"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
