package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// member is the only member of a group, made without sarama's group: it has joined and synced,
// and sends no heartbeats.
type member struct {
	group string
	Member
}

// join makes a member that is alone in its group.
func join(t *testing.T, client *Client, group, instance string) member {
	t.Helper()
	b, err := client.Coordinator(group)
	if err != nil {
		t.Fatal(err)
	}
	req := &sarama.JoinGroupRequest{
		Version: 5, GroupId: group, ProtocolType: "consumer",
		SessionTimeout: 20_000, RebalanceTimeout: 20_000,
	}
	if instance != "" {
		req.GroupInstanceId = &instance
	}
	if err := req.AddGroupProtocolMetadata("range", &sarama.ConsumerGroupMemberMetadata{Topics: []string{"t"}}); err != nil {
		t.Fatal(err)
	}
	resp, err := b.JoinGroup(req)
	if err == nil && errors.Is(resp.Err, sarama.ErrMemberIdRequired) {
		req.MemberId = resp.MemberId
		resp, err = b.JoinGroup(req)
	}
	if err != nil || resp.Err != sarama.ErrNoError {
		t.Fatal("join:", err, resp.Err)
	}
	m := member{group, Member{Generation: resp.GenerationId, MemberID: resp.MemberId, InstanceID: instance}}
	sync := &sarama.SyncGroupRequest{Version: 3, GroupId: group, MemberId: m.MemberID, GenerationId: m.Generation}
	if instance != "" {
		sync.GroupInstanceId = &instance
	}
	if err := sync.AddGroupAssignmentMember(m.MemberID, &sarama.ConsumerGroupMemberAssignment{}); err != nil {
		t.Fatal(err)
	}
	synced, err := b.SyncGroup(sync)
	if err != nil || synced.Err != sarama.ErrNoError {
		t.Fatal("sync:", err, synced)
	}
	return m
}

func (m member) status() status.Member {
	return status.Member{Group: m.group, MemberID: m.MemberID, InstanceID: m.InstanceID, Generation: m.Generation}
}

// members returns the instance ids in a group, and "-" for dynamic members.
func members(t *testing.T, client *Client, group string) []string {
	t.Helper()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	descriptions, err := admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, m := range descriptions[0].Members {
		if m.GroupInstanceId == nil {
			names = append(names, "-")
			continue
		}
		names = append(names, *m.GroupInstanceId)
	}
	slices.Sort(names)
	return names
}

