package packet

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestReadPipelinedPackets(t *testing.T) {
	for version, rows := range vectors {
		var all []byte
		for range 50 { // several times the small buffer
			for _, row := range rows {
				all = append(all, row.bytes(t)...)
			}
		}
		for name, src := range map[string]io.Reader{
			"at once":              bytes.NewReader(all),
			"byte by byte":         iotest.OneByteReader(bytes.NewReader(all)),
			"in halves":            iotest.HalfReader(bytes.NewReader(all)),
			"with the end at once": iotest.DataErrReader(bytes.NewReader(all)),
		} {
			t.Run(version.String()+" "+name, func(t *testing.T) {
				r := NewReader(src, 0)
				r.SetVersion(version)
				for range 50 {
					for _, row := range rows {
						p, err := r.Read()
						require.NoError(t, err, row.name)
						require.Equal(t, row.packet, p)
					}
				}
				_, err := r.Read()
				require.Equal(t, io.EOF, err)
			})
		}
	}
}

func TestFirstPacket(t *testing.T) {
	_, err := NewReader(bytes.NewReader([]byte("\x30\x07\x00\x03a/bhi")), 0).Read()
	require.EqualError(t, err, "the first packet is not CONNECT but PUBLISH [MQTT-3.1.0-1]")

	for _, row := range []struct {
		name    string
		hex     string
		version Version
	}{
		{"CONNECT of 3.1", "10 0f 0006 4d5149736470 03 02 003c 0001 61", V31},
		{"a level to come", "10 0d 0004 4d515454 06 02 0000 00 0000", V5},
		{"a level long gone", "10 0c 0004 4d515454 02 02 0000 0000", V311},
		{"the level of a bridge", "10 0c 0004 4d515454 84 02 0000 0000", V311},
		{"CONNECT of 5.0 with a fault", "10 0d 0004 4d515454 05 03 0000 00 0000", V5},
		{"another protocol", "10 0c 0004 48545450 04 02 0000 0000", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(unhex(t, row.hex)), 0)
			require.Zero(t, r.Version())
			_, _ = r.Read()
			require.Equal(t, row.version, r.Version())
		})
	}
}

// TestLengths has a packet on each side of where a length needs another byte,
// and where a packet no longer fits a buffer.
func TestLengths(t *testing.T) {
	for _, remaining := range []int{
		127, 128, 16383, 16384, 2097151, 2097152,
		smallBuffer - 2, smallBuffer - 1, smallBuffer, smallBuffer + 1,
		largeBuffer - 1, largeBuffer, largeBuffer + 1, 2 * largeBuffer, 2*largeBuffer + 1, 10 * largeBuffer, 10*largeBuffer + 1,
	} {
		t.Run(strconv.Itoa(remaining), func(t *testing.T) {
			publish := &Publish{Topic: "a/b", Payload: bytes.Repeat([]byte("0123456789abcdef"), remaining/16+1)[:remaining-5]}
			b, err := Append(nil, V311, publish)
			require.NoError(t, err)
			require.Len(t, b, 1+varintSize(remaining)+remaining)

			src := bytes.NewReader(append(b, b...))
			r := NewReader(src, len(b))
			r.SetVersion(V311)
			for range 2 {
				p, err := r.Read()
				require.NoError(t, err)
				require.Equal(t, publish, p)
			}
			_, err = r.Read()
			require.Equal(t, io.EOF, err)

			src.Reset(b)
			r.SetMaxPacket(len(b) - 1)
			_, err = r.Read()
			require.EqualError(t, err, "PUBLISH: the packet is over the maximum packet size")
		})
	}
}

const qos1 = "32 09 0003 612f62 000a 6869" // a PUBLISH of 3.1.1

