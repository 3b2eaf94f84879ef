package ctl

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/internal/offsetmap"
)

// Offsets between a group's position and the start of the log cannot be read any more:
// they are no lag.
func TestLagBelowTheStartOfTheLog(t *testing.T) {
	k, b := bed(t)
	topic, group := b.Topic(1), b.Group()
	for range 50 {
		k.write(&kgo.Record{Topic: topic, Value: []byte("x")})
	}
	k.run("", "reset-offsets", "--group", group, "-t", topic, "--to", "20")
	for _, test := range []struct {
		begin int64
		lag   string
	}{{45, "5       25"}, {50, "0       30"}} {
		k.deleteRecords(topic, test.begin)
		want := fmt.Sprintf("%-*s  WORKER  POSITION  END  LAG  DELETED\n%s/0  -             20   50    %s\ntotal %s\n", len(topic)+2, "PARTITION", topic, test.lag, test.lag[:1])
		k.ok("", want, "", "lag", "--group", group)
	}
}

// What a commit has as finished beyond its offset is no lag, as far as it is in the log.
func TestLagByKey(t *testing.T) {
	k, b := bed(t)
	topic, group := b.Topic(1), b.Group()
	for range 50 {
		k.write(&kgo.Record{Topic: topic, Value: []byte("x")})
	}
	commit := func(metadata string) {
		t.Helper()
		client, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.MaxVersions(kversion.V3_6_0())) // later ones name topics by id
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group = group
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset, p.Metadata = 20, &metadata
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		resp, err := req.RequestWith(t.Context(), client)
		if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("%v, %+v", err, resp)
		}
	}
	finished := func(offset int64) string {
		m := offsetmap.Metadata{Offset: offset, LeaderEpoch: -1, Finished: offsetmap.Set{{First: 21, Next: 26}, {First: 49, Next: 60}}}
		return m.Encode(4096)
	}
	plain := fmt.Sprintf("%-*s  WORKER  POSITION  END  LAG\n%s/0  -             20   50   30\ntotal 30\n", len(topic)+2, "PARTITION", topic)
	commit(finished(20))
	k.ok("", fmt.Sprintf("%-*s  WORKER  POSITION  END  LAG  FINISHED BEYOND\n%s/0  -             20   50   24                6\ntotal 24\n", len(topic)+2, "PARTITION", topic),
		"", "lag", "--group", group)
	for _, metadata := range []string{"", "somebody else's", finished(19)} {
		commit(metadata)
		k.ok("", plain, "", "lag", "--group", group)
	}
}

// deleteRecords removes what is below an offset of partition 0.
func (k kafkaRun) deleteRecords(topic string, below int64) {
	k.t.Helper()
	client := k.client()
	defer client.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: below}}}}
	resp, err := req.RequestWith(k.t.Context(), client)
	if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		k.t.Fatalf("%v, %+v", err, resp)
	}
}

func TestTotalLag(t *testing.T) {
	for want, rows := range map[string][]lagRow{
		"0":                                   nil,
		"1,003":                               {{Lag: 3}, {Lag: 1000}, {Lag: 0}},
		"3, and unknown of 1 of 2 partitions": {{Lag: 3}, {Lag: -1}},
		"unknown":                             {{Lag: -1}, {Lag: -1}},
	} {
		if got := totalLag(rows); got != want {
			t.Errorf("%v: %q, want %q", rows, got, want)
		}
	}
}
