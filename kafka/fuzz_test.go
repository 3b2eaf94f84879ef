package kafka

import (
	"bytes"
	"testing"
)

// FuzzJoinAnswer: sarama can decode every filtered answer, or filtering fails. A filtered answer
// is bounded, and filtering it again does not change it.
func FuzzJoinAnswer(f *testing.F) {
	for version := int16(1); version <= 8; version++ {
		f.Add(joinAnswer(version, map[string][]byte{"a": subscriptionTo("x/y", "b"), "b": {0, 1}}), version)
	}
	f.Fuzz(func(t *testing.T, frame []byte, version int16) {
		version = version&7 + 1
		clean, err := filterJoin(bytes.NewReader(frame), version, func(_, problem string) {
			if problem == "" || len(problem) > 1000 {
				t.Errorf("told %q", problem)
			}
		})
		if err != nil {
			return
		}
		if len(clean) > len(frame)+12*len(frame) || len(clean) > maxJoin+maxSubscription {
			t.Errorf("%d bytes of %d", len(clean), len(frame))
		}
		again, err := filterJoin(bytes.NewReader(clean), version, func(member, problem string) { t.Errorf("member %q a second time: %s", member, problem) })
		if err != nil || !bytes.Equal(again, clean) {
			t.Errorf("the second time: %v\n%q\n%q", err, again, clean)
		}
	})
}
