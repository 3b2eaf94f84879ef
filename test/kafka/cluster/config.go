package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Names of the listeners every broker has.
const (
	// clientListener is the one tests use; behind the proxy if there is one.
	clientListener = "CLIENT"
	// internalListener carries replication and this package's own requests.
	internalListener   = "INTERNAL"
	controllerListener = "CONTROLLER"
)

// coordinators is how many partitions the topics of offsets and transactions
// have: two per broker in a cluster of three, instead of Kafka's fifty, which
// would take most of the start-up time to create.
const coordinators = 6

// Rack is the rack of the broker with that ID.
func Rack(id int) string { return "rack-" + strconv.Itoa(id) }

// properties returns server.properties of broker b.
func (c *Cluster) properties(b *Broker) map[string]string {
	replication := strconv.Itoa(c.opts.replication())
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(b.ID),
		"broker.rack":                    Rack(b.ID), // of use with replica.selector.class (KIP-392)
		"log.dirs":                       b.dataDir(),
		"controller.listener.names":      controllerListener,
		"inter.broker.listener.name":     internalListener,
		"auto.create.topics.enable":      strconv.FormatBool(c.opts.AutoCreateTopics),
		"default.replication.factor":     replication,
		"min.insync.replicas":            strconv.Itoa(c.opts.MinInSync),
		"unclean.leader.election.enable": "false",

		"offsets.topic.num.partitions":             strconv.Itoa(coordinators),
		"offsets.topic.replication.factor":         replication,
		"transaction.state.log.num.partitions":     strconv.Itoa(coordinators),
		"transaction.state.log.replication.factor": replication,
		"transaction.state.log.min.isr":            strconv.Itoa(min(2, c.opts.replication())),

		// Kafka waits 3 s for more members before a new group's first rebalance:
		// every test would.
		"group.initial.rebalance.delay.ms": "0",
		// Tests of dead members want session timeouts below Kafka's 6 s.
		"group.min.session.timeout.ms": "1000",
		// A broker is missed 6 s (Kafka: 9) after a kill, and one that stops or
		// starts waits at most one heartbeat (Kafka: 2 s) for the controller's
		// word. Lower session timeouts fence brokers on a busy machine.
		"broker.session.timeout.ms":    "6000",
		"broker.heartbeat.interval.ms": "500",
		// Both the number of threads and the cleaner's buffer (128 MiB of heap)
		// are meant for machines of their own.
		"num.network.threads":             "2",
		"num.io.threads":                  "4",
		"background.threads":              "4",
		"log.cleaner.dedupe.buffer.size":  "4194304",
		"log.segment.delete.delay.ms":     "1000",
		"log.initial.task.delay.ms":       "30000",
		"controlled.shutdown.max.retries": "3",
	}

	var voters []string
	for _, o := range c.brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", o.ID, o.addr(controllerListener)))
	}
	p["controller.quorum.voters"] = strings.Join(voters, ",")

	listeners := []string{
		controllerListener + "://" + b.addr(controllerListener),
		internalListener + "://" + b.addr(internalListener),
		clientListener + "://" + b.addr(clientListener),
	}
	advertised := []string{
		internalListener + "://" + b.addr(internalListener),
		clientListener + "://" + b.Addr(),
	}
	protocols := []string{
		controllerListener + ":PLAINTEXT", internalListener + ":PLAINTEXT", clientListener + ":PLAINTEXT",
	}
	for _, l := range c.opts.Listeners {
		listeners = append(listeners, fmt.Sprintf("%s://%s:%d", l.Name, loopback, b.ports[l.Name]))
		advertised = append(advertised, l.Name+"://"+b.listenerAddr(l))
		protocols = append(protocols, l.Name+":"+l.Protocol)
		for k, v := range l.Properties {
			p["listener.name."+strings.ToLower(l.Name)+"."+k] = v
		}
	}
	p["listeners"] = strings.Join(listeners, ",")
	p["advertised.listeners"] = strings.Join(advertised, ",")
	p["listener.security.protocol.map"] = strings.Join(protocols, ",")

	maps.Copy(p, c.opts.Properties)
	return p
}

// formatProperties writes p as a Java properties file, sorted. Backslashes and
// line ends are escaped, as they would end or change a value.
func formatProperties(p map[string]string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	var s strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&s, "%s=%s\n", k, escape.Replace(p[k]))
	}
	return []byte(s.String())
}
