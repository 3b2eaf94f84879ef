package status

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeyText(t *testing.T) {
	long := strings.Repeat("k", 61)
	for _, c := range []struct{ key, want string }{
		{"order-17", "order-17"},
		{"", "(empty)"},
		{"with space", "with space"},
		{"größe", "größe"},
		{"a\nb", "0x610a62"},
		{"\x00\x01\xff", "0x0001ff"},
		{"\u202eevil", "0xe280ae6576696c"},
		{long + "abc", long + "abc"},
		{long + "abcd", long + "…"},
		{strings.Repeat("k", 60) + "ö and more", strings.Repeat("k", 60) + "…"},
		{strings.Repeat("ö", 1000), strings.Repeat("ö", 30) + "…"},
		{strings.Repeat("k", 127) + "ö", long + "…"},
		{strings.Repeat("\x01", 31), "0x" + strings.Repeat("01", 31)},
		{strings.Repeat("\x01", 1000), "0x" + strings.Repeat("01", 29) + "0…"},
	} {
		got := KeyText([]byte(c.key))
		if got != c.want || len(got) > 64 || !utf8.ValidString(got) {
			t.Errorf("%.80q: %q, want %q", c.key, got, c.want)
		}
	}
	if got := KeyText(nil); got != "(none)" {
		t.Errorf("no key: %q", got)
	}
}
