package worker

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

var validID = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func TestInstanceIDs(t *testing.T) {
	if got, want := slotID("racecar", "f00", "UserBan", 2, 0), "racecar-f00-UserBan-2"; got != want {
		t.Errorf("slot %q, want %q", got, want)
	}
	if got := slotID("racecar", "f00", "UserBan", 2, 1); got != "racecar-f00-UserBan-2-1" {
		t.Errorf("second membership %q", got)
	}
	long := strings.Repeat("x", 300)
	ids := []string{}
	for _, consumer := range []string{"Billing::Invoice", "Billing__Invoice", "Billing:_Invoice", long + "a", long + "b", "ünï"} {
		slot := slotID("racecar", "f00", consumer, 0, 0)
		id := instanceID(slot, []string{"a", "b"}, []string{"range"})
		if !validID.MatchString(id) {
			t.Errorf("%q is no valid instance id (%d characters)", id, len(id))
		}
		if slices.Contains(ids, id) {
			t.Errorf("%q is taken", id)
		}
		ids = append(ids, id)
		if !ofSlot(id, slot) || !ofSlot(instanceID(slot, []string{"c"}, nil), slot) {
			t.Errorf("%q is not recognised as of %q", id, slot)
		}
	}
	slot := slotID("racecar", "f00", "A", 1, 0)
	if a, b := instanceID(slot, []string{"x", "y"}, []string{"range"}), instanceID(slot, []string{"y", "x"}, []string{"range"}); a != b {
		t.Error("the order of subscriptions matters")
	}
	if a, b := instanceID(slot, []string{"x"}, []string{"range"}), instanceID(slot, []string{"x"}, []string{"sticky"}); a == b {
		t.Error("the assignors do not matter")
	}
	if ofSlot(instanceID(slotID("racecar", "f00", "A", 11, 0), nil, nil), slot) || ofSlot(slot+"-1-0123abcd", slot) {
		t.Error("another slot's is taken for ours")
	}
}

// The next process takes over a membership that is kept over a stop, without a rebalance;
// a member that left the group is gone.
func TestMembershipOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(4), b.Group()
	cfg := testConfig(b, group)
	reg := one(t, topic, ignore)
	first := start(t, reg, cfg)
	first.running()
	second := start(t, reg, cfg, withIndex(1))
	second.running()
	first.await("both", func() bool { return len(first.members) == 1 && first.members[0].Generation >= 2 })
	generation := func(s *supervisor) int32 { return s.status().Members[0].Generation }
	waitFor(t, "one generation", func() bool { return generation(first) == generation(second) })
	before := generation(first)

	if err := second.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second}); err != nil { // without Leave
		t.Fatal(err)
	}
	if code := second.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if got := membersOf(t, b, group); len(got) != 2 {
		t.Errorf("members %v", got)
	}
	began := time.Now()
	again := start(t, reg, cfg, withIndex(1))
	again.running()
	t.Logf("taken over after %v", time.Since(began))
	if g := generation(first); g != before {
		t.Errorf("generation %d after %d: the group rebalanced", g, before)
	}
	if n := len(again.status().Partitions); n != 2 {
		t.Errorf("%d partitions taken over", n)
	}
	if code := again.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if got := membersOf(t, b, group); len(got) != 1 {
		t.Errorf("members %v", got)
	}
	waitFor(t, "all partitions", func() bool { return len(first.status().Partitions) == 4 })
}

// Two processes with one instance id: the one that was first ends for good, with
// one clear line.
func TestFencedInstance(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	cfg := testConfig(b, group)
	reg := one(t, topic, ignore)
	first := start(t, reg, cfg)
	first.running()
	second := start(t, reg, cfg)
	second.running()
	if code := first.awaitExit(); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
	if last := first.exitReport(); !last.Permanent || !strings.Contains(last.Reason, "instance id") || !strings.Contains(last.Reason, "static_id") {
		t.Errorf("last words %+v", last)
	}
	second.stop()
}

