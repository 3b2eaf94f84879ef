package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// The JoinGroup response of a group's leader contains the subscriptions of all members,
// and anybody with the right to read the group may join it. A subscription that cannot
// be decoded, an invalid topic name, or a hundred megabytes of names would end every
// rebalance while that member is in the group. So joinFilter rewrites the response while
// it is read, and leaves out what sarama cannot use.

const (
	// maxMembers is the maximum number of members. The broker stores them and their
	// assignments as one record, of at most 1 MiB unless configured otherwise.
	maxMembers = 10_000
	// maxSubscription bounds one member's subscription, maxTopics its topics.
	maxSubscription = 1 << 20
	maxTopics       = 10_000
	// maxJoin bounds the rewritten response.
	maxJoin = 16 << 20
	// maxName bounds the other strings.
	maxName = 32 << 10
)

// joinFilter rewrites one JoinGroup response:
//
//	size int32, correlation id int32, from version 6 on tagged fields,
//	throttle time int32 (from version 2 on), error int16, generation int32,
//	protocol type (from version 7 on), protocol, leader, member id: string,
//	members: a list of member id string, instance id string (from version 5 on),
//	subscription bytes
//
// From version 6 on, lengths are compact, and members and the response end with tagged
// fields.
type joinFilter struct {
	in       *bufio.Reader // ends with the answer
	out      []byte
	flexible bool
	err      error
	report   func(member, problem string)
}

// filterJoin reads a JoinGroup response and returns it rewritten.
func filterJoin(r io.Reader, version int16, report func(member, problem string)) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > uint32(sarama.MaxResponseSize) {
		return nil, &access.OversizedError{Key: joinGroupKey, Bytes: n, Limit: uint32(sarama.MaxResponseSize)}
	}
	f := &joinFilter{in: bufio.NewReader(io.LimitReader(r, int64(n))), flexible: version >= joinFlexible, report: report, out: make([]byte, 4, 1024)}
	f.answer(version)
	if f.err != nil {
		return nil, fmt.Errorf("the answer to a join: %w", f.err)
	}
	// sarama does not use fields that later versions have at the end.
	if _, err := io.Copy(io.Discard, f.in); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(f.out, uint32(len(f.out)-4))
	return f.out, nil
}

func (f *joinFilter) answer(version int16) {
	f.fixed(4)
	f.tags()
	if version >= 2 {
		f.fixed(4)
	}
	f.fixed(2 + 4)
	if version >= 7 {
		f.string()
	}
	f.string()
	f.string()
	f.string()
	n := f.length()
	if f.err == nil && n > maxMembers {
		f.err = fmt.Errorf("it lists %d members, more than %d", n, maxMembers)
	}
	f.putLength(n)
	for range max(n, 0) {
		if f.err != nil {
			return
		}
		member := f.string()
		if version >= 5 {
			f.string()
		}
		f.subscription(member)
		f.tags()
	}
	f.tags()
}

// subscription copies the usable part of a member's subscription.
func (f *joinFilter) subscription(member string) {
	n := f.length()
	problem := ""
	var clean []byte
	switch {
	case f.err != nil:
		return
	case n > maxSubscription || len(f.out)+max(n, 0) > maxJoin:
		problem = fmt.Sprintf("its subscription of %d bytes is too large", n)
		if _, err := f.in.Discard(n); err != nil {
			f.err = err
		}
		clean = emptySubscription()
	default:
		clean, problem = cleanSubscription(f.read(max(n, 0)))
	}
	if problem != "" && f.report != nil && f.err == nil {
		f.report(member, problem)
	}
	f.putLength(len(clean))
	f.out = append(f.out, clean...)
}

// emptySubscription has version 0, no topic and no user data.
func emptySubscription() []byte { return []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff} }

// cleanSubscription removes invalid topics from a subscription, and returns an empty one
// if sarama cannot decode it. problem describes what it removed; empty: nothing. A
// subscription begins with
//
//	version int16, topics: a list (int32) of strings (int16)
func cleanSubscription(b []byte) (clean []byte, problem string) {
	topics, err := subscribedTopics(b)
	if err != nil {
		return emptySubscription(), "its subscription cannot be decoded"
	}
	bad := slices.IndexFunc(topics, func(t string) bool { return !config.ValidTopic(t) })
	if bad < 0 && len(topics) <= maxTopics {
		return b, ""
	}
	clean = append(make([]byte, 0, len(b)), b[:6]...)
	kept, end := 0, 6
	for _, name := range topics {
		end += 2 + len(name)
		if kept < maxTopics && config.ValidTopic(name) {
			clean = append(binary.BigEndian.AppendUint16(clean, uint16(len(name))), name...)
			kept++
		}
	}
	binary.BigEndian.PutUint32(clean[2:], uint32(kept))
	problem = fmt.Sprintf("%d of the %d topics that it subscribes to are left out", len(topics)-kept, len(topics))
	if bad >= 0 {
		problem += fmt.Sprintf(": %.100q is no topic's name", topics[bad])
	}
	return append(clean, b[end:]...), problem
}

// subscribedTopics decodes a subscription as sarama will.
func subscribedTopics(b []byte) (topics []string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("damaged")
		}
	}()
	resp := sarama.JoinGroupResponse{Members: []sarama.GroupMember{{Metadata: b}}}
	members, err := resp.GetMembers()
	return members[""].Topics, err
}

// fixed copies n bytes.
func (f *joinFilter) fixed(n int) { f.out = append(f.out, f.read(n)...) }

// read reads n bytes; after an error it returns none.
func (f *joinFilter) read(n int) []byte {
	if f.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.in, b); err != nil {
		f.err = notEOF(err)
		return nil
	}
	return b
}

var errShort = errors.New("answer cut short: not a Kafka broker")

func notEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShort
	}
	return err
}

// length reads the length of a list or of bytes; -1: null.
func (f *joinFilter) length() int {
	if !f.flexible {
		if b := f.read(4); b != nil {
			return int(int32(binary.BigEndian.Uint32(b)))
		}
		return 0
	}
	return f.uvarint() - 1
}

func (f *joinFilter) putLength(n int) {
	if f.flexible {
		f.out = binary.AppendUvarint(f.out, uint64(n+1))
	} else {
		f.out = binary.BigEndian.AppendUint32(f.out, uint32(n))
	}
}

func (f *joinFilter) uvarint() int {
	if f.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(f.in)
	if err == nil && n > uint64(sarama.MaxResponseSize) {
		err = errShort
	}
	if err != nil {
		f.err = notEOF(err)
		return 0
	}
	return int(n)
}

// string copies a string that may be null, and returns it.
func (f *joinFilter) string() string {
	n := 0
	if f.flexible {
		n = f.uvarint() - 1
		f.out = binary.AppendUvarint(f.out, uint64(n+1))
	} else if b := f.read(2); b != nil {
		n = int(int16(binary.BigEndian.Uint16(b)))
		f.out = append(f.out, b...)
	}
	if n > maxName && f.err == nil {
		f.err = fmt.Errorf("it holds a name of %d bytes", n)
	}
	b := f.read(max(n, 0))
	f.out = append(f.out, b...)
	return string(b)
}

// tags reads tagged fields and leaves them out.
func (f *joinFilter) tags() {
	if !f.flexible {
		return
	}
	for range f.uvarint() {
		f.uvarint()
		n := f.uvarint()
		if f.err != nil {
			return
		}
		if _, err := f.in.Discard(n); err != nil {
			f.err = notEOF(err)
			return
		}
	}
	f.out = append(f.out, 0)
}
