package stomp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBroker keeps everything in memory: each subscription gets what is sent to
// its destination. Behaviour is replaced by setting its functions.
type fakeBroker struct {
	connect     func(*Connect) error
	send        func(f *frame.Frame, done func(error))
	subscribe   func(s *Subscription, done func(error))
	unsubscribe func(s *Subscription, done func(error))
	settle      func(token uint64, err error, done func(error))

	mu       sync.Mutex
	sessions map[*fakeSession]bool
	token    uint64
	events   chan string // what the sessions were told
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{sessions: make(map[*fakeSession]bool), events: make(chan string, 10_000)}
}

func (b *fakeBroker) event(format string, args ...any) { b.events <- fmt.Sprintf(format, args...) }

func (b *fakeBroker) Connect(_ context.Context, peer Peer, connect *Connect) (Session, error) {
	if b.connect != nil {
		if err := b.connect(connect); err != nil {
			return nil, err
		}
	}
	s := &fakeSession{broker: b, peer: peer, connect: connect, subscriptions: make(map[*Subscription]bool)}
	b.mu.Lock()
	b.sessions[s] = true
	b.mu.Unlock()
	b.event("connect %v %s/%s", connect.Version, connect.Login, connect.Passcode)
	return s, nil
}

// only returns the one session.
func (b *fakeBroker) only() *fakeSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		return s
	}
	return nil
}

