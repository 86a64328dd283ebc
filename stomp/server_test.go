package stomp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestConnected(t *testing.T) {
	for _, tt := range []struct{ name, connect, connected string }{
		{"S32 S33 S47 1.0 gets version, session and no heart-beats", "CONNECT\n\n^@", "CONNECTED version:1.0 session:$ heart-beat:0,0 server:causeway/1"},
		{"S32 S47 1.2 is told what we offer, not zero", "CONNECT\naccept-version:1.2\nheart-beat:500,0\n\n^@", "CONNECTED version:1.2 session:$ heart-beat:10000,10000 server:causeway/1"},
		{"S38 a receipt comes with CONNECTED", "CONNECT\naccept-version:1.1\nreceipt:a\\c\n\n^@", `CONNECTED version:1.1 session:$ heart-beat:10000,10000 server:causeway/1 receipt-id:a\c`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFakeBroker()
			b.connect = func(c *Connect) error {
				b.event("session %s", c.Session)
				return nil
			}
			_, dial := startServer(t, b, func(c *Config) { c.ServerName = "causeway/1" })
			p := dial()
			p.write(tt.connect)
			p.session = strings.TrimPrefix(<-b.events, "session ")
			require.NotEmpty(t, p.session)
			p.expect(tt.connected)
		})
	}
}

func TestS34TheServerHeaderCanBeHidden(t *testing.T) {
	_, dial := startServer(t, newFakeBroker())
	_, ok := dial().connect(v12).Header.Get("server")
	require.False(t, ok)
}

func TestS35ARefusedConnectSaysWhyAndNoMore(t *testing.T) {
	b := newFakeBroker()
	b.connect = func(c *Connect) error {
		if c.Login == "" {
			return errors.New("the secret store is on fire")
		}
		return &Error{Message: "access refused", Err: errors.New("wrong password")}
	}
	s, dial := startServer(t, b)
	p := dial()
	p.play(b, "> CONNECT\nlogin:l\npasscode:secret\nreceipt:r\n\n^@", "< ERROR message:access refused receipt-id:r", "end")
	dial().play(b, "> CONNECT\n\n^@", "< ERROR message:internal error", "end")
	require.EqualValues(t, 2, s.Stats().ConnectsRefused)
}

func TestS39AClientIDIsHandedOver(t *testing.T) {
	b := newFakeBroker()
	b.connect = func(c *Connect) error {
		b.event("%s@%s %s", c.ClientID, c.Host, c.Header.Value("x"))
		return nil
	}
	_, dial := startServer(t, b)
	dial().play(b, "> CONNECT\nclient-id: me\nhost:h\nx:y\n\n^@", "! me@h y")
}

func TestS53SendFailureIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.send = func(_ *frame.Frame, done func(error)) { done(&Error{Message: "no such thing", Detail: "Try another."}) }
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/q\nreceipt:r\n\nx^@", "< ERROR message:no such thing receipt-id:r content-type:text/plain content-length:12 | Try another.", "end", "! close no such thing")
	require.EqualValues(t, 1, s.Stats().Errors)
}

func TestS58SubscriptionFailureIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.subscribe = func(_ *Subscription, done func(error)) { done(errors.New("boom")) }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SUBSCRIBE\nid:1\ndestination:/q\n\n^@", "< ERROR message:internal error", "end", "! close boom")
}

func TestAFailedSettlementIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.settle = func(token uint64, _ error, done func(error)) {
		if token == 2 {
			done(&Error{Message: "gone"})
			return
		}
		done(nil)
	}
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed, sendThree, firstOfThree, secondOfThree, thirdOfThree,
		"> ACK\nid:$-1-3\nreceipt:r\n\n^@", "< ERROR message:gone receipt-id:r", "end")
}

func TestS69ARedeliveryIsMarked(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed)
	s := b.only()
	for subscription := range s.subscriptions {
		m := &Message{Destination: "/q"}
		require.True(t, s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 3}))
		require.True(t, s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 1, Retained: true}))
	}
	p.expect("MESSAGE subscription:1 message-id:$-1-1 redelivered:true delivery-count:3 destination:/q")
	p.expect("MESSAGE subscription:1 message-id:$-1-2 retained:true destination:/q")
}

func TestS75AReceiptWaitsForTheBroker(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:1\n\nx^@BEGIN\ntransaction:t\nreceipt:2\n\n^@DISCONNECT\nreceipt:3\n\n^@")
	done := <-stored
	require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
	b.await(t, "connect 1.2 /")
	require.Empty(t, b.events, "the session is not closed before all is answered")
	done(nil)
	p.play(b, "< RECEIPT receipt-id:1", "< RECEIPT receipt-id:2", "< RECEIPT receipt-id:3", "end")
}

