// Package offsetmap reads and writes what a worker commits beside an offset: how often
// messages have failed, how many claims did not end gracefully, and which messages beyond
// the committed offset are finished.
//
// The text has two versions. Version 1 is written while nothing is known of offsets beyond
// the committed one, so that the common case stays short:
//
//	racecar:1;<offset>;<attempts>[;<starts>]
//	racecar:2;<offset>;<leader epoch or ->;<topic id or ->;<starts>;<offset:attempts,…>;<map>
//
// The topic id is its first 4 bytes as 8 hex digits. The map is base64 without padding: a
// byte that names its form, the form's bytes, and a CRC-32C of all that and of the text
// before it, so that damaged bytes never make a message look finished. Both forms begin at
// the committed offset, which is unfinished: a bitmap has one bit for each offset, lowest
// first; run lengths are unsigned varints, in turn of unfinished and finished offsets.
// Encode takes whichever is shorter.
//
// The package has no state, and its values are not safe for concurrent changes.
package offsetmap
