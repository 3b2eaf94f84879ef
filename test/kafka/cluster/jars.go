package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // pom.xml
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed pom.xml
var pom []byte

// Version returns the version of Apache Kafka that is started, as pom.xml has it.
func Version() string {
	return regexp.MustCompile(`<kafka\.version>(.*)</kafka\.version>`).FindStringSubmatch(string(pom))[1]
}

// distribution is Kafka on disk, ready to be started.
type distribution struct {
	java string
	jars []string
	// bootstrap is the metadata snapshot kafka-storage would write into each data
	// directory: the features a new cluster of this version has (transactions v2
	// among them). It is the same for all, so it is made once.
	bootstrap string
	// classes is a class data archive, which halves a broker's start-up time.
	// Empty where this Java cannot make one.
	classes string
}

// cacheDir is where everything that should be made only once is kept.
func cacheDir() (string, error) {
	dir := os.Getenv("TESTBED_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache directory (%w): set TESTBED_CACHE to one", err)
		}
		dir = filepath.Join(user, "racecar-go")
	}
	return filepath.Abs(dir)
}

// fetch returns Kafka, from the cache if it is there. Processes that call it at
// the same time wait for the first. What a killed one left half-done is done
// again: every result gets its final name by a rename.
func fetch(ctx context.Context) (*distribution, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("start Apache Kafka: %w: install a Java runtime, 17 or later", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kafka-"+Version())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	release, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer release()

	d := &distribution{java: java, bootstrap: filepath.Join(dir, "bootstrap.checkpoint")}
	if d.jars, err = fetchJars(ctx, dir); err != nil {
		return nil, err
	}
	if err := d.makeBootstrap(ctx, dir); err != nil {
		return nil, err
	}
	return d, d.makeClasses(ctx, dir)
}

// lock waits for path's lock and returns what releases it.
func lock(ctx context.Context, path string) (release func(), err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := tryLock(path)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() { unlock(f) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s, which another test process holds: %w", path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// fetchJars lets Maven copy Kafka's jars to dir/jars.
func fetchJars(ctx context.Context, dir string) ([]string, error) {
	jars := filepath.Join(dir, "jars")
	if _, err := os.Stat(jars); err == nil {
		return listJars(jars)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return nil, fmt.Errorf("fetch Apache Kafka %s: %w: install Maven", Version(), err)
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	project := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return nil, err
	}
	// Once more if it fails: repositories have bad moments.
	var out []byte
	for range 2 {
		cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "--file", project,
			"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(tmp, "jars"))
		cmd.WaitDelay = 5 * time.Second
		if out, err = cmd.CombinedOutput(); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fetch Apache Kafka %s through Maven: %w\n%s", Version(), err, bytes.TrimSpace(out))
	}
	if err := os.Rename(filepath.Join(tmp, "jars"), jars); err != nil {
		return nil, err
	}
	return listJars(jars)
}

func listJars(dir string) ([]string, error) {
	jars, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	if err != nil {
		return nil, err
	}
	if len(jars) == 0 {
		return nil, fmt.Errorf("no jars in %s: remove the directory to fetch them again", dir)
	}
	slices.Sort(jars) // the class data archive is tied to this order
	return jars, nil
}

// makeBootstrap formats a data directory with Kafka's own tool and keeps what a
// new node needs of it.
func (d *distribution) makeBootstrap(ctx context.Context, dir string) error {
	if _, err := os.Stat(d.bootstrap); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	tmp, err := os.MkdirTemp(dir, "format-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	config := filepath.Join(tmp, "server.properties")
	properties := formatProperties(map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        "1",
		"controller.quorum.voters":       "1@127.0.0.1:9093",
		"controller.listener.names":      controllerListener,
		"listeners":                      "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                       filepath.Join(tmp, "data"),
	})
	if err := os.WriteFile(config, properties, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, d.java, "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", d.classPath(),
		"kafka.tools.StorageTool", "format", "--cluster-id", clusterID, "--config", config)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format a data directory for Apache Kafka %s: %w\n%s", Version(), err, bytes.TrimSpace(out))
	}
	return os.Rename(filepath.Join(tmp, "data", "bootstrap.checkpoint"), d.bootstrap)
}

// makeClasses runs one broker until it is up and has Java keep the classes it
// loaded. The archive serves only the Java that wrote it, hence the name.
// An empty file means that this Java cannot: brokers start all the same.
func (d *distribution) makeClasses(ctx context.Context, dir string) error {
	real, err := filepath.EvalSymlinks(d.java)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", real, info.Size(), info.ModTime().UnixNano()))
	path := filepath.Join(dir, fmt.Sprintf("classes-%x.jsa", id[:6]))

	archive, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		tmp := filepath.Join(dir, "classes.tmp")
		if err := d.dumpClasses(ctx, tmp); err != nil {
			if ctx.Err() != nil {
				return err
			}
			if err := os.WriteFile(tmp, nil, 0o644); err != nil {
				return err
			}
			if err := os.WriteFile(path+".log", []byte(err.Error()), 0o644); err != nil {
				return err
			}
		}
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
		archive, err = os.Stat(path)
	}
	if err != nil {
		return err
	}
	if archive.Size() > 0 {
		d.classes = path
	}
	return nil
}

// dumpClasses starts a broker that writes a class data archive to path when it
// ends.
func (d *distribution) dumpClasses(ctx context.Context, path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	c, err := start(ctx, d, Options{Brokers: 1, JVMFlags: []string{"-XX:ArchiveClassesAtExit=" + path}})
	if err != nil {
		return err
	}
	err = c.Broker(1).Stop()
	log := c.Broker(1).LogTail(20)
	if err := c.Close(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return fmt.Errorf("no class data archive was written:\n%s", log)
	}
	return nil
}

func (d *distribution) classPath() string { return strings.Join(d.jars, string(os.PathListSeparator)) }

// command returns the Java command that runs a broker on a configuration file.
func (d *distribution) command(heapMB int, flags []string, config string) *exec.Cmd {
	args := []string{
		fmt.Sprintf("-Xms%dm", min(64, heapMB)), fmt.Sprintf("-Xmx%dm", heapMB),
		// The cheapest collector and compiler: less CPU and memory for a
		// broker that lives for seconds beside the code under test.
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-Dorg.slf4j.simpleLogger.showShortLogName=true",
		// Some 300 lines per start that say what server.properties says.
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
	}
	if d.classes != "" {
		args = append(args, "-XX:SharedArchiveFile="+d.classes)
	}
	args = append(args, flags...)
	args = append(args, "-cp", d.classPath(), "kafka.Kafka", config)
	return exec.Command(d.java, args...)
}
