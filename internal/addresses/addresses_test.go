package addresses

import (
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{[]string{"kafka1"}, "kafka1:9092"},
		{[]string{"kafka1:1234", " kafka2 ", ""}, "kafka1:1234,kafka2:9092"},
		{[]string{":9093"}, "localhost:9093"},
		{[]string{"::1", "[::1]", "[::1]:9"}, "[::1]:9092,[::1]:9092,[::1]:9"},
		{nil, ""},
	} {
		if got := strings.Join(Complete(tt.in), ","); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}
