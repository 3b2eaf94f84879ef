package view

import (
	"os"

	"golang.org/x/term"
)

// CanRedraw reports whether stream is a terminal on which a line can be drawn again.
// TERM=dumb, or none, is the terminal of editors and build logs, which shows control
// sequences as they are.
func CanRedraw(stream any) bool {
	f, isFile := stream.(*os.File)
	kind := os.Getenv("TERM")
	return isFile && term.IsTerminal(int(f.Fd())) && kind != "" && kind != "dumb"
}
