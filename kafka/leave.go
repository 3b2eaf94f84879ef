package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/status"
)

// LeaveGroup removes members from their groups, all of one group in one request
// (KIP-345), so that a group rebalances once.
//
// LeaveGroup names a static member by member id and instance id: if another process uses
// the instance id by now, the broker refuses (fenced), as it should. Without a member id,
// the instance id alone names the member, whoever uses it. It skips dynamic members
// without a member id, and members that have left already are no error.
//
// The member's last commit must have been answered before: a member that is removed
// while its session closes loses that commit.
func LeaveGroup(ctx context.Context, client *Client, members []status.Member) error {
	groups := make(map[string][]sarama.MemberIdentity)
	for _, p := range members {
		if p.InstanceID == "" && p.MemberID == "" {
			continue
		}
		reason := "racecar: the worker stopped" // KIP-800; not sent to brokers before 3.2
		m := sarama.MemberIdentity{MemberId: p.MemberID, Reason: &reason}
		if p.InstanceID != "" {
			m.GroupInstanceId = &p.InstanceID
		}
		groups[p.Group] = append(groups[p.Group], m)
	}
	var errs []error
	for group, identities := range groups {
		if err := leaveGroup(ctx, client, group, identities); err != nil {
			errs = append(errs, fmt.Errorf("leave group %q: %w", group, err))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// leaveGroup removes members from one group.
func leaveGroup(ctx context.Context, client *Client, group string, members []sarama.MemberIdentity) error {
	coord := newCoordinator(client, group, coordinatorHooks{})
	defer coord.close()
	return coord.do(ctx, func(b *sarama.Broker) error {
		resp, err := b.LeaveGroup(&sarama.LeaveGroupRequest{Version: 5, GroupId: group, Members: members})
		if err != nil {
			return err
		}
		if !gone(resp.Err) {
			return resp.Err
		}
		var errs []error
		for _, m := range resp.Members {
			if !gone(m.Err) {
				name := m.MemberId
				if m.GroupInstanceId != nil {
					name = *m.GroupInstanceId
				}
				errs = append(errs, fmt.Errorf("member %q: %w", name, m.Err))
			}
		}
		return errors.Join(errs...)
	})
}

// gone reports whether the answer means that the member is not in the group (any more), or
// that another process has its instance id by now.
func gone(err sarama.KError) bool {
	switch err {
	case sarama.ErrNoError, sarama.ErrUnknownMemberId, sarama.ErrFencedInstancedId, sarama.ErrGroupIDNotFound:
		return true
	}
	return false
}
