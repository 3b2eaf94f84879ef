package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/internal/status"
)

func TestMessagesArriveAsSent(t *testing.T) {
	var buf bytes.Buffer
	c := NewConn(&buf)
	sent := Command{ID: 7, Kind: CommandPause, Partitions: []Partition{{Topic: "t", Partition: -1}}}
	if err := c.Write(KindCommand, sent); err != nil {
		t.Fatal(err)
	}
	e, err := c.Read()
	if err != nil || e.Kind != KindCommand {
		t.Fatalf("got %v, %v", e.Kind, err)
	}
	var got Command
	if err := e.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sent, got); d != "" {
		t.Error(d)
	}
	if _, err := c.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last message: %v", err)
	}
}

func TestEndWithinAMessageIsEOF(t *testing.T) {
	whole, err := encode(KindFrame, Frame{State: status.Running})
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := NewConn(bytes.NewBuffer(whole[:n])).Read(); !errors.Is(err, io.EOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	huge := binary.BigEndian.AppendUint32(nil, MaxMessage+1)
	if _, err := NewConn(bytes.NewBuffer(huge)).Read(); err == nil || !strings.Contains(err.Error(), "not the protocol") {
		t.Errorf("huge: %v", err)
	}
	junk := append(binary.BigEndian.AppendUint32(nil, 4), "junk"...)
	if _, err := NewConn(bytes.NewBuffer(junk)).Read(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("junk: %v", err)
	}
}

func TestFramesAreCutToTheirSize(t *testing.T) {
	for name, detail := range map[string]string{
		"none":    "",
		"short":   "waiting for 127.0.0.1:9092",
		"long":    strings.Repeat("x", 10_000),
		"escapes": strings.Repeat("\x00\"é", 1_000),
	} {
		t.Run(name, func(t *testing.T) {
			buf, err := EncodeFrame(Frame{State: status.Stopping, Detail: detail, Live: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(buf) > MaxFrame {
				t.Errorf("%d bytes", len(buf))
			}
			var f Frame
			e, err := NewConn(bytes.NewBuffer(buf)).Read()
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Decode(&f); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(detail, f.Detail) || (detail != "" && f.Detail == "") {
				t.Errorf("detail %q", f.Detail)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	whole, err := encode(KindFrame, Frame{State: status.Running})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, in []byte) {
		c := NewConn(bytes.NewBuffer(in))
		for range len(in) + 1 {
			e, err := c.Read()
			if err != nil {
				return
			}
			var frame Frame
			_ = e.Decode(&frame) // must not panic; an error is fine
		}
		t.Error("more messages than bytes")
	})
}
