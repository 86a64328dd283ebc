//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// window is how many publishes a device leaves unacknowledged, and how many
// deliveries it takes.
const window = 20

// device is an MQTT client that keeps its session over connections, as one
// with a disk does: it sends again what was not acknowledged, under the same
// packet identifiers, and knows what it has received.
type device struct {
	w       *world
	name    string
	version packet.Version
	home    int  // the gateway it prefers
	clean   bool // each connection is a session of its own
	filters []packet.Filter
	window  uint16        // deliveries it takes at a time; 0: window
	lag     time.Duration // what a delivery takes while the world is unruly
	// receive gets each message once, as far as the session tells.
	receive func(p *packet.Publish, from *visit)
	// next draws what to publish.
	next func(r *rand.Rand) outgoing
	gap  time.Duration // between two publishes, on average

	ready      chan struct{} // closed when it is subscribed; nil if nobody waits for that
	subscribed sync.Once

	mu       sync.Mutex
	joined   bool // the session has its subscriptions
	out      []*outgoing
	lastID   uint16
	received map[uint16]string // QoS 2, between PUBREC and PUBREL
}

// outgoing is a publish that is not finished.
type outgoing struct {
	source
	terms
	retain   bool
	n        int
	id       uint16
	released bool // PUBREC came
}

func (o *outgoing) packet(dup bool) *packet.Publish {
	return &packet.Publish{Dup: dup, QoS: o.qos, Retain: o.retain, Topic: o.topic, PacketID: o.id, Payload: body(o.source, o.n)}
}

// visit is one connection of a client.
type visit struct {
	gateway *gateway
	nc      net.Conn
	opened  time.Time
	ended   chan struct{}
	closed  time.Time // valid when ended is closed
}

func (v *visit) end() {
	v.closed = time.Now()
	close(v.ended)
}

// write writes whole packets or frames; a failure ends the connection.
func (v *visit) write(b []byte) {
	v.nc.SetWriteDeadline(time.Now().Add(silence))
	if _, err := v.nc.Write(b); err != nil {
		v.nc.Close()
	}
}

// run connects again and again until ctx ends.
func (d *device) run(ctx context.Context) {
	r := d.w.random(d.name)
	for ctx.Err() == nil {
		away := between(r, 20*time.Millisecond, 500*time.Millisecond)
		if err := d.visit(ctx, r); err != nil {
			d.w.ledger.note("mqtt connections that ended: " + err.Error())
		}
		if d.w.unruly.Load() && r.IntN(4) == 0 {
			away += between(r, 0, 3*time.Second)
		}
		pause(ctx, away)
	}
}

var errNotConnected = errors.New("not connected")

// readError says in few words why there is nothing more to read.
func readError(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		return errors.New("left")
	case timeout(err):
		return errors.New("the gateway is silent")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("closed by the gateway")
	}
	return err
}

func timeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// visit is the life of one connection.
func (d *device) visit(ctx context.Context, r *rand.Rand) error {
	g := d.w.choose(r, d.home)
	nc, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", g.mqtt.address())
	if err != nil {
		return errNotConnected
	}
	v := &visit{gateway: g, nc: nc, ended: make(chan struct{})}
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	defer nc.Close()
	in := packet.NewReader(nc, 0)
	in.SetVersion(d.version)
	if err := d.connect(v, in); err != nil {
		return err
	}
	v.opened = time.Now()
	if err := d.resume(v); err != nil {
		return err
	}
	var loops sync.WaitGroup
	defer loops.Wait()
	defer v.end()
	loops.Go(func() { d.ping(v) })
	if d.next != nil {
		produce := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		loops.Go(func() { d.publish(v, produce) })
	}
	stay, gently := between(r, time.Second, 12*time.Second), r.IntN(2) == 0
	leave := time.AfterFunc(stay, func() {
		if d.w.unruly.Load() {
			d.leave(v, gently)
		}
	})
	defer leave.Stop()
	for {
		nc.SetReadDeadline(time.Now().Add(silence))
		p, err := in.Read()
		if err != nil {
			nc.Close()
			return readError(err)
		}
		if publish, ok := p.(*packet.Publish); ok && d.lag > 0 && d.w.unruly.Load() && publish.QoS > 0 {
			pause(ctx, d.lag)
		}
		if err := d.handle(v, p); err != nil {
			nc.Close()
			return err
		}
	}
}

