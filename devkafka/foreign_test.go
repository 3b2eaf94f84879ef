package devkafka_test

import (
	"os"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/devkafka"
)

// Broker data that another user has left are not served.
func TestForeignData(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; .ci/run is root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := devkafka.Start(devkafka.Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), dir+" belongs to user 65534, neither to you (0) nor to root") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v in another user's folder, %v", left, err)
	}
}
