package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/sirupsen/logrus"
)

// connection are the flags of the commands that talk to Kafka themselves. They
// take everything else from where racecar takes it.
type connection struct {
	Config  string `placeholder:"FILE" help:"Configuration file (default: config/racecar.yml)"`
	Brokers string `placeholder:"LIST" help:"Kafka brokers, host:port with commas between"`
}

// load reads the configuration for a consumer. One that is registered in this
// program brings its Spec; of another only the name is known.
func (a *app) load(c connection, consumer string) (*config.Loaded, error) {
	o := config.Options{
		File: c.Config, FileGiven: c.Config != "", Environ: a.environ,
		Flags: map[string]config.Flag{}, Configure: registered.Configures(),
	}
	if c.Brokers != "" {
		o.Flags["brokers"] = config.Flag{Text: c.Brokers, As: "--brokers"}
	}
	a.useDevBroker(&o)
	if consumer != "" {
		o.Spec = &config.SpecValues{Name: consumer}
		if r := registered.Lookup(consumer); r != nil {
			s := r.Spec()
			o.Spec.GroupID, o.Spec.DeadLetterTopic, o.Spec.MaxRetries = s.GroupID, s.DeadLetterTopic, s.MaxRetries
		}
	}
	loaded, err := config.Load(o)
	if err != nil {
		return nil, err
	}
	for _, w := range loaded.Warnings {
		a.note("Warning: %s\n", w)
	}
	return loaded, nil
}

// log is for what has to be said beside the results: to stderr.
func (a *app) log(c *config.Config) logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(a.err)
	if level, err := logs.ParseLevel(c.LogLevel); err == nil {
		log.SetLevel(level)
	}
	return log
}

// cluster is a connection with what the commands ask of it.
type cluster struct {
	*kafka.Client
	conf   *config.Config
	access *access.Access
}

// connect returns when a broker has answered.
func connect(ctx context.Context, c *config.Config) (*cluster, error) {
	a, err := access.New(c, nil)
	if err != nil {
		return nil, err
	}
	client, err := kafka.NewClient(ctx, kafka.NewConfig(a)) // which creates no mistyped topic
	if err != nil {
		return nil, err
	}
	return &cluster{client, c, a}, nil
}

func (k *cluster) close() { _ = k.Client.Close() } // everything asked was answered

// committed are all offsets of a group; none for one that is not there.
func (k *cluster) committed(ctx context.Context, group string) (map[kafka.TopicPartition]kafka.Commit, error) {
	offsets := kafka.NewOffsets(k.Client, group)
	defer offsets.Close()
	return offsets.FetchAll(ctx)
}

// partitions of a topic; it must be there.
func (k *cluster) partitions(topic string) ([]int32, error) {
	if err := k.RefreshMetadata(topic); err != nil {
		return nil, fmt.Errorf("topic %q: %w", topic, plainTopic(err))
	}
	all, err := k.Client.Partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("topic %q: %w", topic, plainTopic(err))
	}
	return all, nil
}

var errNoTopic = errors.New("there is no such topic")

func plainTopic(err error) error {
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return errNoTopic
	}
	return err
}

// noMembers is an error that names those who are in a group.
func (k *cluster) noMembers(group string) error {
	members, err := k.classicMembers(group)
	if err == nil && len(members) == 0 {
		members, err = k.consumerMembers(group)
	}
	if err != nil {
		return fmt.Errorf("group %q: %w", group, err)
	}
	if len(members) > 0 {
		return fmt.Errorf("group %q has members (%s): stop its consumers first", group, strings.Join(members, ", "))
	}
	return nil
}

// classicMembers are those of a group whose members make the assignment.
func (k *cluster) classicMembers(group string) (who []string, err error) {
	coordinator, err := k.Coordinator(group)
	if err != nil {
		return nil, err
	}
	// Version 4 was the first with instance ids; sarama lowers it for older brokers.
	resp, err := coordinator.DescribeGroups(&sarama.DescribeGroupsRequest{Version: 5, Groups: []string{group}})
	if err != nil {
		return nil, err
	}
	for _, g := range resp.Groups {
		if g.Err != sarama.ErrNoError && g.Err != sarama.ErrGroupIDNotFound {
			return nil, g.Err
		}
		for _, m := range g.Members {
			who = append(who, memberName(m.GroupInstanceId, m.ClientId, m.ClientHost))
		}
	}
	return who, nil
}

// consumerMembers are those of a group whose coordinator makes the assignment
// (KIP-848): to the other request such a group is dead.
func (k *cluster) consumerMembers(group string) (who []string, err error) {
	coordinator, err := k.Coordinator(group)
	if err != nil {
		return nil, err
	}
	req := sarama.NewConsumerGroupDescribeRequest(k.Config().Version)
	req.GroupIDs = []string{group}
	resp, err := coordinator.ConsumerGroupDescribe(req)
	if errors.Is(err, sarama.ErrUnsupportedVersion) {
		return nil, nil // before Kafka 4.0 there are none
	}
	if err != nil {
		return nil, err
	}
	for _, g := range resp.Groups {
		if g.ErrorCode != sarama.ErrNoError && g.ErrorCode != sarama.ErrGroupIDNotFound {
			return nil, g.ErrorCode
		}
		for _, m := range g.Members {
			who = append(who, memberName(m.InstanceID, m.ClientID, m.ClientHost))
		}
	}
	return who, nil
}

func memberName(instance *string, client, host string) string {
	if instance != nil && *instance != "" {
		return *instance
	}
	return client + host
}