// leave ends a connection with DISCONNECT or without.
func (d *device) leave(v *visit, gently bool) {
	if gently {
		d.mu.Lock()
		d.send(v, &packet.Disconnect{})
		d.mu.Unlock()
	}
	v.nc.Close()
}

// connect exchanges CONNECT and CONNACK.
func (d *device) connect(v *visit, in *packet.Reader) error {
	connect := &packet.Connect{Version: d.version, ClientID: d.name, CleanStart: d.clean, KeepAlive: 30 * time.Second, ReceiveMaximum: window}
	if d.window > 0 {
		connect.ReceiveMaximum = d.window
	}
	if d.version == packet.V5 && !d.clean {
		connect.SessionExpiry = new(time.Hour)
	}
	v.nc.SetDeadline(time.Now().Add(shakeLimit))
	d.send(v, connect)
	v.nc.SetReadDeadline(time.Now().Add(shakeLimit))
	p, err := in.Read()
	if err != nil {
		return errors.New("no CONNACK")
	}
	connack, ok := p.(*packet.Connack)
	if !ok {
		d.w.ledger.violate("protocol", "%s: %T instead of CONNACK", d.name, p)
		return errors.New("no CONNACK")
	}
	if connack.Reason != packet.Success {
		return fmt.Errorf("refused: %v", connack.Reason)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	present := connack.SessionPresent
	if d.joined && !d.clean && !present {
		d.w.ledger.violate("sessions", "%s lost its session, noticed at %s on %s", d.name, d.w.since(time.Now()), v.gateway.name)
	}
	if !present {
		d.joined, d.received = false, make(map[uint16]string)
	}
	return nil
}

// resume goes on where the last connection ended. [MQTT-4.4.0-1]
func (d *device) resume(v *visit) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.out {
		if o.released {
			d.send(v, &packet.Pubrel{Answer: packet.Answer{PacketID: o.id}})
		} else {
			d.w.ledger.resent(o.source, o.n)
			d.send(v, o.packet(true))
		}
	}
	if !d.joined && len(d.filters) > 0 {
		d.send(v, &packet.Subscribe{PacketID: 65535, Filters: d.filters})
	}
	return nil
}

// send writes one packet.
func (d *device) send(v *visit, p packet.Packet) {
	b, err := packet.Append(nil, d.version, p)
	if err != nil {
		d.w.ledger.violate("integrity", "%s: %v", d.name, err)
		return
	}
	v.write(b)
}

// ping gives signs of life, so that the gateway must give some, too.
func (d *device) ping(v *visit) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-v.ended:
			return
		case <-tick.C:
			d.mu.Lock()
			d.send(v, &packet.Pingreq{})
			d.mu.Unlock()
		}
	}
}

// publish begins new messages while there is room and the world wants more.
func (d *device) publish(v *visit, r *rand.Rand) {
	for {
		select {
		case <-v.ended:
			return
		case <-time.After(between(r, 0, 2*d.gap)):
		}
		if !d.w.producing.Load() {
			continue
		}
		d.mu.Lock()
		if len(d.out) < window {
			o := d.next(r)
			o.n = d.w.ledger.send(o.source, o.terms)
			o.id = d.freeID()
			d.out = append(d.out, &o)
			d.send(v, o.packet(false))
		}
		d.mu.Unlock()
	}
}

// freeID returns an identifier that is not in use; 65535 is SUBSCRIBE's.
func (d *device) freeID() uint16 {
	for {
		d.lastID = d.lastID%65534 + 1
		if !slices.ContainsFunc(d.out, func(o *outgoing) bool { return o.id == d.lastID }) {
			return d.lastID
		}
	}
}

