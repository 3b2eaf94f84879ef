package racecartest

// Members returns how many members a group has, -1 if there is no such group.
func (b *Broker) Members(group string) int {
	g := b.broker.Cluster().GroupInfo(group)
	if g == nil {
		return -1
	}
	return len(g.Members)
}
