package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

const (
	writeTimeout = 30 * time.Second // for each piece of at most maxWrite bytes
	linger       = time.Second      // for the client to read our farewell and hang up

	maxUnsettledBytes = 4 << 20  // payloads the broker has not yet answered; more are not read
	maxReplies        = 64 << 10 // bytes of replies the client has not read; no more requests are
	maxConnectPacket  = 512 << 10
)

// errDisconnected is the cause of an end the client asked for.
var errDisconnected = errors.New("client disconnected")

// conn is one client's connection: a reader, and a writer while there is
// something to write. It is the Peer of its Session.
type conn struct {
	server *Server
	nc     net.Conn
	end    context.CancelCauseFunc // why the connection ends: the first call counts
	debug  bool                    // packets are logged

	// Owned by the reader; what CONNECT sets is read by others once phase is open.
	in        *packet.Reader
	greeted   bool // the first bytes have come
	log       *slog.Logger
	session   Session
	version   packet.Version
	expires   bool // the session outlives the connection
	quiet     bool // Request Problem Information is 0
	maxPacket int  // the client's Maximum Packet Size
	aliases   aliases
	last      *packet.Disconnect // the client's

	writers sync.WaitGroup // at most one
	calls   sync.WaitGroup // of writers into the session

	mu       sync.Mutex // never held across I/O or a call into the session
	room     sync.Cond  // of the reader, for any change that may let it go on
	phase    phase
	silence  time.Duration // how long the client may be silent; 0: for ever
	deadline time.Time     // until CONNECT: when it must have come
	state    *State
	answers  answers
	asked    int // SUBSCRIBE and UNSUBSCRIBE the broker has not yet answered
	out      outbox
	writing  bool              // a writer is running
	refused  bool              // an Offer was, and Ready is owed
	topics   map[string]uint16 // aliases the client has been given
	maxAlias int
	skipped  []uint64 // tokens of deliveries that are not sent, to be settled
}

// phase is how far a connection has come.
type phase uint8

const (
	connecting phase = iota // deliveries are refused until CONNACK
	running
	ending // nothing is read and delivered any more, answers still leave
	ended  // nothing leaves
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server:    s,
		nc:        nc,
		log:       s.Logger.With("protocol", "mqtt", "remote", nc.RemoteAddr().String()),
		maxPacket: packet.MaxSize,
		deadline:  time.Now().Add(s.Config.ConnectTimeout),
	}
	c.room.L = &c.mu
	c.debug = c.log.Enabled(context.Background(), slog.LevelDebug)
	c.aliases.max = s.Config.TopicAliasMax
	c.in = packet.NewReader((*source)(c), min(s.Config.MaxMessage, maxConnectPacket))
	return c
}

// run serves the connection and returns why it ended. No goroutine of it is
// left then, and the broker has let go of it.
func (c *conn) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	c.end = end
	stop := context.AfterFunc(ctx, c.interrupt)

	err := c.guard(func() error { return c.readLoop(ctx) })
	stop()
	end(err)
	cause := context.Cause(ctx)
	c.interrupt()
	if errors.Is(cause, errShutdown) {
		c.awaitAnswers(c.server.Config.ShutdownGrace)
	}
	c.bye(cause)
	if c.session != nil {
		c.close(cause)
	}
	c.writers.Wait()
	c.hangUp(cause)
	return cause
}

// guard turns a panic of a handler into the end of its connection.
func (c *conn) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Reason: packet.UnspecifiedError, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return f()
}

// apart is guard on another goroutine. What is done once in the life of a
// connection, and may go deep into the broker, must not leave the reader with
// a large stack: it would hold that while its client is silent.
func (c *conn) apart(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- c.guard(f) }()
	return <-done
}

func (c *conn) readLoop(ctx context.Context) error {
	p, err := c.in.Read()
	if err != nil {
		err = c.readError(err)
		if c.version = c.in.Version(); c.version != 0 {
			err = c.refuse(err)
		}
		return err
	}
	if err := c.apart(func() error { return c.handleConnect(ctx, p) }); err != nil {
		return err
	}
	for {
		p, err := c.in.Read()
		if err != nil {
			return c.readError(err)
		}
		c.server.counters.packetsReceived.Add(1)
		if c.debug {
			c.trace(p)
		}
		if err := c.handle(ctx, p); err != nil {
			return err
		}
		if !c.awaitRoom() {
			return context.Cause(ctx)
		}
	}
}

// trace logs a packet the client has sent.
func (c *conn) trace(p packet.Packet) {
	log := c.log.With("packet", fmt.Sprintf("%T", p))
	if p, ok := p.(*packet.Publish); ok {
		log = log.With("packet_id", p.PacketID, "topic", p.Topic, "size_bytes", len(p.Payload))
	}
	log.Debug("packet received")
}

