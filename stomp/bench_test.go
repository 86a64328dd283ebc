package stomp

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// fanOut is a broker that offers each SEND to one subscription, as often as
// it takes.
type fanOut struct {
	subscription chan *Subscription
	peer         chan Peer
	ready        chan struct{}
}

type fanOutSession struct {
	*fanOut
	peer         Peer
	subscription *Subscription
	receiver     Peer
}

func (b *fanOut) Connect(_ context.Context, peer Peer, _ *Connect) (Session, error) {
	return &fanOutSession{fanOut: b, peer: peer}, nil
}

func (s *fanOutSession) Send(_ context.Context, f *frame.Frame, done func(error)) {
	if s.subscription == nil {
		s.subscription, s.receiver = <-s.fanOut.subscription, <-s.fanOut.peer
	}
	d := Delivery{Message: &Message{Destination: "/q", Body: f.Body}, Subscription: s.subscription, Token: 1, Attempt: 1}
	for !s.receiver.Offer(d) {
		<-s.ready
	}
	done(nil)
}

func (s *fanOutSession) Subscribe(_ context.Context, subscription *Subscription, done func(error)) {
	s.fanOut.subscription <- subscription
	s.fanOut.peer <- s.peer
	done(nil)
}

func (s *fanOutSession) Ready() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (*fanOutSession) Unsubscribe(_ *Subscription, _ frame.Header, done func(error)) { done(nil) }
func (*fanOutSession) Commit(_ context.Context, _ []Step, done func(error))          { done(nil) }
func (*fanOutSession) Settle(_ uint64, _ error, done func(error))                    { done(nil) }
func (*fanOutSession) Close(error)                                                   {}

// BenchmarkRelay moves messages of 100 bytes from one client to another.
func BenchmarkRelay(b *testing.B) {
	broker := &fanOut{make(chan *Subscription, 1), make(chan Peer, 1), make(chan struct{}, 1)}
	s := &Server{Config: DefaultConfig(), Broker: broker, Logger: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	from, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	to, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	_, err = io.WriteString(to, "CONNECT\naccept-version:1.2\n\n\x00SUBSCRIBE\nid:1\ndestination:/q\n\n\x00")
	require.NoError(b, err)
	_, err = io.WriteString(from, "CONNECT\naccept-version:1.2\n\n\x00")
	require.NoError(b, err)
	send := []byte("SEND\ndestination:/q\ncontent-length:100\n\n" + strings.Repeat("x", 100) + "\x00\n")

	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		chunk := bytes.Repeat(send, 100)
		for n := b.N; n > 0; n -= 100 {
			if _, err := from.Write(chunk[:len(send)*min(n, 100)]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 256<<10)
	for nuls := 0; nuls <= b.N; { // CONNECTED too
		n, err := to.Read(buffer)
		require.NoError(b, err)
		nuls += bytes.Count(buffer[:n], []byte{0})
	}
	b.StopTimer()
	_, _ = from.Close(), to.Close()
	cancel()
	require.NoError(b, <-served)
}
