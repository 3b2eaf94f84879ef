package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// saved is a file of results.
type saved struct {
	Circumstances []string   `json:"circumstances"`
	Rows          []savedRow `json:"rows"`
}

type savedRow struct {
	Row     string              `json:"row"`
	What    string              `json:"what"`
	Commit  string              `json:"commit,omitempty"` // none in old files
	Samples map[string][]sample `json:"samples"`
}

// resultsPath is the path of a file of results, without its extension.
func resultsPath(name string) string { return filepath.Join("bench", "results", name) }

// load reads the results of an earlier run; none if there is no file.
func load(name string) (*saved, error) {
	s := &saved{}
	data, err := os.ReadFile(resultsPath(name) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s.json: %w", resultsPath(name), err)
	}
	return s, nil
}

// results are those of the rows that still exist.
func (s *saved) results(rows []*row) (all []*result) {
	for _, saved := range s.Rows {
		if i := slices.IndexFunc(rows, func(r *row) bool { return r.name == saved.Row }); i >= 0 {
			all = append(all, &result{row: rows[i], commit: saved.Commit, samples: saved.Samples})
		}
	}
	return all
}

// missing returns the rows without results.
func missing(rows []*row, results []*result) []*row {
	return slices.DeleteFunc(slices.Clone(rows), func(r *row) bool {
		return slices.ContainsFunc(results, func(res *result) bool { return res.row.name == r.name })
	})
}

// save writes the table, the figures and the chart.
func (b *bench) save(name string, results []*result) error {
	path := resultsPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	all := saved{Circumstances: b.circumstances()}
	for _, r := range results {
		all.Rows = append(all.Rows, savedRow{r.row.name, r.row.what, r.commit, r.samples})
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	report := "# Measured\n\n![](" + filepath.Base(path) + ".svg)\n\n" + b.report(results)
	for suffix, content := range map[string][]byte{".json": append(data, '\n'), ".md": []byte(report), ".svg": []byte(chart(results))} {
		if err := os.WriteFile(path+suffix, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
