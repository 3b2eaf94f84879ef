package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/kafka/access"
)

// joinAnswer is a frame with an answer to JoinGroup.
func joinAnswer(version int16, members map[string][]byte) []byte {
	resp := &kmsg.JoinGroupResponse{Version: version, Generation: 7, Protocol: kmsg.StringPtr("range"), LeaderID: "me", MemberID: "me"}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{MemberID: id, ProtocolMetadata: members[id]})
	}
	frame := []byte{0, 0, 0, 0, 0, 0, 0, 42}
	if version >= joinFlexible {
		frame = append(frame, 0)
	}
	frame = resp.AppendTo(frame)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

func subscriptionTo(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics, m.UserData = 1, topics, []byte("data")
	m.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "a", Partitions: []int32{1, 2}}}
	return m.AppendTo(nil)
}

// Valid subscriptions pass unchanged, in every version; invalid ones are removed and reported.
func TestJoinFilter(t *testing.T) {
	subscriptions := map[string][]byte{
		"fine":       subscriptionTo("a", "b.c_d-e"),
		"no topics":  subscriptionTo(),
		"slash":      subscriptionTo("a", "x/y", "b"),
		"dots":       subscriptionTo("..", "."),
		"long":       subscriptionTo(strings.Repeat("x", 250)),
		"broken":     {0, 1, 0, 0, 0, 9},
		"none":       nil,
		"negative":   {0, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0},
		"large":      subscriptionTo(strings.Repeat("x", 100), strings.Repeat("y", maxSubscription)[:30000], string(make([]byte, 32000))),
		"very large": bytes.Repeat([]byte{0}, maxSubscription+1),
	}
	usable := map[string][]byte{
		"fine":       subscriptions["fine"],
		"no topics":  subscriptions["no topics"],
		"slash":      subscriptionTo("a", "b"),
		"dots":       subscriptionTo(),
		"long":       subscriptionTo(),
		"broken":     emptySubscription(),
		"none":       emptySubscription(),
		"negative":   emptySubscription(),
		"large":      subscriptionTo(strings.Repeat("x", 100)),
		"very large": emptySubscription(),
	}
	told := []string{"broken", "dots", "large", "long", "negative", "none", "slash", "very large"}
	for version := int16(1); version <= 8; version++ {
		var reported []string
		got, err := filterJoin(bytes.NewReader(joinAnswer(version, subscriptions)), version, func(member, _ string) { reported = append(reported, member) })
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if want := joinAnswer(version, usable); !bytes.Equal(got, want) {
			t.Errorf("version %d: got\n%q\nwant\n%q", version, got, want)
		}
		if !slices.Equal(reported, told) {
			t.Errorf("version %d: told of %q, want %q", version, reported, told)
		}
	}
}

// However many members there are, what is left of the answer is bounded.
func TestJoinFilterIsBounded(t *testing.T) {
	large := subscriptionTo(slices.Repeat([]string{strings.Repeat("x", 90)}, 9000)...)
	members := map[string][]byte{}
	for i := range 40 {
		members[strings.Repeat("m", i+1)] = large
	}
	got, err := filterJoin(bytes.NewReader(joinAnswer(8, members)), 8, nil)
	if err != nil || len(got) > maxJoin+maxSubscription {
		t.Errorf("%d bytes are left, %v", len(got), err)
	}
	for i := range maxMembers + 1 {
		members[string(rune(i))+"n"] = nil
	}
	if _, err := filterJoin(bytes.NewReader(joinAnswer(8, members)), 8, nil); err == nil {
		t.Error("more members than a group may have are taken")
	}
	whole := joinAnswer(8, map[string][]byte{"a": large})
	for _, n := range []int{0, 4, 20, 100, len(whole) - 1} {
		if _, err := filterJoin(bytes.NewReader(whole[:n]), 8, nil); err == nil {
			t.Errorf("an answer that ends after %d bytes is taken", n)
		}
	}
	var oversized *access.OversizedError
	if _, err := filterJoin(bytes.NewReader([]byte{0x7f, 0, 0, 0, 0}), 8, nil); !errors.As(err, &oversized) {
		t.Errorf("an answer of two gigabytes: %v", err)
	}
}