// A Spec that changed gets another instance id; the old one is removed, so that
// the added topic is consumed.
func TestAddedTopic(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	one, two, group := b.Topic(2), b.Topic(2), b.Group()
	for _, topic := range []string{one, two} {
		b.Produce(topic, 0, "a")
		b.Produce(topic, 1, "b")
	}
	rec := newRecorder()
	make := func(topics ...string) *racecar.Registration {
		var subs []racecar.Subscription
		for _, topic := range topics {
			subs = append(subs, racecar.Subscription{Topic: topic})
		}
		return registration(t, racecar.Spec{Subscriptions: subs}, func(racecar.Runtime) (*processor, error) {
			return &processor{process: recording(rec)}, nil
		})
	}
	cfg := testConfig(b, group)
	cfg.Membership = config.MembershipHost
	old, fresh := make(one), make(one, two)
	workers := []*supervisor{start(t, old, cfg), start(t, old, cfg, withIndex(1))}
	rec.await(t, 2)
	began := time.Now()
	for i, w := range workers {
		if err := w.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		w.awaitExit()
		places := w.members
		workers[i] = start(t, fresh, cfg, withIndex(i), func(o *Options) { o.Handshake.Predecessors = places })
	}
	rec.await(t, 4)
	took := time.Since(began)
	t.Logf("the added topic was consumed %v after the deploy began", took)
	if took > seeds.AtMost(10*time.Second) {
		t.Errorf("the added topic was consumed %v after the deploy began", took)
	}
	for _, w := range workers {
		w.running()
	}
	waitFor(t, "two members", func() bool { return len(membersOf(t, b, group)) == 2 })
	for _, w := range workers {
		w.stop()
	}
}

// membership dynamic: no instance ids; the predecessor's member is removed first.
func TestDynamicMembership(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	cfg := testConfig(b, group)
	cfg.Membership = config.MembershipDynamic
	reg := one(t, topic, ignore)
	s := start(t, reg, cfg, withNonce(""))
	s.running()
	s.await("a place", func() bool { return len(s.members) == 1 })
	if p := s.members[0]; p.InstanceID != "" || p.MemberID == "" || p.Group != group {
		t.Errorf("place %+v", p)
	}
	ghost := start(t, reg, cfg, withNonce("")) // to be replaced while it is still there
	ghost.running()                            // the embedded broker counts one wrongly that is removed while it waits
	ghost.await("a place", func() bool { return len(ghost.members) == 1 })
	places := slices.Clone(ghost.members)
	next := start(t, reg, cfg, withNonce(""), func(o *Options) { o.Handshake.Predecessors = places })
	next.running()
	if got := membersOf(t, b, group); slices.Contains(got, places[0].MemberID) {
		t.Errorf("the predecessor is still a member: %v", got)
	}
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// The supervisor takes the first report of members as a sign that a predecessor's members are
// dealt with. Another membership may still have some to remove or to take over.
func TestFirstReportOfMembersKeepsThoseOfOtherMemberships(t *testing.T) {
	const group = "g"
	slots := []string{slotID("c", "n", "Orders", 0, 0), slotID("c", "n", "Orders", 0, 1)}
	ids := []string{instanceID(slots[0], []string{"a"}, nil), instanceID(slots[1], []string{"b"}, nil)}
	own := []status.Member{{Group: group, InstanceID: ids[0]}, {Group: group, InstanceID: ids[1]}}
	older := status.Member{Group: group, InstanceID: instanceID(slots[0], []string{"older"}, nil)}
	dynamic := status.Member{Group: group, MemberID: "dynamic"}
	w := &worker{group: group}
	w.opts.Handshake.Predecessors = []status.Member{own[0], own[1], older, dynamic}
	w.memberships = []*membership{{w: w, slot: slots[0]}, {w: w, n: 1, slot: slots[1]}}

	w.memberships[1].id = ids[1]
	w.memberships[1].removedStale.Store(true)
	if got, want := w.heldMembers(), []status.Member{own[1], own[0], older, dynamic}; !slices.Equal(got, want) {
		t.Errorf("before the first membership has removed what it does not take over: %+v, want %+v", got, want)
	}
	w.memberships[0].id = ids[0]
	w.memberships[0].removedStale.Store(true)
	if got := w.heldMembers(); !slices.Equal(got, own) {
		t.Errorf("afterwards: %+v, want %+v", got, own)
	}
}
