package ctl

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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
