// Package geo looks up the country of an address, for the networks that are reserved for
// documentation (RFC 5737, RFC 3849). A real application reads a database.
package geo

import "net/netip"

// DB maps networks to countries.
type DB struct{ networks map[netip.Prefix]string }

// Open opens the database.
func Open() (*DB, error) {
	return &DB{map[netip.Prefix]string{
		netip.MustParsePrefix("192.0.2.0/24"):    "DK",
		netip.MustParsePrefix("198.51.100.0/24"): "DE",
		netip.MustParsePrefix("203.0.113.0/24"):  "US",
		netip.MustParsePrefix("2001:db8::/32"):   "FR",
	}}, nil
}

// Country returns the country's code, "" if it is unknown.
func (db *DB) Country(a netip.Addr) string {
	for network, country := range db.networks {
		if network.Contains(a) {
			return country
		}
	}
	return ""
}
