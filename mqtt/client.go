package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// ErrClosed is the error of what a Client was asked after Close.
var ErrClosed = errors.New("mqtt: client closed")

// Options are what Dial is told beside an address.
type Options struct {
	// Connect is sent as it is, Version 0 as 5.0. Its Receive Maximum and
	// Topic Alias Maximum bind the server.
	Connect packet.Connect
	// Receive is called for each message, in order, from one goroutine that
	// reads nothing until it returns: it must not wait for an answer of the
	// server. done acknowledges the message, an *Error refuses it; it is nil
	// at QoS 0, and may be called from any goroutine. Without Receive,
	// messages are acknowledged and forgotten.
	Receive func(p *packet.Publish, done func(error))
	// Dial replaces net.Dialer, for TLS and others.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxPacket is the size in bytes of the largest packet that is read; 0:
	// 16 MiB.
	MaxPacket int
}

// Client is a connection to an MQTT server. Its session lives as long as it
// does: what is in flight when it ends is reported to its sender as failed.
// The methods may be called from any goroutine.
type Client struct {
	nc      net.Conn
	version packet.Version
	connack packet.Connack
	receive func(*packet.Publish, func(error))
	alive   time.Duration // keep alive; 0: none
	ended   chan struct{}
	loops   sync.WaitGroup

	in      *packet.Reader // the reader's
	aliases aliases        // the reader's

	mu      sync.Mutex
	changed sync.Cond // of all below
	state   *State
	answers answers
	out     outbox
	calls   map[uint64]func(packet.Packet, error) // by token: the packet that ended the exchange
	token   uint64
	closing bool
	err     error // why the connection ended; nil while it has not
}

// Dial connects to a server and waits for its CONNACK. A refusal is an *Error.
func Dial(ctx context.Context, address string, o Options) (*Client, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c, err := connect(ctx, nc, o)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.loops.Go(c.readLoop)
	c.loops.Go(c.writeLoop)
	if c.alive > 0 {
		c.loops.Go(c.pingLoop)
	}
	return c, nil
}

// connect exchanges CONNECT and CONNACK.
func connect(ctx context.Context, nc net.Conn, o Options) (*Client, error) {
	ask := o.Connect
	if ask.Version == 0 {
		ask.Version = packet.V5
	}
	maxPacket := o.MaxPacket
	if maxPacket == 0 {
		maxPacket = 16 << 20
	}
	b, err := packet.Append(nil, ask.Version, &ask)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := nc.Write(b); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	c := &Client{
		nc:      nc,
		version: ask.Version,
		receive: o.Receive,
		alive:   ask.KeepAlive,
		ended:   make(chan struct{}),
		in:      packet.NewReader(nc, maxPacket),
		aliases: aliases{max: int(ask.TopicAliasMax)},
		calls:   make(map[uint64]func(packet.Packet, error)),
	}
	c.changed.L = &c.mu
	c.in.SetVersion(ask.Version)
	p, err := c.in.Read()
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	connack, ok := p.(*packet.Connack)
	switch {
	case !ok:
		return nil, &Error{Reason: packet.ProtocolError, Text: fmt.Sprintf("%T instead of CONNACK", p)}
	case connack.Reason >= packet.UnspecifiedError:
		return nil, &Error{Reason: connack.Reason, Text: connack.ReasonString}
	}
	c.connack = *connack
	if connack.ServerKeepAlive != nil {
		c.alive = *connack.ServerKeepAlive
	}
	window := 65535
	if connack.ReceiveMaximum > 0 {
		window = int(connack.ReceiveMaximum)
	}
	c.state = NewState(window, int(ask.ReceiveMaximum))
	return c, nil
}

