// Package addresses completes the addresses of brokers that users write.
package addresses

import (
	"net"
	"net/netip"
	"strings"
)

// defaultPort is Kafka's.
const defaultPort = "9092"

// Complete returns brokers as host:port, without those that are empty.
func Complete(brokers []string) []string {
	complete := make([]string, 0, len(brokers))
	for _, b := range brokers {
		if b = WithPort(b); b != "" {
			complete = append(complete, b)
		}
	}
	return complete
}

// WithPort adds the port that a broker's address lacks.
func WithPort(addr string) string {
	addr = strings.TrimSpace(addr)
	if addr == "" || strings.Contains(addr, "://") {
		return addr
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")); err == nil && ip.Is6() && !strings.Contains(addr, "]:") {
		return net.JoinHostPort(ip.String(), defaultPort)
	}
	switch host, _, found := strings.Cut(addr, ":"); {
	case !found:
		return addr + ":" + defaultPort
	case host == "":
		return "localhost" + addr // ":9092", as librdkafka takes it
	}
	return addr
}