func TestS76ReceiptsAreInTheOrderOfTheFrames(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 3)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:1\n\n^@SEND\ndestination:/q\nreceipt:2\n\n^@SEND\ndestination:/q\nreceipt:3\n\n^@")
	first, second, third := <-stored, <-stored, <-stored
	third(nil)
	first(nil)
	p.expect("RECEIPT receipt-id:1")
	second(&Error{Message: "no"})
	p.play(b, "< ERROR message:no receipt-id:2", "end")
}

func TestS77AReceiptComesBeforeTheFirstMessage(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	b.subscribe = func(_ *Subscription, done func(error)) {
		done(nil)
		b.publish(&frame.Frame{Header: frame.Header{{Name: "destination", Value: "/q"}}})
		b.event("published")
	}
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/other\nreceipt:1\n\n^@", subscribe, "! published")
	(<-stored)(nil)
	p.play(b, "< RECEIPT receipt-id:1", subscribed, "< MESSAGE subscription:1 message-id:$-1-1 destination:/q")
}

// A PHP page sends, disconnects without a receipt and closes at once.
func TestS41FramesBeforeAHastyEndAreProcessed(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.write("CONNECT\nlogin:guest\npasscode:guest\n\n^@" + many(30, "SEND\ndestination:/q\n\n%d^@") + "DISCONNECT\n\n^@")
	require.NoError(t, p.conn.Close())
	b.await(t, "send /q 29")
	b.await(t, "close <nil>")
}

// S41, S79: input that nobody reads would make the system reset the connection
// and drop the ERROR.
func TestAnErrorArrivesInSpiteOfUnreadInput(t *testing.T) {
	_, dial := startServer(t, newFakeBroker())
	p := dial()
	p.connect(v12)
	p.write("FOO\n\n^@" + strings.Repeat("\n", 1<<20))
	p.expectError("unknown command FOO")
}

// Q3: one line end follows each NUL, in the same write.
func TestQ3OneLineEndFollowsEachNUL(t *testing.T) {
	for _, trailing := range []bool{true, false} {
		t.Run(strconv.FormatBool(trailing), func(t *testing.T) {
			_, dial := startServer(t, newFakeBroker(), func(c *Config) { c.TrailingNewline = trailing })
			p := dial()
			p.write("CONNECT\n\n^@SUBSCRIBE\ndestination:/q\nreceipt:r\n\n^@" + many(2, "SEND\ndestination:/q\n\n%d^@") + "DISCONNECT\nreceipt:s\n\n^@")
			got, err := io.ReadAll(p.conn)
			require.NoError(t, err)
			ends := bytes.Count(got, []byte("\x00\n"))
			if trailing {
				require.Equal(t, 5, ends, "%q", got)
			} else {
				require.Zero(t, ends, "%q", got)
			}
			require.Equal(t, 5, bytes.Count(got, []byte{0}))
			require.NotContains(t, string(got), "\x00\n\n")
		})
	}
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed)
	for _, size := range []int{byReference - 1, byReference, 3 * byReference, 1 << 20} {
		body := strings.Repeat("x", size)
		p.write("SEND\ndestination:/q\n\n" + body + "^@")
		require.Equal(t, body, string(p.read().Body))
		p.write("SEND\ndestination:/q\n\nsmall^@")
		require.Equal(t, "small", string(p.read().Body))
	}
}

func TestASlowClientIsOfferedNoMoreThanFits(t *testing.T) {
	b := newFakeBroker()
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed)
	session := b.only()
	var subscription *Subscription
	for subscription = range session.subscriptions {
	}
	m := &Message{Destination: "/q", Body: bytes.Repeat([]byte{'x'}, 64<<10)}
	offered := 0
	for session.peer.Offer(Delivery{Message: m, Subscription: subscription, Token: uint64(offered + 1), Attempt: 1}) {
		offered++
		require.Less(t, offered, 10_000)
	}
	require.EqualValues(t, 1, s.Stats().Denied)
	for range offered {
		require.Len(t, p.read().Body, 64<<10)
	}
	b.await(t, "ready")
	require.True(t, session.peer.Offer(Delivery{Message: m, Subscription: subscription, Token: 1 << 32, Attempt: 1}))
	p.read()
}

func TestAReaderWaitsForTheBroker(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 5000)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write(many(maxAnswers, "SEND\ndestination:/q\nn:%d\n\n^@"))
	dones := make([]func(error), maxAnswers)
	for i := range dones {
		dones[i] = <-stored
	}
	p.write(many(1000, "SEND\ndestination:/q\nn:%d\nreceipt:r\n\n^@"))
	require.Empty(t, stored)
	for _, done := range dones[:maxAnswers/2] {
		done(nil)
	}
	for range maxAnswers / 2 {
		defer (<-stored)(nil)
	}
	require.Empty(t, stored)
	for _, done := range dones[maxAnswers/2:] {
		done(nil)
	}
	for range maxAnswers / 2 {
		(<-stored)(nil)
	}
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	b := newFakeBroker()
	b.send = func(*frame.Frame, func(error)) { panic("bug") }
	_, dial := startServer(t, b, func(c *Config) { c.ShutdownGrace = 1 })
	other := dial()
	other.connect(v12)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/q\nreceipt:r\n\n^@", "error internal error", "! close panic: bug")
	other.play(b, subscribe, subscribed)
}

