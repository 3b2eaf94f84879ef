package judge

import (
	"fmt"
	"slices"
)

// Copies weighs what a consumer copied to another topic: produced and content are
// those of the input (see Evidence), copies the input's places in the order in which they stand in each
// partition of the output. Exactly is true where each must be there just once and
// in order (transactional); else at least once.
func Copies(produced map[Partition][]int64, content map[Partition][]uint64, copies [][]Copy, exactly bool) (findings []string) {
	times := map[Partition]map[int64]int{}
	for _, partition := range copies {
		last := map[Partition]int64{}
		for _, c := range partition {
			if times[c.From] == nil {
				times[c.From] = map[int64]int{}
			}
			times[c.From][c.Offset]++
			if before, ok := last[c.From]; ok && exactly && c.Offset < before {
				findings = append(findings, fmt.Sprintf("copy of %s offset %d stands behind that of %d", c.From, c.Offset, before))
			}
			last[c.From] = c.Offset
			if i, ok := slices.BinarySearch(produced[c.From], c.Offset); ok && content[c.From] != nil && c.Content != content[c.From][i] {
				findings = append(findings, fmt.Sprintf("the copy of %s offset %d has another content", c.From, c.Offset))
			}
		}
	}
	for p, offsets := range produced {
		for _, o := range offsets {
			switch n := times[p][o]; {
			case n == 0:
				findings = append(findings, fmt.Sprintf("no copy of %s offset %d", p, o))
			case n > 1 && exactly:
				findings = append(findings, fmt.Sprintf("%d copies of %s offset %d", n, p, o))
			}
		}
	}
	slices.Sort(findings)
	return findings
}

// Copy is a message's copy: where it came from, and the Digest of what it holds.
type Copy struct {
	From    Partition
	Offset  int64
	Content uint64
}
