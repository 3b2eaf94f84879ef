package offsetmap

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	prefix  = "racecar:"
	version = prefix + "2;"
	// plain is the version without a map.
	plain = prefix + "1;"
)

// MaxFailing is how many failing messages Metadata says the attempts of.
const MaxFailing = 32

// TopicID is the first bytes of a topic's id; zero: unknown.
type TopicID [4]byte

// Failing is a message that has failed.
type Failing struct {
	Offset   int64
	Attempts int // failed calls in a row
}

// Metadata is what is committed beside an offset.
type Metadata struct {
	Offset      int64     // the committed offset: the lowest unfinished one
	LeaderEpoch int32     // committed with it; negative: unknown
	TopicID     TopicID   // of the topic that the offset is in
	Starts      int       // claims in a row that did not end gracefully
	Failing     []Failing // in ascending order of their offsets, from Offset on
	Finished    Set       // beyond Offset
}

// Error says why metadata of ours cannot be used. Its text is one line.
type Error struct{ Reason string }

func (e *Error) Error() string { return "commit metadata: " + e.Reason }

func damaged(format string, args ...any) error {
	return &Error{"damaged: " + fmt.Sprintf(format, args...)}
}

// Attempts is how often the message at offset has failed.
func (m *Metadata) Attempts(offset int64) int {
	for _, f := range m.Failing {
		if f.Offset == offset {
			return f.Attempts
		}
	}
	return 0
}

// Applies reports whether m was written for this commit: for its offset, and for its
// leader epoch (negative: unknown) and topic id wherever both are known.
func (m *Metadata) Applies(offset int64, leaderEpoch int32, id TopicID) bool {
	return m.Offset == offset &&
		(m.LeaderEpoch < 0 || leaderEpoch < 0 || m.LeaderEpoch == leaderEpoch) &&
		(m.TopicID == TopicID{} || id == TopicID{} || m.TopicID == id)
}

// Encode returns m as text of at most limit bytes. Where m does not fit, it leaves out
// first the attempts of the messages farthest ahead, then the finished offsets farthest
// ahead: those messages are processed again. The text is empty where there is nothing to
// say, or no room for it.
func (m *Metadata) Encode(limit int) string {
	finished := m.Finished.Between(m.Offset+1, math.MaxInt64)
	failing := m.Failing[:min(len(m.Failing), MaxFailing)]
	for {
		text := m.encode(failing, finished)
		switch {
		case len(text) <= limit:
			return text
		case len(failing) > 0:
			failing = failing[:len(failing)-1]
		case len(finished) > 0:
			finished = finished[:len(finished)/2]
		default:
			return ""
		}
	}
}

func (m *Metadata) encode(failing []Failing, finished Set) string {
	beyond := len(finished) > 0
	for _, f := range failing {
		beyond = beyond || f.Offset != m.Offset
	}
	b := make([]byte, 0, 64)
	if !beyond {
		if len(failing) == 0 && m.Starts == 0 {
			return ""
		}
		b = strconv.AppendInt(append(b, plain...), m.Offset, 10)
		attempts := 0
		if len(failing) > 0 {
			attempts = failing[0].Attempts
		}
		b = strconv.AppendInt(append(b, ';'), int64(attempts), 10)
		if m.Starts > 0 {
			b = strconv.AppendInt(append(b, ';'), int64(m.Starts), 10)
		}
		return string(b)
	}
	b = strconv.AppendInt(append(b, version...), m.Offset, 10)
	if b = append(b, ';'); m.LeaderEpoch < 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, int64(m.LeaderEpoch), 10)
	}
	if b = append(b, ';'); m.TopicID == (TopicID{}) {
		b = append(b, '-')
	} else {
		b = hex.AppendEncode(b, m.TopicID[:])
	}
	b = strconv.AppendInt(append(b, ';'), int64(m.Starts), 10)
	b = append(b, ';')
	for i, f := range failing {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, f.Offset, 10)
		b = strconv.AppendInt(append(b, ':'), int64(f.Attempts), 10)
	}
	b = append(b, ';')
	return string(appendMap(b, m.Offset, finished))
}

// Decode reads text. That of others, and none, is the zero Metadata with offset -1. What
// is damaged, or of an unknown version, is that with an *Error: nothing is known then.
func Decode(text string) (Metadata, error) {
	none := Metadata{Offset: -1, LeaderEpoch: -1}
	m, err := none, error(nil)
	switch {
	case strings.HasPrefix(text, version):
		err = m.decode(text)
	case strings.HasPrefix(text, plain):
		err = m.decodePlain(text[len(plain):])
	case strings.HasPrefix(text, prefix):
		number, _, _ := strings.Cut(text[len(prefix):], ";")
		err = &Error{fmt.Sprintf("of the unknown version %.20q", number)}
	}
	if err != nil {
		return none, err
	}
	return m, nil
}

func (m *Metadata) decodePlain(rest string) (err error) {
	fields := strings.Split(rest, ";")
	if len(fields) < 2 || len(fields) > 3 {
		return damaged("%d fields", len(fields))
	}
	if m.Offset, err = number[int64](fields[0]); err != nil {
		return err
	}
	attempts, err := number[int](fields[1])
	if err == nil && len(fields) > 2 {
		m.Starts, err = number[int](fields[2])
	}
	if attempts > 0 {
		m.Failing = []Failing{{m.Offset, attempts}}
	}
	return err
}

func (m *Metadata) decode(text string) (err error) {
	fields := strings.Split(text[len(version):], ";")
	if len(fields) != 6 {
		return damaged("%d fields", len(fields))
	}
	if m.Offset, err = number[int64](fields[0]); err != nil {
		return err
	}
	if fields[1] != "-" {
		if m.LeaderEpoch, err = number[int32](fields[1]); err != nil {
			return err
		}
	}
	if fields[2] != "-" {
		id, err := hex.DecodeString(fields[2])
		if err != nil || len(id) != len(m.TopicID) {
			return damaged("topic id %.20q", fields[2])
		}
		copy(m.TopicID[:], id)
	}
	if m.Starts, err = number[int](fields[3]); err != nil {
		return err
	}
	if m.Failing, err = decodeFailing(fields[4], m.Offset); err != nil {
		return err
	}
	m.Finished, err = decodeMap(text[:len(text)-len(fields[5])], fields[5], m.Offset)
	return err
}

// decodeFailing reads the attempts of messages from offset on.
func decodeFailing(text string, offset int64) ([]Failing, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > MaxFailing {
		return nil, damaged("%d failing messages", len(parts))
	}
	var all []Failing
	for _, part := range parts {
		left, right, _ := strings.Cut(part, ":")
		at, err := number[int64](left)
		attempts, err2 := number[int](right)
		if err := cmp.Or(err, err2); err != nil {
			return nil, err
		}
		if at < offset || len(all) > 0 && at <= all[len(all)-1].Offset {
			return nil, damaged("failing message %d", at)
		}
		all = append(all, Failing{at, attempts})
	}
	return all, nil
}

// number reads a number that is not negative.
func number[T int | int32 | int64](text string) (T, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || int64(T(n)) != n {
		return 0, damaged("number %.20q", text)
	}
	return T(n), nil
}
