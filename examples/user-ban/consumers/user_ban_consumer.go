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

// NewUserBanConsumer opens the users.
func NewUserBanConsumer(rt racecar.Runtime) (*UserBanConsumer, error) {
	store, err := users.Open("tmp/users")
	return &UserBanConsumer{rt: rt, users: store}, err
}

// Process bans one user. To ban twice does no harm, and that is as well: after a
// crash the last messages come again.
func (c *UserBanConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var ban struct {
		UserID int `json:"user_id"`
	}
	if err := json.Unmarshal(m.Value, &ban); err != nil {
		return racecar.Skip(fmt.Errorf("not a ban: %w", err)) // trying again would not make it one
	}
	user, err := c.users.Find(ban.UserID)
	if errors.Is(err, users.ErrNotFound) {
		return racecar.Skip(err)
	}
	if err != nil {
		return err // the store has a bad day: this message comes again
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
