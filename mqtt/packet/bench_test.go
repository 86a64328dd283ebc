package packet

import (
	"bytes"
	"testing"
	"time"
)

// repeat is an endless stream of the same bytes.
type repeat struct {
	b []byte
	n int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.n:])
	r.n = (r.n + n) % len(r.b)
	return n, nil
}

// stream returns the encoding of p, often enough to fill reads.
func stream(tb testing.TB, v Version, p Packet) (one, many []byte) {
	tb.Helper()
	one, err := Append(nil, v, p)
	if err != nil {
		tb.Fatal(err)
	}
	return one, bytes.Repeat(one, 1+64<<10/len(one))
}

func BenchmarkRead(b *testing.B) {
	for version, rows := range vectors {
		for _, row := range rows {
			b.Run(version.String()+" "+row.name, func(b *testing.B) {
				one, many := stream(b, version, row.packet)
				r := NewReader(&repeat{b: many}, 0)
				r.SetVersion(version)
				b.SetBytes(int64(len(one)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Read(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for version, rows := range vectors {
		for _, row := range rows {
			b.Run(version.String()+" "+row.name, func(b *testing.B) {
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if dst, err = Append(dst[:0], version, row.packet); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(len(dst)))
			})
		}
	}
}

func BenchmarkReadLarge(b *testing.B) {
	one, many := stream(b, V5, &Publish{Topic: "a/b", Payload: make([]byte, 1<<20)})
	r := NewReader(&repeat{b: many}, 0)
	r.SetVersion(V5)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncoded(b *testing.B) {
	properties := PublishProperties{ContentType: new("application/json"), User: []UserProperty{{"site", "north"}}}
	encoded, err := EncodePublish(V5, "sensors/17/temperature", &properties)
	if err != nil {
		b.Fatal(err)
	}
	left := 10 * time.Second
	extra := PublishExtra{QoS: 1, PacketID: 1, Identifiers: []uint32{1}, Expiry: &left}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = encoded.Append(dst[:0], extra, 100)
	}
}
