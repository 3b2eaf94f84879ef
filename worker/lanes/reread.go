package lanes

import "github.com/racecar-go/racecar/racecar"

// Missing returns the first offset to be read again, for a message that may begin and is
// known by its offset alone; false when there is none, or it is being read.
func (p *Partition) Missing() (int64, bool) {
	if p.passing || len(p.absent) == 0 || !p.window.admits(p.absent[0]) {
		return 0, false
	}
	return p.absent[0].Offset, true
}

// ReadAgain notes that the log is read again from the offset of Missing on. Add takes the
// messages, and Read the position, until all is read that was known.
func (p *Partition) ReadAgain() {
	p.passing, p.pass = true, p.absent[0]
}

// ReadingAgain reports whether what is read next was read before.
func (p *Partition) ReadingAgain() bool { return p.passing }

// Interrupted notes that the log is not read again after all.
func (p *Partition) Interrupted() { p.passing, p.pass = false, nil }

// addAgain is Add for a message that was read before.
func (p *Partition) addAgain(r *racecar.Message) *Message {
	if !p.passing {
		return nil
	}
	p.gone(r.Offset)
	m := p.pass
	if m == nil || m.Offset != r.Offset {
		return nil
	}
	p.pass = m.next
	if m.Record != nil || m.state == inHand {
		return nil
	}
	size := Size(r)
	if m.state != absent && p.holdsTooMuch(size) {
		return nil // it is not its turn
	}
	m.Record, m.size = Clone(r), size
	p.count(m)
	if m.state == absent {
		p.take(m)
		p.mayBegin(m)
	}
	return m
}

// gone finishes what a second reading has passed over without finding it: the log no longer
// has it. The reading ends with what was known.
func (p *Partition) gone(offset int64) {
	for p.pass != nil && p.pass.Offset < offset {
		m := p.pass
		p.pass = m.next
		if m.Record != nil || m.state == inHand {
			continue
		}
		p.take(m)
		p.remove(m)
	}
	if offset >= p.window.readTo {
		p.passing, p.pass = false, nil
	}
}