// publish offers f to all who subscribed to its destination.
func (b *fakeBroker) publish(f *frame.Frame) {
	m := &Message{Destination: f.Header.Value("destination"), Body: f.Body}
	for _, field := range f.Header {
		switch field.Name {
		case "destination", "receipt", "transaction", "content-length", "message-id", "id", "ack", "subscription":
		default:
			m.Header = append(m.Header, field)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		for subscription := range s.subscriptions {
			if subscription.Destination == m.Destination {
				b.token++
				if !s.peer.Offer(Delivery{Message: m, Subscription: subscription, Token: b.token, Attempt: 1}) {
					b.event("refused %d", b.token)
				}
			}
		}
	}
}

type fakeSession struct {
	broker        *fakeBroker
	peer          Peer
	connect       *Connect
	subscriptions map[*Subscription]bool // guarded by the broker's mu
}

func (s *fakeSession) Send(_ context.Context, f *frame.Frame, done func(error)) {
	if s.broker.send != nil {
		s.broker.send(f, done)
		return
	}
	s.broker.event("send %s %s", f.Header.Value("destination"), f.Body)
	s.broker.publish(f)
	done(nil)
}

func (s *fakeSession) Subscribe(_ context.Context, subscription *Subscription, done func(error)) {
	s.broker.mu.Lock()
	s.subscriptions[subscription] = true
	s.broker.mu.Unlock()
	if s.broker.subscribe != nil {
		s.broker.subscribe(subscription, done)
		return
	}
	done(nil)
}

func (s *fakeSession) Unsubscribe(subscription *Subscription, _ frame.Header, done func(error)) {
	if s.broker.unsubscribe != nil {
		s.broker.unsubscribe(subscription, done)
		return
	}
	s.broker.mu.Lock()
	delete(s.subscriptions, subscription)
	s.broker.mu.Unlock()
	done(nil)
}

func (s *fakeSession) Commit(_ context.Context, steps []Step, done func(error)) {
	for _, step := range steps {
		if step.Send != nil {
			s.broker.event("send %s %s", step.Send.Header.Value("destination"), step.Send.Body)
			s.broker.publish(step.Send)
		} else {
			s.broker.event("settle %d %v", step.Token, step.Err)
		}
	}
	done(nil)
}

func (s *fakeSession) Settle(token uint64, err error, done func(error)) {
	if s.broker.settle != nil {
		s.broker.settle(token, err, done)
		return
	}
	s.broker.event("settle %d %v", token, err)
	done(nil)
}

func (s *fakeSession) Ready() { s.broker.event("ready") }

func (s *fakeSession) Close(cause error) {
	s.broker.mu.Lock()
	delete(s.broker.sessions, s)
	s.broker.mu.Unlock()
	s.broker.event("close %v", cause)
}

// peer is a client made of bytes. Its session id is written as $.
type peer struct {
	session string
	t       *testing.T
	conn    net.Conn
	reader  *frame.Reader
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	t.Helper()
	r := frame.NewReader(nc, frame.Limits{HeaderLine: 1 << 20, HeaderLines: 1000, HeaderBytes: 1 << 20, Body: 64 << 20})
	return &peer{t: t, conn: nc, reader: r}
}

// write sends text; ^@ stands for NUL.
func (p *peer) write(text string) {
	p.t.Helper()
	text = strings.NewReplacer("^@", "\x00", "$", p.session).Replace(text)
	_, err := io.WriteString(p.conn, text)
	require.NoError(p.t, err)
}

func (p *peer) read() *frame.Frame {
	p.t.Helper()
	f, err := p.reader.Read()
	require.NoError(p.t, err)
	return f
}

// expect reads a frame and compares it as text: command, header, body.
func (p *peer) expect(want string) {
	p.t.Helper()
	got := text(p.read())
	if p.session != "" {
		got = strings.ReplaceAll(got, p.session, "$")
	}
	require.Equal(p.t, want, got)
}

// expectError reads an ERROR and the end of the connection.
func (p *peer) expectError(message string) {
	p.t.Helper()
	f := p.read()
	require.Equal(p.t, frame.Error, f.Command, text(f))
	require.Contains(p.t, f.Header.Value("message"), message)
	p.expectEnd()
}

func (p *peer) expectEnd() {
	p.t.Helper()
	f, err := p.reader.Read()
	require.ErrorIs(p.t, err, io.EOF, "%v", f)
}

// connect opens a session of that version.
func (p *peer) connect(version frame.Version) *frame.Frame {
	p.t.Helper()
	p.write("CONNECT\naccept-version:" + version.String() + "\nhost:h\n\n^@")
	f := p.read()
	require.Equal(p.t, frame.Connected, f.Command, text(f))
	p.reader.SetVersion(version)
	p.session = f.Header.Value("session")
	return f
}

func text(f *frame.Frame) string {
	var b strings.Builder
	b.WriteString(f.Command)
	for _, field := range f.Header {
		b.WriteString(" " + field.Name + ":" + field.Value)
	}
	if len(f.Body) > 0 {
		b.WriteString(" | " + string(f.Body))
	}
	return b.String()
}

// play performs steps: "> bytes" are written, "< frame" is read, "! event" is
// awaited, "error message" is an ERROR and the end, "end" the end.
func (p *peer) play(b *fakeBroker, steps ...string) {
	p.t.Helper()
	for _, step := range steps {
		kind, argument, _ := strings.Cut(step, " ")
		switch kind {
		case ">":
			p.write(argument)
		case "<":
			p.expect(argument)
		case "!":
			b.await(p.t, argument)
		case "error":
			p.expectError(argument)
		case "end":
			p.expectEnd()
		default:
			require.Fail(p.t, "no such step", step)
		}
	}
}

// startServer serves broker on a loopback port until the test ends, and
// returns how to reach it.
func startServer(t *testing.T, broker Broker, change ...func(*Config)) (*Server, func() *peer) {
	t.Helper()
	s := &Server{Config: DefaultConfig(), Broker: broker, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s.Config.ServerName = ""
	for _, f := range change {
		f(&s.Config)
	}
	require.NoError(t, s.Config.Validate())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	return s, func() *peer {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
		return newPeer(t, nc)
	}
}

// await reads events up to the one named.
func (b *fakeBroker) await(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case got := <-b.events:
			if got == want {
				return
			}
			t.Log("event:", got)
		case <-timeout:
			require.Fail(t, "no event", want)
		}
	}
}
