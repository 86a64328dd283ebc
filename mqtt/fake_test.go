package mqtt

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBroker is a broker in memory. What a test wants otherwise it says with a hook.
type fakeBroker struct {
	connect func(*Connect) (Connected, error) // its Session is ignored
	publish func(*packet.Publish, func(error))
	forget  func(uint16, func(error))
	release func(uint64, func(error))
	settle  func(uint64, error)

	connected chan *fakeSession // those whose Connect was accepted
	mu        sync.Mutex
	sessions  map[string]*fakeSession
	state     map[string][]byte
	token     uint64
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{
		connected: make(chan *fakeSession, 100),
		sessions:  make(map[string]*fakeSession),
		state:     make(map[string][]byte),
	}
}

type fakeSession struct {
	broker  *fakeBroker
	connect *Connect
	peer    Peer

	published chan *packet.Publish
	settled   chan settlement
	ready     chan struct{}
	ended     chan End

	// Guarded by broker.mu.
	filters map[string]packet.QoS
	waiting []Delivery
}

type settlement struct {
	token uint64
	err   error
}

func (b *fakeBroker) Connect(_ context.Context, peer Peer, connect *Connect) (Connected, error) {
	s := &fakeSession{
		broker: b, connect: connect, peer: peer,
		published: make(chan *packet.Publish, 10_000),
		settled:   make(chan settlement, 10_000),
		ready:     make(chan struct{}, 10_000),
		ended:     make(chan End, 1),
		filters:   make(map[string]packet.QoS),
	}
	var connected Connected
	if b.connect != nil {
		var err error
		if connected, err = b.connect(connect); err != nil {
			return Connected{}, err
		}
	}
	b.mu.Lock()
	old := b.sessions[connect.ClientID]
	b.sessions[connect.ClientID] = s
	if state, ok := b.state[connect.ClientID]; ok && !connect.CleanStart {
		connected.Present, connected.State = true, state
	}
	b.mu.Unlock()
	if old != nil {
		old.peer.End(&Error{Reason: packet.SessionTakenOver})
	}
	connected.Session = s
	b.connected <- s
	return connected, nil
}

func (s *fakeSession) Publish(_ context.Context, p *packet.Publish, done func(error)) {
	s.published <- p
	switch {
	case s.broker.publish != nil:
		s.broker.publish(p, done)
		return
	case done != nil:
		defer done(nil)
	}
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	message := &Message{Topic: p.Topic, Payload: p.Payload, Properties: p.Properties}
	for _, to := range s.broker.sessions {
		for filter, qos := range to.filters {
			if matches(filter, p.Topic) {
				to.offer(Delivery{Message: message, QoS: min(p.QoS, qos), Attempt: 1})
			}
		}
	}
}

// matches is enough of topic matching for tests: # at the end, or equal.
func matches(filter, topic string) bool {
	prefix, ok := strings.CutSuffix(filter, "#")
	return filter == topic || ok && strings.HasPrefix(topic, prefix)
}

func (s *fakeSession) offer(d Delivery) {
	if d.QoS > 0 {
		s.broker.token++
		d.Token = s.broker.token
	}
	if len(s.waiting) > 0 || !s.peer.Offer(d) && d.QoS > 0 {
		s.waiting = append(s.waiting, d)
	}
}

func (s *fakeSession) Forget(id uint16, done func(error)) {
	if s.broker.forget != nil {
		s.broker.forget(id, done)
		return
	}
	done(nil)
}

func (s *fakeSession) Subscribe(_ context.Context, p *packet.Subscribe, done func([]packet.ReasonCode)) {
	s.broker.mu.Lock()
	var reasons []packet.ReasonCode
	for _, f := range p.Filters {
		s.filters[f.Topic] = f.QoS
		reasons = append(reasons, packet.ReasonCode(f.QoS))
	}
	s.broker.mu.Unlock()
	done(reasons)
}

func (s *fakeSession) Unsubscribe(_ context.Context, p *packet.Unsubscribe, done func([]packet.ReasonCode)) {
	s.broker.mu.Lock()
	var reasons []packet.ReasonCode
	for _, f := range p.Filters {
		reason := packet.NoSubscriptionExisted
		if _, ok := s.filters[f]; ok {
			reason = packet.Success
		}
		delete(s.filters, f)
		reasons = append(reasons, reason)
	}
	s.broker.mu.Unlock()
	done(reasons)
}

func (s *fakeSession) Settle(token uint64, err error) {
	s.settled <- settlement{token, err}
	if s.broker.settle != nil {
		s.broker.settle(token, err)
	}
}