// unfinished is how many publishes wait for their acknowledgement.
func (d *device) unfinished() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.out)
}

// handle obeys one packet.
func (d *device) handle(v *visit, p packet.Packet) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch p := p.(type) {
	case *packet.Puback:
		return d.finish(p.Answer, 1)
	case *packet.Pubrec:
		return d.handlePubrec(v, p)
	case *packet.Pubcomp:
		return d.finish(p.Answer, 2)
	case *packet.Publish:
		d.handlePublish(v, p)
	case *packet.Pubrel:
		delete(d.received, p.PacketID)
		d.send(v, &packet.Pubcomp{Answer: packet.Answer{PacketID: p.PacketID}})
	case *packet.Suback:
		for i, reason := range p.Reasons {
			if reason != packet.ReasonCode(d.filters[i].QoS) {
				return fmt.Errorf("%s was granted %v", d.filters[i].Topic, reason)
			}
		}
		d.joined = true
		d.subscribed.Do(d.tell)
	case *packet.Disconnect:
		return fmt.Errorf("told: %v", p.Reason)
	case *packet.Pingresp:
	default:
		d.w.ledger.violate("protocol", "%s got %T", d.name, p)
	}
	return nil
}

// tell says that the device is subscribed.
func (d *device) tell() {
	if d.ready != nil {
		close(d.ready)
	}
}

// outgoingID returns what an answer is about.
func (d *device) outgoingID(id uint16) *outgoing {
	i := slices.IndexFunc(d.out, func(o *outgoing) bool { return o.id == id })
	if i < 0 {
		return nil
	}
	return d.out[i]
}

// finish takes PUBACK, PUBCOMP and refusals.
func (d *device) finish(a packet.Answer, qos packet.QoS) error {
	o := d.outgoingID(a.PacketID)
	if o == nil || o.qos != qos {
		return nil // of an exchange that the end of a session cut off, or repeated
	}
	switch {
	case qos == 2 && !o.released:
		d.w.ledger.violate("protocol", "%s got PUBCOMP for %v %d before PUBREC", d.name, o.source, o.n)
	case a.Reason >= packet.UnspecifiedError && qos == 1:
		d.w.ledger.refused()
	default:
		d.w.ledger.acked(o.source, o.n)
	}
	d.out = slices.DeleteFunc(d.out, func(other *outgoing) bool { return other == o })
	return nil
}

func (d *device) handlePubrec(v *visit, p *packet.Pubrec) error {
	o := d.outgoingID(p.PacketID)
	if o != nil && p.Reason >= packet.UnspecifiedError {
		d.w.ledger.refused()
		d.out = slices.DeleteFunc(d.out, func(other *outgoing) bool { return other == o })
		return nil
	}
	if o != nil {
		d.w.ledger.acked(o.source, o.n)
		o.released = true
	}
	d.send(v, &packet.Pubrel{Answer: packet.Answer{PacketID: p.PacketID}})
	return nil
}

func (d *device) handlePublish(v *visit, p *packet.Publish) {
	answer := packet.Answer{PacketID: p.PacketID}
	switch p.QoS {
	case 0:
		d.receive(p, v)
	case 1:
		d.receive(p, v)
		d.send(v, &packet.Puback{Answer: answer})
	default:
		content, held := d.received[p.PacketID]
		switch {
		case held && content != string(p.Payload):
			d.w.ledger.violate("protocol", "%s got a new message under identifier %d, which is in use: %.40q, then %.40q",
				d.name, p.PacketID, content, p.Payload)
			held = false
		case held && !p.Dup:
			d.w.ledger.note("sent again without DUP")
		}
		if !held {
			d.received[p.PacketID] = string(p.Payload)
			d.receive(p, v)
		}
		d.send(v, &packet.Pubrec{Answer: answer})
	}
}