// readError says what a failed read means for the client.
func (c *conn) readError(err error) error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if fault, ok := errors.AsType[*packet.Error](err); ok {
		return &Error{Reason: fault.Reason, Text: fault.Text}
	}
	c.mu.Lock()
	broken := c.out.err
	c.mu.Unlock()
	switch {
	case broken != nil:
		return fmt.Errorf("write: %w", broken)
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.session == nil {
			return errors.New("no CONNECT in time")
		}
		return &Error{Reason: packet.KeepAliveTimeout} // [MQTT-3.1.2-22]
	case errors.Is(err, io.EOF):
		return errors.New("connection closed without DISCONNECT")
	default:
		return fmt.Errorf("read: %w", err)
	}
}

// awaitRoom is the back-pressure on a client: it is not read while the broker
// owes it too many answers, or it has not read too many of ours. false: the
// connection ends.
func (c *conn) awaitRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.phase == running && (c.answers.len()+c.asked > c.server.Config.ReceiveMaximum ||
		c.answers.bytes > maxUnsettledBytes || c.out.replies > maxReplies) {
		c.room.Wait()
	}
	return c.phase == running
}

// awaitAnswers waits until the broker owes no answer, but not longer than grace.
func (c *conn) awaitAnswers(grace time.Duration) {
	late := false
	timer := time.AfterFunc(grace, func() {
		c.mu.Lock()
		late = true
		c.mu.Unlock()
		c.room.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.answers.len()+c.asked > 0 && !late {
		c.room.Wait()
	}
}

// interrupt stops the reader, wherever it is, and refuses deliveries.
func (c *conn) interrupt() {
	c.mu.Lock()
	if c.phase < ending {
		c.phase = ending
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	c.room.Broadcast()
}

// bye queues the farewell, which is the last that is written.
func (c *conn) bye(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = ended
	if e, ok := errors.AsType[*Error](cause); ok && c.session != nil && c.version == packet.V5 { // [MQTT-4.13.1-1]
		p := &packet.Disconnect{Reason: e.Reason, ReasonString: c.text(e)}
		if e.Reason < packet.UnspecifiedError || !e.Reason.ValidIn(p) {
			p.Reason = packet.UnspecifiedError
		}
		c.reply(p)
	}
	c.out.last = time.Now().Add(linger)
	c.nc.SetWriteDeadline(c.out.last)
}

// close gives the session back to the broker.
func (c *conn) close(cause error) {
	end := End{Cause: cause, Will: true, State: c.State()}
	if errors.Is(cause, errDisconnected) {
		end.Expiry = c.last.SessionExpiry
		end.Will = c.last.Reason != packet.Success // [MQTT-3.14.4-3]
		if c.last.Reason < packet.UnspecifiedError {
			end.Cause = nil
		} else {
			end.Cause = &Error{Reason: c.last.Reason, Text: c.last.ReasonString}
		}
	}
	c.calls.Wait()
	for _, token := range c.skipped {
		c.session.Settle(token, nil)
	}
	c.session.Close(end)
	c.server.counters.active.Add(-1)
}

// hangUp closes the connection such that a farewell arrives: a close with
// input unread would reset it.
func (c *conn) hangUp(cause error) {
	defer c.nc.Close()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if _, farewell := errors.AsType[*Error](cause); ok && farewell && half.CloseWrite() == nil {
		c.nc.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.Copy(io.Discard, c.nc)
	}
}

// End implements Peer.
func (c *conn) End(err error) {
	if _, ok := errors.AsType[*Error](err); !ok {
		err = &Error{Reason: packet.UnspecifiedError, Err: err}
	}
	c.end(err)
}

// State implements Peer.
func (c *conn) State() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		return nil
	}
	return c.state.Snapshot()
}

// source is the connection as its packet.Reader sees it: the client may be
// silent for so long, and the first byte must be CONNECT's.
type source conn

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	if s.phase >= ending {
		s.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	deadline := s.deadline
	if s.silence > 0 {
		deadline = time.Now().Add(s.silence)
	}
	s.nc.SetReadDeadline(deadline)
	s.mu.Unlock()
	n, err := s.nc.Read(p)
	s.server.counters.bytesReceived.Add(int64(n))
	if n > 0 && !s.greeted {
		s.greeted = true
		if other := foreign(p[:n]); other != "" {
			return 0, &Error{Reason: packet.ProtocolError, Text: "the client speaks " + other + ", not MQTT"}
		}
	}
	return n, err
}

// foreign names the protocol of a client that is at the wrong port.
func foreign(greeting []byte) string {
	for _, p := range []struct{ prefix, name string }{
		{"GET ", "HTTP"},
		{"POST ", "HTTP"},
		{"PRI * HTTP/2", "HTTP/2"},
		{"CONNECT {", "NATS"},
		{"CONNECT\n", "STOMP"},
		{"CONNECT\r", "STOMP"},
		{"STOMP\n", "STOMP"},
		{"STOMP\r", "STOMP"},
		{"AMQP", "AMQP"},
		{"\x16\x03", "TLS"},
	} {
		if bytes.HasPrefix(greeting, []byte(p.prefix)) {
			return p.name
		}
	}
	return ""
}
