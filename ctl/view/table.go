package view

import (
	"slices"
	"strings"
)

// Column of a Table.
type Column struct {
	Title string
	// Right aligns figures.
	Right bool
	// Flexible columns shrink (and lose the end of what is too long) when a table
	// is wider than asked; Middle ones lose the middle.
	Flexible, Middle bool
	// Optional columns are left out, the last one first, before others shrink.
	Optional bool
	// Spare columns are left out, the last one first, before flexible ones become too
	// short to be read.
	Spare bool
}

const (
	// readable is what a flexible column keeps as long as there are spare ones.
	readable = 12
	// narrowest is what a flexible column keeps.
	narrowest = 6
)

// Table lays rows out under titles, two spaces apart where there is room. All
// lines have at most width cells.
func Table(columns []Column, rows [][]string, width int) []string {
	rows = printableCells(rows)
	columns, rows, widths := measure(columns, rows, width)
	gap := 2
	if total(widths, gap) > width {
		gap = 1
	}
	shrink(columns, widths, total(widths, gap)-width)

	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.Title
	}
	lines := make([]string, 0, len(rows)+1)
	for _, row := range append([][]string{titles}, rows...) {
		var b strings.Builder
		for i, c := range columns {
			if i > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			cell := Cut(row[i], widths[i])
			if c.Middle {
				cell = CutMiddle(row[i], widths[i])
			}
			b.WriteString(pad(cell, widths[i], c.Right))
		}
		lines = append(lines, Cut(strings.TrimRight(b.String(), " "), width))
	}
	return lines
}

// printableCells makes every cell one line of nothing but text: names and errors come
// from outside.
func printableCells(rows [][]string) [][]string {
	clean := make([][]string, len(rows))
	for i, row := range rows {
		clean[i] = make([]string, len(row))
		for j, cell := range row {
			clean[i][j] = Line(cell)
		}
	}
	return clean
}

// measure says how wide each column wants to be, and leaves out optional ones
// that there is no room for.
func measure(columns []Column, rows [][]string, width int) ([]Column, [][]string, []int) {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = Width(c.Title)
		for _, row := range rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	leaveOut := func(i int) {
		columns, widths = without(columns, i), without(widths, i)
		left := make([][]string, len(rows))
		for j, row := range rows {
			left[j] = without(row, i)
		}
		rows = left
	}
	for i := len(columns) - 1; i >= 0 && total(widths, 1) > width; i-- {
		if columns[i].Optional {
			leaveOut(i)
		}
	}
	for i := len(columns) - 1; i >= 0 && total(shrunken(columns, widths), 1) > width; i-- {
		if columns[i].Spare {
			leaveOut(i)
		}
	}
	return columns, rows, widths
}

// shrunken are the widths when flexible columns are as short as can be read.
func shrunken(columns []Column, widths []int) []int {
	least := slices.Clone(widths)
	for i, c := range columns {
		if c.Flexible || c.Middle {
			least[i] = min(least[i], readable)
		}
	}
	return least
}

// without leaves s as it is and returns a copy without element i.
func without[T any](s []T, i int) []T { return append(slices.Clone(s[:i]), s[i+1:]...) }

func total(widths []int, gap int) int {
	sum := gap * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// shrink takes over cells from the flexible columns, always from the widest.
func shrink(columns []Column, widths []int, over int) {
	for ; over > 0; over-- {
		widest := -1
		for i, c := range columns {
			if (c.Flexible || c.Middle) && widths[i] > narrowest && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return // Table cuts the lines
		}
		widths[widest]--
	}
}
