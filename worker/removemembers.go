package worker

import (
	"context"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// RemoveMembers removes members from their groups, for workers that cannot do so
// themselves any more (wire.RoleLeave). It returns within l.Within; what is not
// done by then is in the error.
func RemoveMembers(ctx context.Context, l wire.Leave) error {
	if l.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Within)
		defer cancel()
	}
	a, err := access.New(&l.Consumer.Config, nil)
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(ctx, kafka.NewConfig(a))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // what was to be done has been answered
	return kafka.LeaveGroup(ctx, client, l.Members)
}
