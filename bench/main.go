// Bench measures racecar side by side with the alternatives:
//
//	go run ./bench                                # the main rows, on Apache Kafka
//	go run ./bench --list                         # what else there is
//	go run ./bench --only process,'batch-200-*'   # some rows
//	go run ./bench --kafka embedded --rounds 1    # without Java, for a quick look
//	go run ./bench --all --save NAME              # all rows; again after an interruption: the rest of them
//	go run ./bench --tables --save NAME           # writes the tables of docs/performance.md
//
// Each contestant runs in separate processes, in turn (A B A B …), and counts its processed
// messages in memory that it shares with the benchmark (package board). So all are measured
// alike: the rate from the first message to the last, and CPU time and memory of the whole tree
// of processes, as /proc shows them. The table is printed, and with --save NAME also written to
// bench/results, with all figures as JSON and a chart.
//
// Racecar runs as its users run it: an app binary with its supervisor and workers, in the
// default configuration. The others are the loops that their own documentation shows, at their
// defaults. Those that need more than sarama are in a separate module (bench/contestants);
// librdkafka needs a C compiler.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

type options struct {
	against  string
	kafka    string
	only     string
	save     string
	profile  string
	rounds   int
	messages int
	all      bool
	list     bool
	smoke    bool
	tables   bool
}

func main() {
	var o options
	flag.StringVar(&o.against, "against", "sarama,franz,confluent,librdkafka", "`contestants` to compare with")
	flag.StringVar(&o.kafka, "kafka", "real", "real starts Apache Kafka (Java and Maven); embedded; or `addresses`")
	flag.StringVar(&o.only, "only", "", "`rows` to measure, with wildcards (default: the main ones)")
	flag.StringVar(&o.save, "save", "", "write bench/results/`name`.{md,json,svg} after each row; rows in it are not measured again")
	flag.StringVar(&o.profile, "profile", "", "have those written in Go write profiles to this `directory`")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each contestant runs")
	flag.IntVar(&o.messages, "messages", 2_000_000, "messages of a topic; some rows take a share of them")
	flag.BoolVar(&o.all, "all", false, "measure the rows marked + in --list too")
	flag.BoolVar(&o.list, "list", false, "list the rows")
	flag.BoolVar(&o.smoke, "smoke", false, "fail when racecar has less than 0.8 of the plain loop's rate in the best of three")
	flag.BoolVar(&o.tables, "tables", false, "write the tables of docs/performance.md from the results that --save names, and measure nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one invocation.
type bench struct {
	opts     options
	dir      string // for binaries and the contestants' files; removed at the end
	broker   string // its description
	addrs    []string
	client   sarama.Client
	admin    sarama.ClusterAdmin
	filled   map[string]bool
	binaries map[string]string
	groups   atomic.Int64
	began    time.Time
}

func run(ctx context.Context, o options) (err error) {
	if o.list {
		for _, r := range rows() {
			when := " "
			if r.extra {
				when = "+"
			}
			if r.named {
				when = "-"
			}
			fmt.Printf("%s %-22s %s\n", when, r.name, r.what)
		}
		fmt.Println("(+: only with --all or --only; -: only with --only)")
		return nil
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; rows are chosen by --only", flag.Arg(0))
	}
	if o.tables {
		return writeTables(o.save)
	}
	if o.smoke {
		o.only, o.against, o.rounds = "process,batch,batch-10k", "sarama", 3
	}
	if o.rounds < 1 || o.messages < 1000 {
		return fmt.Errorf("--rounds %d, --messages %d: at least 1 and 1000 are needed", o.rounds, o.messages)
	}
	chosen, err := selectRows(rows(), o.only, o.all)
	if err != nil {
		return err
	}
	if chosen, err = against(chosen, o.against); err != nil {
		return err
	}
	if err := inModule(); err != nil {
		return err
	}
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	b := &bench{opts: o, filled: map[string]bool{}, binaries: map[string]string{}, began: time.Now()}
	if b.dir, err = os.MkdirTemp("", "racecar-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.buildAll(ctx, chosen); err != nil {
		return err
	}
	closeBroker, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := closeBroker(); err == nil {
			err = closeErr
		}
	}()
	results, err := b.measure(ctx, chosen)
	if err != nil {
		return err
	}
	fmt.Print(b.report(results))
	if o.smoke {
		return smoke(results)
	}
	return nil
}

// against removes contestants that were not requested.
func against(rows []*row, list string) ([]*row, error) {
	asked := map[string]bool{"racecar": true}
	for name := range strings.SplitSeq(list, ",") {
		if name == "" {
			continue
		}
		if contestantNamed(name) == nil {
			return nil, fmt.Errorf("--against: nobody is called %q; there are sarama, franz, confluent and librdkafka", name)
		}
		asked[name] = true
	}
	for _, r := range rows {
		var who []entrant
		for _, e := range r.who {
			if asked[e.contestant] {
				who = append(who, e)
			}
		}
		r.who = who
	}
	return rows, nil
}

// connect starts the broker if necessary, and connects to it.
func (b *bench) connect(ctx context.Context) (func() error, error) {
	end := func() error { return nil }
	switch b.opts.kafka {
	case "real":
		b.say("starting Apache Kafka")
		c, err := cluster.New(ctx, cluster.Options{
			HeapMB: 1024, JVMFlags: []string{"-XX:TieredStopAtLevel=4"},
			// The broker rolls no segment and deletes nothing during a run.
			Properties: map[string]string{"log.segment.bytes": "1073741824", "log.retention.check.interval.ms": "3600000"},
		})
		if err != nil {
			return nil, err
		}
		b.broker, b.addrs, end = "Apache Kafka "+cluster.Version()+", one broker on the same machine", c.Addrs(), c.Close
	case "embedded":
		broker, err := devkafka.Start(devkafka.Options{})
		if err != nil {
			return nil, err
		}
		b.broker, b.addrs, end = "the embedded broker", broker.Addrs(), broker.Close
	default:
		b.broker, b.addrs = b.opts.kafka, strings.Split(b.opts.kafka, ",")
	}
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	client, err := sarama.NewClient(b.addrs, conf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.opts.kafka, err)
	}
	b.client = client
	if b.admin, err = sarama.NewClusterAdminFromClient(client); err != nil {
		return nil, err
	}
	return func() error {
		if err := b.admin.Close(); err != nil { // closes the client too
			return err
		}
		return end()
	}, nil
}

// group returns a group id that no other run uses.
func (b *bench) group() string {
	return fmt.Sprintf("bench-%x-%d", b.began.UnixNano(), b.groups.Add(1))
}

// say prints progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// measure runs the entrants of each row in turn.
func (b *bench) measure(ctx context.Context, chosen []*row) ([]*result, error) {
	allRows, rows, results := rows(), chosen, []*result(nil)
	if b.opts.save != "" {
		s, err := load(b.opts.save)
		if err != nil {
			return nil, err
		}
		results = s.results(allRows)
		rows = missing(chosen, results)
	}
	for i, r := range rows {
		res := &result{row: r, commit: commit(), samples: map[string][]sample{}}
		results = append(results, res)
		for round := range b.opts.rounds {
			for _, e := range r.who {
				s, err := r.run(ctx, b, r, e)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", r.name, e.name(), err)
				}
				res.samples[e.name()] = append(res.samples[e.name()], s)
				b.say("row %d of %d, round %d of %d: %-20s %-14s %s", i+1, len(rows), round+1, b.opts.rounds, r.name, e.name(), brief(r, s))
			}
		}
		if b.opts.save != "" { // keeps the results if a later row fails
			if err := b.save(b.opts.save, results); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}