func TestReadErrors(t *testing.T) {
	whole := unhex(t, qos1)
	for n := range whole {
		r := NewReader(bytes.NewReader(whole[:n]), 0)
		r.SetVersion(V311)
		_, err := r.Read()
		if n == 0 {
			require.Equal(t, io.EOF, err)
		} else {
			require.Equal(t, io.ErrUnexpectedEOF, err, n)
		}
	}

	t.Run("a large packet that is cut short", func(t *testing.T) {
		b, err := Append(nil, V311, &Publish{Topic: "a", Payload: make([]byte, 1<<20)})
		require.NoError(t, err)
		_, err = readerOf(V311, b[:1<<19]).Read()
		require.Equal(t, io.ErrUnexpectedEOF, err)
	})
	t.Run("an error of the connection", func(t *testing.T) {
		broken := errors.New("broken")
		r := NewReader(io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(broken)), 0)
		r.SetVersion(V311)
		_, err := r.Read()
		require.NoError(t, err)
		_, err = r.Read()
		require.Equal(t, broken, err)
	})
	t.Run("a connection that returns nothing for ever", func(t *testing.T) {
		_, err := NewReader(readFunc(func([]byte) (int, error) { return 0, nil }), 0).Read()
		require.Equal(t, io.ErrNoProgress, err)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestMemoryFollowsWhatArrives(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readerOf(V311, unhex(t, "30 ff ff ff 7f 0001 61")).Read() // 256 MB are announced
	runtime.ReadMemStats(&after)
	require.Equal(t, io.ErrUnexpectedEOF, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10))
}

func TestIdleReaderHoldsASmallBuffer(t *testing.T) {
	data := bytes.Repeat(unhex(t, qos1), 10_000)
	var r *Reader
	var large bool
	r = NewReader(readFunc(func(p []byte) (int, error) {
		if r.Buffered() == 0 {
			require.Len(t, p, smallBuffer)
			require.Nil(t, r.large)
		}
		large = large || len(p) > smallBuffer
		n := copy(p, data[:min(len(data), 5000)])
		data = data[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}), 0)
	r.SetVersion(V311)
	for range 10_000 {
		_, err := r.Read()
		require.NoError(t, err)
	}
	_, err := r.Read()
	require.Equal(t, io.EOF, err)
	require.True(t, large)
}

func TestPacketsOwnTheirBytes(t *testing.T) {
	properties := PublishProperties{CorrelationData: []byte("data"), User: []UserProperty{{"name", "value"}}}
	first := &Publish{Topic: "first", Payload: []byte("payload"), Properties: properties}
	second := &Publish{Topic: "other", Payload: []byte("another"), Properties: PublishProperties{CorrelationData: []byte("atad")}}
	b, err := Append(nil, V5, first)
	require.NoError(t, err)
	b, err = Append(b, V5, second)
	require.NoError(t, err)

	r := NewReader(iotest.HalfReader(bytes.NewReader(b)), 0)
	r.SetVersion(V5)
	p, err := r.Read()
	require.NoError(t, err)
	_, err = r.Read()
	require.NoError(t, err)
	clear(r.small[:])
	require.Equal(t, first, p)
}

func TestAllocations(t *testing.T) {
	publish := &Publish{Topic: "sensors/17/temperature", Payload: make([]byte, 100)}
	_, many := stream(t, V5, publish)
	r := NewReader(&repeat{b: many}, 0)
	r.SetVersion(V5)
	require.Equal(t, 2, int(testing.AllocsPerRun(1000, func() { // the packet and its payload
		if _, err := r.Read(); err != nil {
			panic(err)
		}
	})))

	dst := make([]byte, 0, 1000)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := Append(dst, V5, publish); err != nil {
			panic(err)
		}
	}))
}

func FuzzReader(f *testing.F) {
	for version, rows := range vectors {
		for _, row := range rows {
			f.Add(byte(version), row.bytes(f))
		}
	}
	for version, rows := range refusals {
		for _, row := range rows {
			f.Add(byte(version), unhex(f, row.hex))
		}
	}
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		const maxPacket = 1 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := NewReader(bytes.NewReader(b), maxPacket)
		r.SetVersion([]Version{V311, V5, 0, V31}[version%4]) // the seeds are read in their own
		var packets []Packet
		var versions []Version
		var err error
		for err == nil {
			var p Packet
			if p, err = r.Read(); err == nil {
				packets, versions = append(packets, p), append(versions, r.Version())
			}
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+200*len(b)))

		for i, p := range packets {
			encoded, err := Append(nil, versions[i], p)
			require.NoError(t, err)
			again := NewReader(bytes.NewReader(encoded), 0)
			again.SetVersion(versions[i])
			q, err := again.Read()
			require.NoError(t, err)
			require.Equal(t, p, q)
			require.Zero(t, again.Buffered())
		}
	})
}
