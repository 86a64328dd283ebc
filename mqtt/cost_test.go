package mqtt

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// leanSession takes everything and costs nothing.
type leanSession struct{ peer Peer }

func leanBroker(sessions chan<- leanSession) Broker {
	return brokerFunc(func(peer Peer, _ *Connect) (Connected, error) {
		s := leanSession{peer}
		if sessions != nil {
			sessions <- s
		}
		return Connected{Session: s}, nil
	})
}

func (leanSession) Publish(_ context.Context, _ *packet.Publish, done func(error)) {
	if done != nil {
		done(nil)
	}
}

func (leanSession) Subscribe(_ context.Context, p *packet.Subscribe, done func([]packet.ReasonCode)) {
	done(make([]packet.ReasonCode, len(p.Filters)))
}

func (leanSession) Unsubscribe(_ context.Context, p *packet.Unsubscribe, done func([]packet.ReasonCode)) {
	done(make([]packet.ReasonCode, len(p.Filters)))
}
func (leanSession) Forget(_ uint16, done func(error))  { done(nil) }
func (leanSession) Settle(uint64, error)               {}
func (leanSession) Release(_ uint64, done func(error)) { done(nil) }
func (leanSession) Ready()                             {}
func (leanSession) Close(End)                          {}

// residentBytes is what the heap and the stacks hold after a collection.
func residentBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestIdleConnectionCostsAtMost12KiB(t *testing.T) {
	const n = 400
	l := listen(t)
	s := newServer(t, leanBroker(nil))
	s.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // formatting is what needs a deep stack
	clients := make([]*wire, n)
	for i := range clients {
		clients[i] = dialWire(t, l.Addr().String(), packet.V5)
	}
	before := residentBytes()
	serveOn(t, s, l)
	for _, w := range clients {
		w.join(&packet.Connect{CleanStart: true, KeepAlive: time.Minute})
		w.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: "a", QoS: 1}}})
		w.expect(&packet.Suback{PacketID: 1, Reasons: []packet.ReasonCode{0}})
		w.send(&packet.Publish{Topic: "a", QoS: 1, PacketID: 1, Payload: make([]byte, 2000)})
		w.expect(&packet.Puback{Answer: acks(1)})
	}
	each := (residentBytes() - before) / n
	t.Logf("%d bytes", each)
	require.Less(t, each, uint64(12<<10))
	for _, w := range clients {
		w.nc.Close()
	}
}

// discard is a connection to a client that reads everything at once.
type discard struct {
	net.Conn
	writes, bytes atomic.Int64
	wrote         chan struct{}
}

func (d *discard) Write(b []byte) (int, error) {
	d.writes.Add(1)
	d.bytes.Add(int64(len(b)))
	select {
	case d.wrote <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (*discard) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkDeliver offers one message after the other to one client.
func BenchmarkDeliver(b *testing.B) {
	for _, bench := range []struct {
		name    string
		version packet.Version
		qos     packet.QoS
	}{
		{"3.1.1 QoS 0", packet.V311, 0},
		{"5.0 QoS 0", packet.V5, 0},
		{"5.0 QoS 1", packet.V5, 1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c, nc := benchConn(b, bench.version)
			m := &Message{Topic: "sensors/7/temperature", Payload: make([]byte, 256)}
			b.SetBytes(256)
			b.ReportAllocs()
			var token uint64
			for b.Loop() {
				d := Delivery{Message: m, QoS: bench.qos, Token: token, Attempt: 1}
				for !c.Offer(d) {
					<-nc.wrote
				}
				if bench.qos > 0 {
					id := uint16(1 + token%65535)
					if err := c.handlePuback(&packet.Puback{Answer: packet.Answer{PacketID: id}}); err != nil {
						b.Fatal(err)
					}
					token++
				}
			}
			b.ReportMetric(float64(nc.writes.Load())/float64(b.N), "writes/op")
		})
	}
}

// BenchmarkPublish takes publishes of one client, decoded already.
func BenchmarkPublish(b *testing.B) {
	for _, qos := range []packet.QoS{0, 1} {
		b.Run("QoS "+string('0'+rune(qos)), func(b *testing.B) {
			c, _ := benchConn(b, packet.V5)
			p := &packet.Publish{Topic: "a", QoS: qos, PacketID: 1}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.handlePublish(b.Context(), p); err != nil {
					b.Fatal(err)
				}
				if !c.awaitRoom() {
					b.Fatal("ended")
				}
			}
		})
	}
}