func TestTheBrokerCanEndAConnection(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	b.only().peer.End(&Error{Message: "somebody else uses this client-id"})
	p.play(b, "error somebody else uses this client-id", "! close somebody else uses this client-id")
}

func TestShutdownAnswersFirstAndSaysSo(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	s := &Server{Config: DefaultConfig(), Broker: b, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, shutdown := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	p := newPeer(t, nc)
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:r\n\n^@")
	done := <-stored
	shutdown()
	select {
	case err := <-served:
		require.NoError(t, err)
		require.Fail(t, "Serve left a client behind")
	default:
	}
	done(nil)
	p.expect("RECEIPT receipt-id:r")
	p.expectError("the server is shutting down")
	require.NoError(t, nc.Close())
	require.NoError(t, <-served)
	b.await(t, "close the server is shutting down")
	require.Zero(t, s.Stats().Connections)
}

func TestServeReportsAListenerThatFailed(t *testing.T) {
	s := &Server{Config: DefaultConfig(), Broker: newFakeBroker(), Logger: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorIs(t, s.Serve(t.Context(), l), net.ErrClosed)
}

func TestStats(t *testing.T) {
	b := newFakeBroker()
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@")
	p.read()
	b.await(t, "settle 1 <nil>")
	require.EqualValues(t, 1, s.Stats().Clients)
	p.play(b, "> DISCONNECT\n\n^@", "end", "! close <nil>")
	got := s.Stats()
	require.EqualValues(t, 1, got.Accepted)
	require.EqualValues(t, 4, got.FramesReceived)
	require.EqualValues(t, 3, got.FramesSent)
	require.EqualValues(t, 1, got.Published)
	require.EqualValues(t, 1, got.Delivered)
	require.Zero(t, got.Clients)
	require.Positive(t, got.BytesReceived)
	require.Positive(t, got.BytesSent)
}

func TestConfigFaultsAreNamed(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	err := Config{HeartBeat: 1, ShutdownGrace: -1}.Validate()
	for _, key := range []string{"max_message", "heart_beat", "connect_timeout", "shutdown_grace"} {
		require.ErrorContains(t, err, key)
	}
}

func TestReceiptsKeepTheirOrderWhoeverCompletesThem(t *testing.T) {
	b := newFakeBroker()
	b.send = func(_ *frame.Frame, done func(error)) { go done(nil) }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	const n = 3000
	go func() {
		_, _ = io.WriteString(p.conn, strings.ReplaceAll(many(n, "SEND\ndestination:/q\nreceipt:%d\n\nx^@\n"), "^@", "\x00"))
	}()
	for i := range n {
		p.expect("RECEIPT receipt-id:" + strconv.Itoa(i))
	}
}

// What is offered until the broker has closed the subscription can be acknowledged.
func TestAMessageThatCrossesUnsubscribeCanBeAcknowledged(t *testing.T) {
	b := newFakeBroker()
	unsubscribed := make(chan func(error), 1)
	b.unsubscribe = func(_ *Subscription, done func(error)) { unsubscribed <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed)
	s := b.only()
	var subscription *Subscription
	for subscription = range s.subscriptions {
	}
	p.write("UNSUBSCRIBE\nid:1\nreceipt:u\n\n^@")
	done := <-unsubscribed
	require.True(t, s.peer.Offer(Delivery{Message: &Message{Destination: "/q"}, Subscription: subscription, Token: 7, Attempt: 1}))
	done(nil)
	p.play(b, "< MESSAGE subscription:1 message-id:$-1-1 ack:$-1-1 destination:/q", "< RECEIPT receipt-id:u",
		subscribe, subscribed, "> ACK\nid:$-1-1\n\n^@", "! settle 7 <nil>", "> UNSUBSCRIBE\nid:1\n\n^@")
	(<-unsubscribed)(nil)
	p.play(b, subscribe, subscribed, "> ACK\nid:$-1-1\n\n^@", "error ACK of an unknown message")
}

func TestOffersFromManyGoroutines(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeIndividual, subscribed)
	s := b.only()
	var subscription *Subscription
	for subscription = range s.subscriptions {
	}
	const senders, each = 8, 500
	m := &Message{Destination: "/q", Body: []byte("x")}
	for range senders {
		go func() {
			for range each {
				s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 1})
			}
		}()
	}
	for i := range senders * each {
		p.expect(fmt.Sprintf("MESSAGE subscription:1 message-id:$-1-%d ack:$-1-%[1]d destination:/q content-length:1 | x", i+1))
	}
}
