package cluster

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	tests := []struct {
		name      string
		opts      Options
		brokers   int
		minInSync int
		err       string
	}{
		{"zero", Options{}, 1, 1, ""},
		{"three", Options{Brokers: 3}, 3, 2, ""},
		{"given", Options{Brokers: 3, MinInSync: 1}, 3, 1, ""},
		{"too many", Options{Brokers: 10}, 0, 0, "10 brokers: from 1 to 9"},
		{"negative", Options{Brokers: -1}, 0, 0, "-1 brokers: from 1 to 9"},
		{"taken", Options{Listeners: []Listener{{Name: "CLIENT"}}}, 0, 0, `listener "CLIENT": the name is taken`},
		{"lower case", Options{Listeners: []Listener{{Name: "tls"}}}, 0, 0, `listener "tls": a name in upper case`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.opts.withDefaults()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || got.Brokers != test.brokers || got.MinInSync != test.minInSync {
				t.Fatalf("got %d brokers, %d in sync, %v", got.Brokers, got.MinInSync, err)
			}
		})
	}
}

func TestProperties(t *testing.T) {
	opts, err := Options{
		Brokers: 3,
		Listeners: []Listener{{
			Name: "TLS", Protocol: "SSL", Host: "localhost",
			Properties: map[string]string{"ssl.client.auth": "required"},
		}},
		Properties: map[string]string{"num.io.threads": "7", "x": `a\b`},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{opts: opts, dir: "/dir"}
	for id := 1; id <= 3; id++ {
		c.brokers = append(c.brokers, &Broker{ID: id, cluster: c, ports: map[string]int{
			"CLIENT": 1000 + id, "INTERNAL": 2000 + id, "CONTROLLER": 3000 + id, "TLS": 4000 + id,
		}})
	}
	text := string(formatProperties(c.properties(c.Broker(2))))
	for _, line := range []string{
		"node.id=2",
		"log.dirs=/dir/broker-2",
		"controller.quorum.voters=1@127.0.0.1:3001,2@127.0.0.1:3002,3@127.0.0.1:3003",
		"listeners=CONTROLLER://127.0.0.1:3002,INTERNAL://127.0.0.1:2002,CLIENT://127.0.0.1:1002,TLS://127.0.0.1:4002",
		"advertised.listeners=INTERNAL://127.0.0.1:2002,CLIENT://127.0.0.1:1002,TLS://localhost:4002",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,CLIENT:PLAINTEXT,TLS:SSL",
		"listener.name.tls.ssl.client.auth=required",
		"default.replication.factor=3",
		"num.io.threads=7",
		`x=a\\b`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, text)
		}
	}
}
