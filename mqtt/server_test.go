package mqtt

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestP1PublishAtEachQoSReachesASubscriber(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			address := serve(t, newFakeBroker())
			to := dialWire(t, address, v)
			require.Equal(t, connack(v), to.join(&packet.Connect{ClientID: "to", CleanStart: true}))
			to.send(&packet.Subscribe{PacketID: 7, Filters: []packet.Filter{{Topic: "a/b", QoS: 2}}})
			to.expect(&packet.Suback{PacketID: 7, Reasons: []packet.ReasonCode{2}})

			from := dialWire(t, address, v)
			from.join(&packet.Connect{ClientID: "from", CleanStart: true})
			from.send(
				&packet.Publish{Topic: "a/b", Payload: []byte("zero")},
				&packet.Publish{Topic: "a/b", QoS: 1, PacketID: 1, Payload: []byte("one")},
				&packet.Publish{Topic: "a/b", QoS: 2, PacketID: 2, Payload: []byte("two")},
			)
			from.expect(&packet.Puback{Answer: acks(1)}, &packet.Pubrec{Answer: acks(2)})
			from.send(&packet.Pubrel{Answer: acks(2)})
			from.expect(&packet.Pubcomp{Answer: acks(2)})

			to.expect(
				&packet.Publish{Topic: "a/b", Payload: []byte("zero")},
				&packet.Publish{Topic: "a/b", QoS: 1, PacketID: 2, Payload: []byte("one")},
				&packet.Publish{Topic: "a/b", QoS: 2, PacketID: 3, Payload: []byte("two")},
			)
			to.send(&packet.Puback{Answer: acks(2)}, &packet.Pubrec{Answer: acks(3)})
			to.expect(&packet.Pubrel{Answer: acks(3)})
			to.send(&packet.Pubcomp{Answer: acks(3)})
		})
	}
}

func TestStatsCountWhatHappens(t *testing.T) {
	b := newFakeBroker()
	b.publish = func(p *packet.Publish, done func(error)) {
		if p.QoS > 0 {
			done(map[packet.QoS]error{2: &Error{Reason: packet.QuotaExceeded}}[p.QoS])
		}
	}
	s, address, stop := serveUntil(t, b)
	w := dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
	again := publish(2, 2)
	again.Dup = true
	w.send(publish(0, 0), publish(1, 1), publish(2, 2), again)
	refused := &packet.Pubrec{Answer: packet.Answer{PacketID: 2, Reason: packet.QuotaExceeded}}
	w.expect(&packet.Puback{Answer: acks(1)}, refused, refused)
	session := <-b.connected
	require.True(t, session.peer.Offer(Delivery{Message: message("a", "x"), Attempt: 1}))
	w.expect(&packet.Publish{Topic: "a", Payload: []byte("x")})
	require.Equal(t, int64(1), s.Stats().Connections)
	require.Equal(t, int64(1), s.Stats().Clients)
	w.send(&packet.Disconnect{})
	<-session.ended
	w.nc.Close()
	stop()
	got := s.Stats()
	require.Positive(t, got.BytesReceived)
	require.Positive(t, got.BytesSent)
	got.BytesReceived, got.BytesSent = 0, 0
	require.Equal(t, Stats{Accepted: 1, PacketsReceived: 6, PacketsSent: 5, Published: 4, PublishesRefused: 2, Delivered: 1}, got)
}

func TestServeReturnsWhenTheListenerIsClosed(t *testing.T) {
	l := listen(t)
	b := newFakeBroker()
	s := newServer(t, b)
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), l) }()
	w := dialWire(t, l.Addr().String(), packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
	l.Close()
	w.expectEnd(packet.ServerShuttingDown)
	w.nc.Close()
	require.ErrorIs(t, <-served, net.ErrClosed)
	require.Zero(t, s.Stats().Connections)
	require.Zero(t, s.Stats().Clients)
}

// failing is a listener that has no file descriptor left at first.
type failing struct {
	net.Listener
	once sync.Once
}

func (f *failing) Accept() (net.Conn, error) {
	var err error
	f.once.Do(func() { err = errors.New("too many open files") })
	if err != nil {
		return nil, err
	}
	return f.Listener.Accept()
}

func TestServeSurvivesAFailedAccept(t *testing.T) {
	l := &failing{Listener: listen(t)}
	serveOn(t, newServer(t, newFakeBroker()), l)
	w := dialWire(t, l.Addr().String(), packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
}

// record is what is logged of a connection's end.
type record struct {
	slog.Handler
	ends chan slog.Record
}

func (r record) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r record) Enabled(context.Context, slog.Level) bool { return true }
func (r record) Handle(_ context.Context, l slog.Record) error {
	if l.Message == "connection ended" {
		r.ends <- l
	}
	return nil
}

func TestTheEndOfAConnectionIsLoggedOnceWithItsCause(t *testing.T) {
	for _, test := range []struct {
		name  string
		said  []byte
		level slog.Level
		text  string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), slog.LevelWarn, "the client speaks HTTP, not MQTT"},
		{"STOMP", []byte("CONNECT\naccept-version:1.2\n\n\x00"), slog.LevelWarn, "the client speaks STOMP, not MQTT"},
		{"TLS", []byte{0x16, 3, 1, 2, 0}, slog.LevelWarn, "the client speaks TLS, not MQTT"},
		{"a client that says nothing", nil, slog.LevelInfo, "connection closed without DISCONNECT"},
		{"a client that leaves", unhex(t, "100d 0004 4d515454 04 02 0000 0001 63 e000"), slog.LevelInfo, "client disconnected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ends := make(chan slog.Record, 10)
			s := newServer(t, leanBroker(nil))
			s.Logger = slog.New(record{slog.DiscardHandler, ends})
			near, far := net.Pipe()
			go func() {
				_, _ = near.Write(test.said)
				near.Close()
			}()
			s.serveConn(t.Context(), far)
			r := <-ends
			require.Equal(t, test.level, r.Level)
			r.Attrs(func(a slog.Attr) bool {
				if a.Key == "error" {
					require.ErrorContains(t, a.Value.Any().(error), test.text)
				}
				return true
			})
			require.Empty(t, ends)
		})
	}
}

func TestConfigNamesWhatIsOutOfRange(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	err := Config{
		MaxMessage: 10, ReceiveMaximum: 65536, MaxSessionExpiry: -1, ShutdownGrace: -1, MaxKeepAlive: 100 * time.Hour, TopicAliasMax: -1,
	}.Validate()
	for _, key := range []string{
		"max_message", "receive_maximum", "max_inflight", "max_session_expiry", "connect_timeout", "shutdown_grace", "max_keep_alive", "topic_alias_max",
	} {
		require.ErrorContains(t, err, key+": ")
	}
}

func TestOutboxGivesBackWhatItTook(t *testing.T) {
	var o outbox
	b := append(o.begin(), "one"...)
	require.Equal(t, 3, o.commit(b, nil))
	b = append(o.begin(), "two"...)
	require.Equal(t, 8, o.commit(b, []byte("large")))
	b = append(o.begin(), "three"...)
	require.Equal(t, 5, o.commit(b, nil))
	require.Equal(t, 16, o.size)
	chunks := o.take(nil)
	var all bytes.Buffer
	for _, k := range chunks {
		all.Write(k.bytes)
	}
	require.Equal(t, "onetwolargethree", all.String())
	require.Len(t, chunks, 3)
	release(chunks)
	require.Empty(t, o.take(nil))
}
