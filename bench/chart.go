package main

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Sizes in the chart, in pixels.
const (
	chartWidth = 900
	nameWidth  = 150
	barHeight  = 18
	barGap     = 4
	rowGap     = 34
)

// chart draws each row's main metric as bars, with the spread as a line.
func chart(results []*result) string {
	var s strings.Builder
	y := 10
	for _, r := range results {
		y += rowGap
		fmt.Fprintf(&s, `<text x="10" y="%d" class="row">%s</text>`+"\n", y-8, escape(r.row.name+": "+r.row.main.label()+" ("+r.row.what+")"))
		most := 0.
		for _, e := range r.row.who {
			if all, ok := r.values(e.name(), r.row.main.key); ok {
				most = max(most, slices.Max(all))
			}
		}
		for _, e := range r.row.who {
			all, ok := r.values(e.name(), r.row.main.key)
			if !ok || most == 0 {
				continue
			}
			x := func(v float64) float64 { return nameWidth + v/most*(chartWidth-nameWidth-130) }
			class := "other"
			if e.contestant == "racecar" {
				class = "ours"
			}
			middle := y + barHeight/2
			fmt.Fprintf(&s, `<text x="%d" y="%d" class="name">%s</text>`, nameWidth-8, middle+4, escape(e.name()))
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="%d" class="%s"/>`, nameWidth, y, x(median(all))-nameWidth, barHeight, class)
			fmt.Fprintf(&s, `<path d="M%.1f %dH%.1f" class="spread"/>`, x(slices.Min(all)), middle, x(slices.Max(all)))
			fmt.Fprintf(&s, `<text x="%.1f" y="%d">%s</text>`+"\n", x(slices.Max(all))+6, middle+4, r.row.main.number(median(all)))
			y += barHeight + barGap
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<style>.row{font-weight:bold}.name{text-anchor:end}.ours{fill:#2a6f97}.other{fill:#adb5bd}.spread{stroke:#000;stroke-width:1.5;fill:none}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, chartWidth, y+10, s.String())
}

func escape(text string) string {
	var s strings.Builder
	_ = xml.EscapeText(&s, []byte(text)) // a Builder does not fail
	return s.String()
}
