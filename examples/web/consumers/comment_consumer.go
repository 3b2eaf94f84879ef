// Package consumers reads what the web application produced.
package consumers

import (
	"context"

	"github.com/racecar-go/racecar/racecar"
)

// CommentConsumer logs comments.
type CommentConsumer struct{ rt racecar.Runtime }

// NewCommentConsumer returns a CommentConsumer.
func NewCommentConsumer(rt racecar.Runtime) (*CommentConsumer, error) {
	return &CommentConsumer{rt}, nil
}

// Process logs one comment.
func (c *CommentConsumer) Process(ctx context.Context, m *racecar.Message) error {
	c.rt.Logger.InfoContext(ctx, "comment", "value", string(m.Value))
	return nil
}

func init() {
	racecar.Register(NewCommentConsumer, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "comments"}}})
}
