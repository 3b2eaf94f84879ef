// Package consumers bans users.
package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"example.com/user-ban/users"

	"github.com/racecar-go/racecar/racecar"
)

// UserBanConsumer bans the user named in each message.
type UserBanConsumer struct {
	rt    racecar.Runtime
	users *users.Store
}

// NewUserBanConsumer opens the store of users.
func NewUserBanConsumer(rt racecar.Runtime) (*UserBanConsumer, error) {
	store, err := users.Open("tmp/users")
	return &UserBanConsumer{rt: rt, users: store}, err
}

// Process bans one user. It is idempotent, since the last messages are handed over again after a
// crash.
func (c *UserBanConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var ban struct {
		UserID int `json:"user_id"`
	}
	if err := json.Unmarshal(m.Value, &ban); err != nil {
		return racecar.Skip(fmt.Errorf("not a ban: %w", err)) // a retry would not help
	}
	user, err := c.users.Find(ban.UserID)
	if errors.Is(err, users.ErrNotFound) {
		return racecar.Skip(err)
	}
	if err != nil {
		return err // the store is unavailable: racecar retries the message
	}
	user.Banned = true
	if err := c.users.Save(user); err != nil {
		return err
	}
	c.rt.Logger.InfoContext(ctx, "banned", "user", user.Name)
	return nil
}

func init() {
	racecar.Register(NewUserBanConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "user_banned"}},
	})
}