// benchConn returns a connection past CONNECT whose reader does not run.
func benchConn(b *testing.B, v packet.Version) (*conn, *discard) {
	b.Helper()
	near, far := net.Pipe()
	b.Cleanup(func() { near.Close() })
	nc := &discard{Conn: far, wrote: make(chan struct{}, 1)}
	s := &Server{Config: DefaultConfig(), Broker: leanBroker(nil), Logger: discardLog}
	c := newConn(s, nc)
	c.end = func(error) {}
	go func() { _, _ = io.Copy(io.Discard, near) }()
	if err := c.handleConnect(b.Context(), &packet.Connect{Version: v, ClientID: "c", CleanStart: true}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.writers.Wait)
	return c, nc
}

// relaySession hands what its client publishes to another client.
type relaySession struct {
	leanSession
	to    *Peer
	ready chan struct{}
}

func (s relaySession) Publish(_ context.Context, p *packet.Publish, done func(error)) {
	m := &Message{Topic: p.Topic, Payload: p.Payload}
	for !(*s.to).Offer(Delivery{Message: m, Attempt: 1}) {
		<-s.ready
	}
	if done != nil {
		done(nil)
	}
}

func (s relaySession) Ready() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// BenchmarkRelay sends messages of 256 bytes from one client to another over
// the loopback interface, 100 to a write.
func BenchmarkRelay(b *testing.B) {
	for _, qos := range []packet.QoS{0, 1} {
		b.Run("QoS "+string('0'+rune(qos)), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			var to Peer
			ready := make(chan struct{}, 1)
			broker := brokerFunc(func(peer Peer, c *Connect) (Connected, error) {
				if c.ClientID == "to" {
					to = peer
				}
				return Connected{Session: relaySession{leanSession{peer}, &to, ready}}, nil
			})
			s := &Server{Config: DefaultConfig(), Broker: broker, Logger: discardLog}
			ctx, stop := context.WithCancel(b.Context())
			served := make(chan error, 1)
			go func() { served <- s.Serve(ctx, l) }()

			dial := func(id string) net.Conn {
				nc, err := net.Dial("tcp", l.Addr().String())
				require.NoError(b, err)
				hello, err := packet.Append(nil, packet.V311, &packet.Connect{Version: packet.V311, ClientID: id, CleanStart: true})
				require.NoError(b, err)
				_, err = nc.Write(hello)
				require.NoError(b, err)
				_, err = io.ReadFull(nc, make([]byte, 4))
				require.NoError(b, err)
				return nc
			}
			receiver, sender := dial("to"), dial("from")
			m := &packet.Publish{Topic: "a/b", QoS: qos, PacketID: qosID(qos), Payload: make([]byte, 256)}
			one, err := packet.Append(nil, packet.V311, m)
			require.NoError(b, err)
			batch := bytes.Repeat(one, 100)
			size := int64(len(one) - 2*int(qos))
			go func() { _, _ = io.Copy(io.Discard, sender) }()

			b.SetBytes(256)
			b.ReportAllocs()
			received := make(chan struct{})
			go func() {
				defer close(received)
				_, _ = io.CopyN(io.Discard, receiver, size*int64(b.N))
			}()
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += 100 {
				_, err := sender.Write(batch[:min(100, b.N-sent)*len(one)])
				require.NoError(b, err)
			}
			<-received
			b.StopTimer()
			sender.Close()
			receiver.Close()
			stop()
			require.NoError(b, <-served)
		})
	}
}

func qosID(qos packet.QoS) uint16 { return uint16(min(qos, 1)) }
