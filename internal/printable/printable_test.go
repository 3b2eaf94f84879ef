package printable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const hostile = "a\x1b[2J\r\nb\u202ec\u2028d\u009be\ufeff\U000e0041f"

func TestText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Text(hostile), "a [2J  b c d e  f"}, {Line(hostile), "a [2J b c d e f"}, {Line(" broken \xff bytes "), "broken bytes"},
		{Text("日本語 é 1,2"), "日本語 é 1,2"}, {Text("a  b"), "a  b"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestLines(t *testing.T) {
	forged := errors.New("bad\n=> Crashed: forged")
	join := errors.Join(errors.New("one"), errors.Join(forged, errors.New("three")))
	for _, test := range []struct {
		err  error
		want string
	}{
		{forged, "bad => Crashed: forged"},
		{join, "one|bad => Crashed: forged|three"},
		{fmt.Errorf("about it: %w", join), "about it: one bad => Crashed: forged three"},
		{fmt.Errorf("%w and %w", forged, forged), "bad => Crashed: forged and bad => Crashed: forged"},
	} {
		if got := strings.Join(Lines(test.err), "|"); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestFprintf(t *testing.T) {
	var b bytes.Buffer
	Fprintf(&b, "%s %d %v %v %s\n", hostile, 7, errors.Join(errors.New("x\ny"), errors.New("z")), time.Second, []string{"\x1b"})
	if got, want := b.String(), "a [2J  b c d e  f 7 x y\nz 1s [ ]\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJSON(t *testing.T) {
	raw, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	got := JSON(raw)
	if i := bytes.IndexFunc(got, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		t.Errorf("%q", got)
	}
	var back string
	if err := json.Unmarshal(got, &back); err != nil || back != hostile {
		t.Errorf("%q, %v", back, err)
	}
}
