package offsetmap

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
)

// The forms of a map.
const (
	bitmap     = 1
	runLengths = 2
)

// overhead is the bytes of a map besides its form's: the form's name and the checksum.
const overhead = 1 + crc32.Size

var encoding = base64.RawStdEncoding.Strict()

func checksum(text, form []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	return binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(text, table), table, form))
}

// MapBytes is how many bytes a map may have so that it takes at most so many characters of
// a text.
func MapBytes(characters int) int {
	return max(0, encoding.DecodedLen(max(0, characters))-overhead)
}

// BitmapBytes is how many bytes a bitmap takes whose highest offset lies so far beyond the
// committed one.
func BitmapBytes(distance int64) int64 { return distance/8 + 1 }

// RunBytes is how many bytes the length of a run takes.
func RunBytes(length int64) int64 { return int64(bits.Len64(uint64(length)|1)+6) / 7 }

// appendMap appends the map of finished, which lies beyond offset, to the text before it.
func appendMap(text []byte, offset int64, finished Set) []byte {
	if len(finished) == 0 {
		return text
	}
	size, at := int64(0), offset
	for _, r := range finished {
		size += RunBytes(r.First-at) + RunBytes(r.Next-r.First)
		at = r.Next
	}
	var form []byte
	if BitmapBytes(at-1-offset) <= size {
		form = appendBitmap([]byte{bitmap}, offset, finished)
	} else {
		form, at = append(form, runLengths), offset
		for _, r := range finished {
			form = binary.AppendUvarint(form, uint64(r.First-at))
			form = binary.AppendUvarint(form, uint64(r.Next-r.First))
			at = r.Next
		}
	}
	return encoding.AppendEncode(text, append(form, checksum(text, form)...))
}

func appendBitmap(form []byte, offset int64, finished Set) []byte {
	start := len(form)
	last := finished[len(finished)-1].Next - 1 - offset
	form = append(form, make([]byte, BitmapBytes(last))...)
	for _, r := range finished {
		for at := r.First - offset; at < r.Next-offset; at++ {
			form[start+int(at/8)] |= 1 << (at % 8)
		}
	}
	return form
}

// decodeMap reads a map; before is the text before it.
func decodeMap(before, text string, offset int64) (Set, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := encoding.DecodeString(text)
	if err != nil || len(raw) <= overhead {
		return nil, damaged("map of %d characters", len(text))
	}
	form, sum := raw[:len(raw)-crc32.Size], raw[len(raw)-crc32.Size:]
	if string(checksum([]byte(before), form)) != string(sum) {
		return nil, damaged("checksum")
	}
	switch form[0] {
	case bitmap:
		return decodeBitmap(form[1:], offset)
	case runLengths:
		return decodeRuns(form[1:], offset)
	}
	return nil, &Error{"map of an unknown form"}
}

func decodeBitmap(form []byte, offset int64) (Set, error) {
	if form[0]&1 != 0 || offset > math.MaxInt64-int64(len(form))*8 {
		return nil, damaged("bitmap")
	}
	var finished Set
	for i := range int64(len(form)) * 8 {
		if form[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if n := len(finished); n > 0 && finished[n-1].Next == offset+i {
			finished[n-1].Next++
		} else {
			finished = append(finished, Range{offset + i, offset + i + 1})
		}
	}
	return finished, nil
}

func decodeRuns(form []byte, offset int64) (Set, error) {
	var finished Set
	run := func() bool { // moves offset over the next run; false when it cannot be one
		length, n := binary.Uvarint(form)
		if n <= 0 || length == 0 || length > uint64(math.MaxInt64-offset) {
			return false
		}
		form, offset = form[n:], offset+int64(length)
		return true
	}
	for len(form) > 0 {
		unfinished := run()
		first := offset
		if !unfinished || !run() {
			return nil, damaged("run lengths")
		}
		finished = append(finished, Range{first, offset})
	}
	return finished, nil
}
