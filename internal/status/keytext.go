package status

import (
	"encoding/hex"
	"unicode"
	"unicode/utf8"
)

// maxKeyText is the most bytes of a KeyText.
const maxKeyText = 64

// KeyText writes a message's key in at most 64 bytes: as it is if it is printable text,
// else as 0x and hex digits. A longer one is cut and ends in "…". A key that is missing or
// empty is "(none)" or "(empty)".
func KeyText(key []byte) string {
	switch {
	case key == nil:
		return "(none)"
	case len(key) == 0:
		return "(empty)"
	}
	text := string(key)
	if len(key) > 2*maxKeyText { // what is beyond is cut in any case
		text = string(key[:2*maxKeyText])
		for i := 0; i < utf8.UTFMax && !utf8.ValidString(text); i++ { // a character cut in half
			text = text[:len(text)-1]
		}
	}
	if !printable(text) {
		text = "0x" + hex.EncodeToString(key[:min(len(key), maxKeyText)])
	}
	if len(text) <= maxKeyText {
		return text
	}
	const more = "…"
	cut := maxKeyText - len(more)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}

func printable(text string) bool {
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
