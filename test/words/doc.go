// Package words holds the glossary of docs/internals.md: words.txt lists retired words, where each is
// refused and what to write instead. pending.txt lists folders and files whose words have not been
// changed yet. `go test ./test/words -all` prints the findings in those, too.
package words
