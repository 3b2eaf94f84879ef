package fetch

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is a fetch session (KIP-227).
type session struct{}

// fill names the request's partitions.
func (s *session) fill(req *kmsg.FetchRequest, r *fetchRequest) {
	topics := map[string]int{}
	for _, a := range r.partitions {
		i, ok := topics[a.p.topic]
		if !ok {
			i = len(req.Topics)
			topics[a.p.topic] = i
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = a.p.topic, a.id
			req.Topics = append(req.Topics, t)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, a.entry)
	}
}

// answered takes in the head of the answer.
func (s *session) answered(a fetchAnswer, err error) error {
	return err
}
