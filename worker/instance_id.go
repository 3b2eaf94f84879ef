package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// This file names the group members of a worker (group.instance.id).

// maxInstanceID is Kafka's limit on a group instance id (it is checked like a
// topic name).
const maxInstanceID = 249

// slotID names a worker's slot in a group, whatever it subscribes to:
// <client_id>-<nonce>-<consumer>-<i>[-<n>]. Characters that Kafka does not take
// become `_`, and a hash of the whole keeps apart what then looks the same or is
// too long. n is the membership's number; 0 is left out.
func slotID(clientID, nonce, consumer string, index, n int) string {
	raw := clientID + "-" + nonce + "-" + consumer + "-" + strconv.Itoa(index)
	if n > 0 {
		raw += "-" + strconv.Itoa(n)
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, raw)
	// Room for "-", the subscription's hash and, below, a hash of ours.
	const room = maxInstanceID - 1 - hashLen
	if id != raw || len(id) > room {
		id = id[:min(len(id), room-1-hashLen)] + "-" + hash(raw)
	}
	return id
}

// instanceID is a slot's id with the hash of the member's subscription: the topics it
// starts with and its assignors. Under the same id Kafka would keep the
// old assignment, and a topic that was added be consumed by nobody.
func instanceID(slot string, topics, assignors []string) string {
	topics = slices.Sorted(slices.Values(topics))
	return slot + "-" + hash(strings.Join(topics, ",")+";"+strings.Join(assignors, ","))
}

// ofSlot reports whether id is one of that slot, of whatever subscription.
func ofSlot(id, slot string) bool {
	rest, ok := strings.CutPrefix(id, slot+"-")
	if !ok || len(rest) != hashLen {
		return false
	}
	_, err := hex.DecodeString(rest)
	return err == nil
}

// hashLen is the length of hash's result.
const hashLen = 8

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:hashLen/2])
}
