package worker

import (
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A missing right is in the last words, which the supervisor logs: the worker itself
// says it once more at debug only.
func TestMissingRightIsNotLoggedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		key    kmsg.Key
		refuse func(kmsg.Request, kmsg.Response)
		want   string
	}{
		"coordinator": {kmsg.FindCoordinator, func(_ kmsg.Request, resp kmsg.Response) {
			r := resp.(*kmsg.FindCoordinatorResponse)
			r.ErrorCode = kerr.GroupAuthorizationFailed.Code
			for i := range r.Coordinators {
				r.Coordinators[i].ErrorCode = r.ErrorCode
			}
		}, "not authorized for the consumer group"},
		"join": {kmsg.JoinGroup, func(_ kmsg.Request, resp kmsg.Response) {
			resp.(*kmsg.JoinGroupResponse).ErrorCode = kerr.GroupAuthorizationFailed.Code
		}, "not authorized for the consumer group"},
		"sync": {kmsg.SyncGroup, func(_ kmsg.Request, resp kmsg.Response) {
			resp.(*kmsg.SyncGroupResponse).ErrorCode = kerr.GroupAuthorizationFailed.Code
		}, "not authorized for the consumer group"},
		"fetch": {kmsg.Fetch, func(req kmsg.Request, resp kmsg.Response) {
			p := kmsg.NewFetchResponseTopicPartition()
			p.ErrorCode = kerr.TopicAuthorizationFailed.Code
			r := resp.(*kmsg.FetchResponse)
			for _, asked := range req.(*kmsg.FetchRequest).Topics {
				one := kmsg.NewFetchResponseTopic()
				one.Topic, one.TopicID, one.Partitions = asked.Topic, asked.TopicID, []kmsg.FetchResponseTopicPartition{p}
				r.Topics = append(r.Topics, one)
			}
		}, "not authorized for the topic"},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			from, group := b.Topic(1), b.Group()
			watchRequests(b, c.key, func(_ int, req kmsg.Request) kmsg.Response {
				resp := req.ResponseKind()
				c.refuse(req, resp)
				return resp
			})
			logged := logtest.Hook{}
			s := start(t, registration(t, racecar.Spec{Name: "A", Subscriptions: []racecar.Subscription{{Topic: from}}}, func(racecar.Runtime) (*processor, error) {
				return &processor{process: recording(newRecorder())}, nil
			}), testConfig(b, group), func(o *Options) { o.Log.AddHook(&logged) })
			if code := s.awaitExit(); code != wire.ExitPermanent {
				t.Errorf("exit code %d", code)
			}
			if w := s.exitReport(); !strings.Contains(w.Reason, c.want) {
				t.Errorf("last words %q", w.Reason)
			}
			for _, e := range logged.AllEntries() {
				line, err := e.String()
				if err != nil {
					t.Fatal(err)
				}
				if e.Level <= logrus.InfoLevel && strings.Contains(strings.ToLower(line), "authoriz") {
					t.Errorf("logged: %s", line)
				}
			}
		})
	}
}
