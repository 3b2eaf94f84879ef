package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// result is what became of one stage.
type result struct {
	Stage                   string
	Passed, Failed, Skipped int
	// Others counts tests that passed without saying what --must-say asks for.
	// They are in no total, as another stage counts them.
	Others int `json:",omitempty"`
	// Reasons says why tests were skipped, and how many for each.
	Reasons map[string]int `json:",omitempty"`
}

// String is "unit: 12 passed, 0 failed, 1 skipped".
func (r result) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d passed, %d failed, %d skipped", r.Stage, r.Passed, r.Failed, r.Skipped)
	if r.Others > 0 {
		fmt.Fprintf(&s, " (besides %d that do not use it)", r.Others)
	}
	return s.String()
}

// appendResult adds one line to the record.
func appendResult(path string, r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// readResults reads the record. One that is not there is empty.
func readResults(path string) ([]result, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []result
	for line := range strings.Lines(string(text)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// printTotal prints every stage and, alone on the last line, the sum. It returns
// whether nothing failed and something passed.
func printTotal(out io.Writer, results []result) bool {
	var sum result
	for _, r := range results {
		fmt.Fprintln(out, r)
		sum.Passed += r.Passed
		sum.Failed += r.Failed
		sum.Skipped += r.Skipped
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", sum.Passed, sum.Failed, sum.Skipped)
	return sum.Failed == 0 && sum.Passed > 0
}
