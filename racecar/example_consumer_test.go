package racecar_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/racecar-go/racecar/racecar"
)

// BanConsumer bans users. One instance lives in each worker and is called by one
// goroutine at a time.
type BanConsumer struct{ banned map[int]bool }

// NewBanConsumer runs once in each worker process, before it joins the group.
func NewBanConsumer(racecar.Runtime) (*BanConsumer, error) {
	return &BanConsumer{banned: map[int]bool{}}, nil
}

// Process handles one message. It may receive the same message twice.
func (c *BanConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var data struct {
		UserID int `json:"user_id"`
	}
	if err := json.Unmarshal(m.Value, &data); err != nil {
		return racecar.Skip(err) // a retry would not help
	}
	c.banned[data.UserID] = true
	return nil
}

func init() {
	racecar.Register(NewBanConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "user_banned"}},
	})
}

// A consumer and its registration: `racecar BanConsumer` runs it. A test can call Process.
func ExampleRegister() {
	c, err := NewBanConsumer(racecar.Runtime{})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = c.Process(context.Background(), &racecar.Message{Value: []byte(`{"user_id": 7}`)})
	fmt.Println(c.banned, err)
	// Output: map[7:true] <nil>
}
