package lanes

import (
	"fmt"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

const kafkasLimit = 4096

// A key that fails does not fill the window of a busy partition: messages of 10,000 keys
// (more of them only make the finished runs longer); and, for one of twelve partitions with
// 2,500 messages a second, a minute in which 5 % of the keys fail.
func TestFailingKeysLeaveRoomInTheWindow(t *testing.T) {
	for name, test := range map[string]struct{ messages, keys, failing int }{
		"one key of 10,000":              {100_000, 10_000, 1},
		"one of twenty keys in a minute": {60 * 2500 / 12, 10_000, 500},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Keyed: true, Limit: kafkasLimit, Held: 1 << 20}, 0, nil, nil)
			now := time.Unix(1, 0)
			var hand []*Message
			next, finished := 0, 0
			for next < test.messages || len(hand) > 0 {
				for len(hand) < 50 {
					if m := p.Next(now); m != nil {
						hand = append(hand, m)
					} else if next < test.messages && p.Wants(1) {
						key := next * 7919 % test.keys
						p.Add(&racecar.Message{Offset: int64(next), Key: fmt.Append(nil, key), Value: make([]byte, 100)})
						next++
					} else {
						break
					}
				}
				if len(hand) < 50 && next < test.messages {
					t.Fatalf("%d in hand after %d of %d messages; the window is held by %v", len(hand), next, test.messages, p.Full())
				}
				m := hand[len(hand)/2]
				hand = append(hand[:len(hand)/2], hand[len(hand)/2+1:]...)
				var key int
				if _, err := fmt.Sscan(string(m.Key()), &key); err != nil {
					t.Fatal(err)
				}
				if key < test.failing {
					m.Attempts++
					p.Fail([]*Message{m}, Wait{Reason: "down"}, false)
					continue
				}
				p.Finish(m)
				finished++
			}
			_, waiting := p.Waiting(10)
			if waiting != test.failing || finished < test.messages*9/10 {
				t.Errorf("%d keys wait, %d messages are finished", waiting, finished)
			}
			if held := p.used.held; held > 1<<20 {
				t.Errorf("%d bytes are held", held)
			}
		})
	}
}

// The oldest message holds the window when it does not end, and says so.
func TestFullWindow(t *testing.T) {
	p := New(Options{Keyed: true, Limit: header + attemptsRoom + 40, Held: 1 << 20}, 100, nil, nil)
	now := time.Unix(1, 0)
	next, finished := int64(100), 0
	for {
		for p.Wants(1) {
			p.Add(&racecar.Message{Offset: next})
			next++
		}
		m := p.Next(now)
		if m == nil {
			break
		}
		if m.Offset == 100 {
			m.Attempts = 3
			p.Fail([]*Message{m}, Wait{Reason: "down"}, false)
		} else if m.Offset%2 == 0 {
			m.Attempts = 1
			p.Fail([]*Message{m}, Wait{Until: now.Add(time.Hour)}, false)
		} else {
			p.Finish(m)
			finished++
		}
	}
	if m := p.Full(); m == nil || m.Offset != 100 {
		t.Fatalf("the window is held by %+v", m)
	}
	if finished < 50 {
		t.Errorf("only %d messages were finished before", finished)
	}
	if all := p.Resume(); len(all) < 50 || all[0].Offset != 100 {
		t.Errorf("%d messages waited", len(all))
	}
	m := p.Next(now)
	if m == nil || m.Offset != 100 || m.Attempts != 3 {
		t.Fatalf("%+v begins", m)
	}
	p.Finish(m)
	if p.Full() != nil {
		t.Error("the window is full although its oldest message is finished")
	}
}

// What waits behind failed messages takes no more memory than it may, and is read again
// when its turn comes.
func TestHeldMessagesAreBounded(t *testing.T) {
	shared := &Budget{Limit: 1 << 20}
	p := New(Options{Keyed: true, Limit: kafkasLimit, Held: 10 << 10, Shared: shared}, 0, nil, nil)
	now := time.Unix(1, 0)
	record := func(i int) *racecar.Message {
		return &racecar.Message{Offset: int64(i), Key: []byte("a"), Value: make([]byte, 1<<10)}
	}
	p.Add(record(0))
	m := p.Next(now)
	m.Attempts = 1
	p.Fail([]*Message{m}, Wait{Until: now.Add(time.Second)}, false)
	for i := range 100 {
		if !p.Wants(1) {
			t.Fatal("a failing key keeps the others from being read")
		}
		p.Add(record(i + 1))
	}
	if used := shared.Used(); used > 12<<10 {
		t.Errorf("%d bytes are held", used)
	}
	now = now.Add(time.Second)
	again := 0
	for i := range 101 {
		if at, missing := p.Missing(); missing {
			again++
			p.ReadAgain()
			for ; at < 101; at++ {
				p.Add(record(int(at)))
			}
			p.Read(101)
		}
		m := p.Next(now)
		if m == nil || m.Offset != int64(i) || m.Record == nil {
			t.Fatalf("%+v begins, not %d", m, i)
		}
		p.Finish(m)
	}
	if again == 0 || again > 15 {
		t.Errorf("the log was read %d times", again)
	}
}
