package frame

import (
	"bytes"
	"testing"
)

func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		name string
		size int
	}{{"64 B", 64}, {"1 KiB", 1 << 10}, {"64 KiB", 64 << 10}} {
		b.Run(bb.name, func(b *testing.B) {
			wire := Append(nil, V12, benchFrame(bb.size))
			r := NewReader(&loop{wire: wire}, testLimits)
			r.SetVersion(V12)
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	f := benchFrame(1 << 10)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = Append(dst[:0], V12, f)
	}
	b.SetBytes(int64(len(dst)))
}

func benchFrame(size int) *Frame {
	return &Frame{Send, Header{
		{"destination", "/queue/orders.eu"},
		{"content-type", "application/json"},
		{"receipt", "message-12345"},
		{"correlation-id", "6f1a7c2e"},
	}, bytes.Repeat([]byte{'x'}, size)}
}