func TestOffsets(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	client := connect(t, settings(b.Addrs()...))
	p0, p1 := TopicPartition{topic, 0}, TopicPartition{topic, 1}
	nowhere := TopicPartition{topic + "-missing", 0}
	offsets := NewOffsets(client, group)
	defer offsets.Close()
	ctx := testContext(t)

	m := join(t, client, group, "one")
	failed, err := offsets.Commit(ctx, m.Member, map[TopicPartition]Commit{
		p0: {Offset: 3, Metadata: "racecar:1;2;5"},
	})
	if err != nil || failed != nil {
		t.Fatalf("commit: %v, %v", failed, err)
	}
	got, err := offsets.Fetch(ctx, []TopicPartition{p0, p1})
	if err != nil {
		t.Fatal(err)
	}
	want := map[TopicPartition]Commit{p0: {Offset: 3, Metadata: "racecar:1;2;5"}, p1: {Offset: NoOffset}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}

	t.Run("refused for one partition", func(t *testing.T) {
		failed, err := offsets.Commit(ctx, m.Member, map[TopicPartition]Commit{p1: {Offset: 1}, nowhere: {Offset: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if len(failed) != 1 || !errors.Is(failed[nowhere], sarama.ErrUnknownTopicOrPartition) {
			t.Errorf("failed = %v, want %s only", failed, nowhere)
		}
		if got, err := offsets.Fetch(ctx, []TopicPartition{p1}); err != nil || got[p1].Offset != 1 {
			t.Errorf("the other partition: got %v, %v, want offset 1", got, err)
		}
	})
	t.Run("wrong generation", func(t *testing.T) {
		stale := m.Member
		stale.Generation--
		failed, err := offsets.Commit(ctx, stale, map[TopicPartition]Commit{p0: {Offset: 9}})
		if err != nil || !errors.Is(failed[p0], sarama.ErrIllegalGeneration) {
			t.Errorf("got %v, %v, want ErrIllegalGeneration", failed, err)
		}
	})
	t.Run("instance id taken over", func(t *testing.T) {
		successor := join(t, client, group, "one")
		failed, err := offsets.Commit(ctx, m.Member, map[TopicPartition]Commit{p0: {Offset: 9}})
		if err != nil || !errors.Is(failed[p0], sarama.ErrFencedInstancedId) {
			t.Errorf("the old member: got %v, %v, want ErrFencedInstancedId", failed, err)
		}
		failed, err = offsets.Commit(ctx, successor.Member, map[TopicPartition]Commit{p0: {Offset: 4}})
		if err != nil || failed != nil {
			t.Errorf("the new member: %v, %v", failed, err)
		}
	})
}

// While a join waits for the other members a commit must not wait with it.
func TestCommitDuringJoin(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	client := connect(t, settings(b.Addrs()...))
	m := join(t, client, group, "one")
	p := TopicPartition{topic, 0}

	other := connect(t, settings(b.Addrs()...))
	coord, err := other.Coordinator(group)
	if err != nil {
		t.Fatal(err)
	}
	joined := make(chan error, 1)
	go func() { // waits for member one to join again, which it does not
		req := &sarama.JoinGroupRequest{
			Version: 5, GroupId: group, ProtocolType: "consumer", SessionTimeout: 20_000, RebalanceTimeout: 20_000,
			GroupInstanceId: new("two"),
		}
		err := req.AddGroupProtocolMetadata("range", &sarama.ConsumerGroupMemberMetadata{Topics: []string{"t"}})
		if err == nil {
			_, err = coord.JoinGroup(req)
		}
		joined <- err
	}()
	offsets := NewOffsets(other, group)
	defer offsets.Close()
	for i := int64(1); ; i++ { // until the group rebalances
		failed, err := offsets.Commit(testContext(t), m.Member, map[TopicPartition]Commit{p: {Offset: i}})
		if err != nil {
			t.Fatal(err)
		}
		// Kafka takes commits of the old generation until the new one begins.
		if heartbeat(t, client, m) == sarama.ErrRebalanceInProgress {
			if failed != nil && !errors.Is(failed[p], sarama.ErrRebalanceInProgress) {
				t.Errorf("commit failed: %v", failed)
			}
			break
		}
	}
	select {
	case err := <-joined:
		t.Errorf("the join did not wait: %v", err)
	default:
	}
	other.Abort()
	<-joined //nolint:errcheck // it was interrupted
}

func heartbeat(t *testing.T, client *Client, m member) sarama.KError {
	t.Helper()
	b, err := client.Coordinator(m.group)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.Heartbeat(&sarama.HeartbeatRequest{
		Version: 3, GroupId: m.group, MemberId: m.MemberID, GenerationId: m.Generation, GroupInstanceId: &m.InstanceID,
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Err
}

func TestLeaveGroup(t *testing.T) {
	b := testbroker.New(t)
	client := connect(t, settings(b.Addrs()...))
	t.Run("static", func(t *testing.T) {
		m := join(t, client, b.Group(), "one")
		if err := LeaveGroup(testContext(t), client, []status.Member{m.status()}); err != nil {
			t.Fatal(err)
		}
		if left := members(t, client, m.group); len(left) != 0 {
			t.Errorf("still there: %v", left)
		}
		if err := LeaveGroup(testContext(t), client, []status.Member{m.status()}); err != nil {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("dynamic", func(t *testing.T) {
		m := join(t, client, b.Group(), "")
		if err := LeaveGroup(testContext(t), client, []status.Member{m.status(), {Group: m.group}}); err != nil {
			t.Fatal(err)
		}
		if left := members(t, client, m.group); len(left) != 0 {
			t.Errorf("still there: %v", left)
		}
	})
	t.Run("instance id taken over", func(t *testing.T) {
		if !b.Real() {
			t.Skip("the embedded broker looks at the instance id only")
		}
		group := b.Group()
		old := join(t, client, group, "one")
		join(t, client, group, "one")
		if err := LeaveGroup(testContext(t), client, []status.Member{old.status()}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"one"}, members(t, client, group)); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
	})
	t.Run("never joined", func(t *testing.T) {
		m := join(t, client, b.Group(), "one")
		withoutID := m.status()
		withoutID.MemberID = ""
		if err := LeaveGroup(testContext(t), client, []status.Member{withoutID}); err != nil {
			t.Fatal(err)
		}
		if left := members(t, client, m.group); len(left) != 0 {
			t.Errorf("still there: %v", left)
		}
	})
}

// All members of a group go in one request: each alone would be a rebalance.
func TestLeaveGroupInOneRequest(t *testing.T) {
	cluster := fakeCluster(t)
	client := connect(t, settings(cluster.ListenAddrs()...))
	requests := make(chan []string, 10)
	cluster.ControlKey(int16(kmsg.LeaveGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.LeaveGroupRequest)
		names := []string{req.Group}
		for _, m := range req.Members {
			names = append(names, *m.InstanceID)
		}
		requests <- names
		return nil, nil, false
	})
	places := []status.Member{
		{Group: "a", InstanceID: "1", MemberID: "m1"}, {Group: "b", InstanceID: "2", MemberID: "m2"},
		{Group: "a", InstanceID: "3", MemberID: "m3"},
	}
	if err := LeaveGroup(testContext(t), client, places); err != nil {
		t.Fatal(err)
	}
	close(requests)
	got := make(map[string]string)
	for names := range requests {
		got[names[0]] += fmt.Sprint(names[1:])
	}
	if diff := cmp.Diff(map[string]string{"a": "[1 3]", "b": "[2]"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// The coordinator's connection comes back after it broke and after sarama
// closed it, and follows the coordinator to another broker.
func TestCoordinatorReconnects(t *testing.T) {
	cluster := fakeCluster(t, kfake.NumBrokers(2))
	client := connect(t, settings(cluster.ListenAddrs()...))
	group := "g"
	ask := func() (*sarama.Broker, error) {
		b, err := client.Coordinator(group)
		if err != nil {
			return nil, err
		}
		_, err = b.Heartbeat(&sarama.HeartbeatRequest{Version: 3, GroupId: group, MemberId: "m"})
		return b, err
	}
	first, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	if shared, err := client.Client.Coordinator(group); err != nil || shared == first {
		t.Fatalf("the connection is the one that is fetched on (%v)", err)
	}

	t.Run("after Close", func(t *testing.T) {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if again != first {
			t.Error("another connection beside the old one")
		}
	})
	t.Run("after the broker cut it", func(t *testing.T) {
		cluster.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
			return nil, errors.New("cut"), true
		})
		if _, err := ask(); err == nil {
			t.Fatal("a request went through that was cut off")
		}
		if _, err := ask(); err != nil {
			t.Errorf("the next request: %v", err)
		}
	})
	t.Run("after the coordinator moved", func(t *testing.T) {
		before := cluster.CoordinatorFor(group)
		for cluster.CoordinatorFor(group) == before {
			cluster.RehashCoordinators()
		}
		other := cluster.ListenAddrs()[0]
		if first.Addr() == other {
			other = cluster.ListenAddrs()[1]
		}
		if err := client.RefreshCoordinator(group); err != nil {
			t.Fatal(err)
		}
		b, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if b.Addr() != other {
			t.Errorf("connected to %s, want %s", b.Addr(), other)
		}
		if open, _ := first.Connected(); open {
			t.Error("the old connection is still open")
		}
	})
}

// Offsets looks for a coordinator that has moved.
func TestOffsetsFollowCoordinator(t *testing.T) {
	cluster := fakeCluster(t, kfake.SeedTopics(1, "t"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	offsets := NewOffsets(client, "g")
	defer offsets.Close()
	refusals := 0
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if refusals++; refusals > 2 {
			return nil, nil, false
		}
		cluster.KeepControl()
		if refusals == 2 {
			return nil, errors.New("cut"), true
		}
		resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = "t"
		p := kmsg.NewOffsetCommitResponseTopicPartition()
		p.ErrorCode = int16(sarama.ErrNotCoordinatorForConsumer)
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	lookups := 0
	cluster.ControlKey(int16(kmsg.FindCoordinator), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		lookups++
		return nil, nil, false
	})
	p := TopicPartition{"t", 0}
	failed, err := offsets.Commit(testContext(t), NoMember, map[TopicPartition]Commit{p: {Offset: 1}})
	if err != nil || failed != nil {
		t.Fatal(failed, err)
	}
	if got, err := offsets.Fetch(testContext(t), []TopicPartition{p}); err != nil || got[p].Offset != 1 {
		t.Errorf("got %v, %v, want offset 1", got, err)
	}
	if lookups != 3 {
		t.Errorf("looked for the coordinator %d times, want 3: at first, when it had moved, when it was gone", lookups)
	}
}

// The end of the context ends a commit that the broker does not answer.
func TestOffsetsHonourContext(t *testing.T) {
	cluster := fakeCluster(t, kfake.SeedTopics(1, "t"))
	client := connect(t, settings(cluster.ListenAddrs()...))
	offsets := NewOffsets(client, "g")
	defer offsets.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	release := make(chan struct{})
	defer close(release)
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		<-release
		return nil, errors.New("dropped"), true
	})
	begin := time.Now()
	_, err := offsets.Commit(ctx, NoMember, map[TopicPartition]Commit{{"t", 0}: {Offset: 1}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestJoiningMember(t *testing.T) {
	// As sarama writes them: client id "racecar", group "g", timeouts of 10 and 60 s.
	request := func(version int16, member string) []byte {
		var b []byte
		b = binary.BigEndian.AppendUint16(b, 11)
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		b = binary.BigEndian.AppendUint32(b, 7)
		b = append(binary.BigEndian.AppendUint16(b, 7), "racecar"...)
		str := func(s string) {
			if version >= 6 {
				b = append(binary.AppendUvarint(b, uint64(len(s)+1)), s...)
			} else {
				b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
			}
		}
		if version >= 6 {
			b = append(b, 0)
		}
		str("g")
		b = binary.BigEndian.AppendUint32(b, 10_000)
		b = binary.BigEndian.AppendUint32(b, 60_000)
		str(member)
		b = append(b, 0, 0, 0)
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	long := strings.Repeat("m", 200) // its length takes two bytes
	for _, version := range []int16{1, 5, 6, 8} {
		for _, member := range []string{"", "racecar-1234", long} {
			b := request(version, member)
			if got := joiningMember(b); got != member {
				t.Errorf("version %d: %q, want %q", version, got, member)
			}
			for n := range b { // cut short: never a panic
				cut := append([]byte(nil), b[:n]...)
				if n >= 4 {
					binary.BigEndian.PutUint32(cut, uint32(n-4))
				}
				_ = joiningMember(cut)
			}
		}
	}
}

// Each join tells the member id it is sent with.
func TestHandleJoin(t *testing.T) {
	b := testbroker.New(t)
	client := connect(t, settings(b.Addrs()...))
	var told []string
	client.HandleJoin(func(id string) { told = append(told, id) })
	m := join(t, client, b.Group(), "")
	if want := []string{m.MemberID}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// No other coordinator helps a request that cannot be encoded.
func TestEncodingErrorsDoNotMoveTheCoordinator(t *testing.T) {
	if coordinatorMoved(fmt.Errorf("add offsets: %w", sarama.PacketEncodingError{Info: "string too long"})) {
		t.Error("the coordinator is looked for again")
	}
}