// Connack is what the server answered.
func (c *Client) Connack() packet.Connack { return c.connack }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err returns why the connection ended, an *Error when the server said so;
// nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Publish sends a message and waits until the server has taken it: at QoS 0
// not at all, otherwise for PUBACK or PUBCOMP. A refusal is an *Error. The
// packet identifier of p is set by Publish.
func (c *Client) Publish(ctx context.Context, p *packet.Publish) error {
	if p.QoS == 0 {
		return c.PublishAsync(ctx, p, nil)
	}
	result := make(chan error, 1)
	if err := c.PublishAsync(ctx, p, func(err error) { result <- err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PublishAsync sends a message. It waits only for room: in the server's
// Receive Maximum, and among what is not yet written. done is called once,
// from the reader's goroutine, when Publish would return, unless PublishAsync
// returned an error; it is not called at QoS 0.
func (c *Client) PublishAsync(ctx context.Context, p *packet.Publish, done func(error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.await(ctx, func() bool { return c.out.size < maxOut && (p.QoS == 0 || c.state.Room()) }); err != nil {
		return err
	}
	if p.QoS == 0 {
		return c.send(p)
	}
	return c.ask(p, p.QoS, func(id uint16) { p.PacketID = id }, func(answer packet.Packet, err error) {
		switch a := answer.(type) {
		case *packet.Puback:
			err = refusal(a.Answer)
		case *packet.Pubrec:
			err = refusal(a.Answer)
		case *packet.Suback, *packet.Unsuback:
			err = errWrongStep
		}
		done(err)
	})
}

// Subscribe returns the server's reason for each filter, in order.
func (c *Client) Subscribe(ctx context.Context, filters ...packet.Filter) ([]packet.ReasonCode, error) {
	p := &packet.Subscribe{Filters: filters}
	answer, err := c.request(ctx, p, func(id uint16) { p.PacketID = id })
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	suback, ok := answer.(*packet.Suback)
	if !ok || len(suback.Reasons) != len(filters) {
		return nil, fmt.Errorf("subscribe: %w", errWrongStep)
	}
	return suback.Reasons, nil
}

// Unsubscribe returns the server's reason for each filter, in order; none
// before MQTT 5.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) ([]packet.ReasonCode, error) {
	p := &packet.Unsubscribe{Filters: filters}
	answer, err := c.request(ctx, p, func(id uint16) { p.PacketID = id })
	if err != nil {
		return nil, fmt.Errorf("unsubscribe: %w", err)
	}
	unsuback, ok := answer.(*packet.Unsuback)
	if !ok {
		return nil, fmt.Errorf("unsubscribe: %w", errWrongStep)
	}
	return unsuback.Reasons, nil
}

// request sends p and waits for what answers it.
func (c *Client) request(ctx context.Context, p packet.Packet, identify func(uint16)) (packet.Packet, error) {
	type result struct {
		answer packet.Packet
		err    error
	}
	results := make(chan result, 1)
	c.mu.Lock()
	err := c.await(ctx, func() bool { return c.out.size < maxOut && c.state.Room() })
	if err == nil {
		err = c.ask(p, 1, identify, func(answer packet.Packet, err error) { results <- result{answer, err} })
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-results:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask sends a packet that gets an identifier and an answer. c.mu is held.
func (c *Client) ask(p packet.Packet, qos packet.QoS, identify func(uint16), done func(packet.Packet, error)) error {
	c.token++
	token := c.token | 1<<63
	id, ok := c.state.Send(token, qos)
	if !ok {
		return errWindow
	}
	identify(id)
	if err := c.send(p); err != nil {
		c.state.Cancel(id)
		return err
	}
	c.calls[token] = done
	return nil
}

// await waits until ready. c.mu is held.
func (c *Client) await(ctx context.Context, ready func() bool) error {
	if c.err == nil && !c.closing && !ready() {
		defer context.AfterFunc(ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})()
		for c.err == nil && !c.closing && ctx.Err() == nil && !ready() {
			c.changed.Wait()
		}
	}
	switch {
	case c.err != nil:
		return c.err
	case c.closing:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// send queues a packet, unless DISCONNECT was the last. c.mu is held.
func (c *Client) send(p packet.Packet) error {
	if c.closing {
		return nil // [MQTT-3.14.4-2]
	}
	b, err := packet.Append(c.out.begin(), c.version, p)
	if err != nil {
		return err
	}
	c.out.commit(b, nil)
	c.changed.Broadcast()
	return nil
}

// Close tells the server that the client leaves, waits until that is written,
// and ends the connection. It must not be called by Receive or a done.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closing && c.err == nil {
		if err := c.send(&packet.Disconnect{}); err != nil {
			c.mu.Unlock()
			c.end(err)
			return err
		}
	}
	c.closing = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.loops.Wait()
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// end ends the connection: whatever waits is told err.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.changed.Broadcast()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.closing {
		err = ErrClosed
	}
	c.err = err
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	c.nc.Close()
	for _, done := range calls {
		done(nil, err)
	}
	close(c.ended)
}
