// Package nearest finds what someone may have meant by a mistyped name.
package nearest

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Names returns up to three of candidates that resemble name, the most alike
// first: those within a third of its length in edits, and those that contain it.
// Case does not count.
func Names(name string, candidates []string) []string {
	type match struct {
		name string
		cost int
	}
	var matches []match
	typed := strings.ToLower(name)
	for _, c := range candidates {
		lower := strings.ToLower(c)
		limit := max(2, len(typed)/3)
		contained := len(typed) >= 3 && strings.Contains(lower, typed)
		if !contained && abs(utf8.RuneCountInString(typed)-utf8.RuneCountInString(lower)) > limit {
			continue // that many edits at least: no need to count, whatever was typed
		}
		cost := distance(typed, lower)
		if contained {
			cost = min(cost, 1)
		}
		if cost <= limit {
			matches = append(matches, match{c, cost})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		if a.cost != b.cost {
			return a.cost - b.cost
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, m := range matches[:min(3, len(matches))] {
		names = append(names, m.name)
	}
	return names
}

func abs(n int) int { return max(n, -n) }

// Hint returns ` (did you mean "x"?)`, or "" when nothing comes near.
func Hint(name string, candidates []string) string {
	names := Names(name, candidates)
	if len(names) == 0 {
		return ""
	}
	return ` (did you mean "` + strings.Join(names, `" or "`) + `"?)`
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
