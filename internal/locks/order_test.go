package locks

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/internals.md lists the locks in their order.
func TestOrderIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/internals.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(b), "| lock | guards |\n|---|---|\n")
	if !found {
		t.Fatal("docs/internals.md has no table of locks")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` ").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	order := []Lock{TransactionOwner{}, WorkerState{}, Membership{}, Transactions{}, Partition{}, Acks{}, Scheduler{}, Producer{}}
	var names []string
	for i, lock := range order {
		if lock.rank() != i+1 {
			t.Errorf("%v has rank %d, want %d", lock, lock.rank(), i+1)
		}
		names = append(names, fmt.Sprint(lock))
	}
	if !slices.Equal(listed, names) {
		t.Errorf("docs/internals.md lists %q, want %q", listed, names)
	}
}
