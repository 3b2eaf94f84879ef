package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A broker that takes less metadata than Kafka's default gets a smaller map, or none, and
// the offsets all the same.
func TestWindowShrinksToWhatTheBrokerTakes(t *testing.T) {
	for _, limit := range []int{0, 400} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			const n = 6000
			produceWithKeys(t, b, topic, 0, n, "")
			b.Embedded().ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				b.Embedded().KeepControl()
				req := kreq.(*kmsg.OffsetCommitRequest)
				if m := req.Topics[0].Partitions[0].Metadata; m != nil && len(*m) > limit {
					return refuseCommit(req, kerr.OffsetMetadataTooLarge.Code), nil, true
				}
				return nil, nil, false
			})
			l := newLaneLog(t)
			released := make(chan struct{})
			l.handle = func(_ context.Context, _ *processor, m *racecar.Message) error {
				select {
				case <-released:
					return nil
				default:
				}
				if m.Offset%3 == 0 {
					return errors.New("down")
				}
				return nil
			}
			cfg := laneConfig(b, group, 8)
			cfg.PauseTimeout = config.PauseForever
			s := start(t, l.register(subscribed(topic)), cfg)
			l.await("a failure", func() bool { return l.failures > 0 })
			waitFor(t, "the window to be full", func() bool {
				full := s.status().Partitions[0].WindowFull
				return full != nil && full.Offset == 0 && full.Attempts == 1
			})
			waitFor(t, "the offset to be committed", func() bool { return b.Committed(group, topic, 0) == 0 })
			if limit > 0 {
				waitFor(t, "a map", func() bool { _, finished := committedBeyond(t, b, group, topic); return finished.Count() > 50 })
			}
			close(released)
			s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}})
			l.await("all messages", func() bool { return l.done == n })
			waitFor(t, "the last offset", func() bool { return b.Committed(group, topic, 0) == n })
			s.stop()
			l.want(topicPartition{topic, 0}, n)
		})
	}
}

// recordedCommits is an offsets that records requests.
type recordedCommits struct {
	offsets
	requests []map[kafka.TopicPartition]kafka.Commit
}

func (r *recordedCommits) Commit(_ context.Context, _ kafka.Member, commits map[kafka.TopicPartition]kafka.Commit) (map[kafka.TopicPartition]error, error) {
	request := map[kafka.TopicPartition]kafka.Commit{}
	for k, commit := range commits {
		request[k] = commit
	}
	r.requests = append(r.requests, request)
	return nil, nil
}

// Many full maps go in several requests: Kafka refuses one that holds them all.
func TestCommitRequestsAreBounded(t *testing.T) {
	_, m := loneWorker(t)
	recorded := &recordedCommits{}
	m.commits.offsets = recorded
	todo, parts := map[kafka.TopicPartition]kafka.Commit{}, map[kafka.TopicPartition]*partition{}
	for i := range int32(600) {
		k := topicPartition{"t", i}
		todo[kafka.TopicPartition{Topic: k.topic, Partition: i}] = kafka.Commit{Offset: 1, Metadata: strings.Repeat("x", maxMetadata)}
		parts[kafka.TopicPartition{Topic: k.topic, Partition: i}] = m.claim(k)
	}
	if !m.commits.commitAll(kafka.NoMember, todo, parts) {
		t.Error("the commits failed")
	}
	all := 0
	for _, request := range recorded.requests {
		bytes := 0
		for _, commit := range request {
			bytes += len(commit.Metadata)
		}
		if all += len(request); bytes > maxCommitBytes {
			t.Errorf("a request has %d bytes of metadata", bytes)
		}
	}
	if all != 600 || len(parts) != 0 || len(recorded.requests) > 6 {
		t.Errorf("%d commits in %d requests, %d are left", all, len(recorded.requests), len(parts))
	}
}