func (s *fakeSession) Release(token uint64, done func(error)) {
	if s.broker.release != nil {
		s.broker.release(token, done)
		return
	}
	done(nil)
}

func (s *fakeSession) Ready() {
	s.broker.mu.Lock()
	for len(s.waiting) > 0 && s.peer.Offer(s.waiting[0]) {
		s.waiting = s.waiting[1:]
	}
	s.broker.mu.Unlock()
	s.ready <- struct{}{}
}

func (s *fakeSession) Close(end End) {
	s.broker.mu.Lock()
	if s.broker.sessions[s.connect.ClientID] == s {
		delete(s.broker.sessions, s.connect.ClientID)
	}
	if s.connect.SessionExpiry > 0 {
		s.broker.state[s.connect.ClientID] = end.State
	}
	s.broker.mu.Unlock()
	s.ended <- end
}

// serve runs a server for the test and returns its address.
func serve(t *testing.T, b Broker, change ...func(*Config)) string {
	t.Helper()
	_, address, _ := serveUntil(t, b, change...)
	return address
}

func serveUntil(t *testing.T, b Broker, change ...func(*Config)) (s *Server, address string, stop func()) {
	t.Helper()
	l := listen(t)
	s = newServer(t, b, change...)
	return s, l.Addr().String(), serveOn(t, s, l)
}

// serveOn serves until the test ends or stop is called.
func serveOn(t *testing.T, s *Server, l net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return stop
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func newServer(t *testing.T, b Broker, change ...func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.ShutdownGrace = time.Second
	for _, f := range change {
		f(&cfg)
	}
	require.NoError(t, cfg.Validate())
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return &Server{Config: cfg, Broker: b, Logger: log}
}

// wire is a client that says and hears single packets.
type wire struct {
	t  *testing.T
	nc net.Conn
	in *packet.Reader
	v  packet.Version
}

func dialWire(t *testing.T, address string, v packet.Version) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	return newWire(t, nc, v)
}

func newWire(t *testing.T, nc net.Conn, v packet.Version) *wire {
	t.Helper()
	w := &wire{t: t, nc: nc, in: packet.NewReader(nc, 0), v: v}
	w.in.SetVersion(v)
	return w
}

// join connects with a clean start unless connect says otherwise.
func (w *wire) join(connect *packet.Connect) *packet.Connack {
	w.t.Helper()
	connect.Version = w.v
	w.send(connect)
	p, err := w.in.Read()
	require.NoError(w.t, err)
	require.IsType(w.t, &packet.Connack{}, p)
	return p.(*packet.Connack)
}

func (w *wire) send(ps ...packet.Packet) {
	w.t.Helper()
	var b []byte
	for _, p := range ps {
		var err error
		b, err = packet.Append(b, w.v, p)
		require.NoError(w.t, err)
	}
	w.sendBytes(b)
}

func (w *wire) sendBytes(b []byte) {
	w.t.Helper()
	_, err := w.nc.Write(b)
	require.NoError(w.t, err)
}

func (w *wire) expect(ps ...packet.Packet) {
	w.t.Helper()
	for _, want := range ps {
		got, err := w.in.Read()
		require.NoError(w.t, err)
		require.Equal(w.t, want, got)
	}
}

// expectEnd expects DISCONNECT with that reason, if it is MQTT 5, and the end
// of the connection.
func (w *wire) expectEnd(reason packet.ReasonCode) {
	w.t.Helper()
	p, err := w.in.Read()
	if w.v == packet.V5 {
		require.NoError(w.t, err)
		require.IsType(w.t, &packet.Disconnect{}, p)
		require.Equal(w.t, reason, p.(*packet.Disconnect).Reason)
		_, err = w.in.Read()
	}
	require.ErrorIs(w.t, err, io.EOF)
}

// connack accepts with nothing but the limits of DefaultConfig.
func connack(v packet.Version) *packet.Connack {
	if v != packet.V5 {
		return &packet.Connack{}
	}
	return &packet.Connack{ReceiveMaximum: 100, MaximumPacket: 16 << 20, TopicAliasMax: 100}
}

func acks(id uint16) packet.Answer { return packet.Answer{PacketID: id} }

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

var discardLog = slog.New(slog.DiscardHandler)

type brokerFunc func(Peer, *Connect) (Connected, error)

func (f brokerFunc) Connect(_ context.Context, peer Peer, connect *Connect) (Connected, error) {
	return f(peer, connect)
}
