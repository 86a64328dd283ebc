//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// job is one message in a queue.
type job struct {
	source
	n int
}

func (j job) String() string { return fmt.Sprintf("%v %d", j.source, j.n) }

// delivery is a job as a consumer got it. Times are zero until then.
type delivery struct {
	consumer  string
	via       *visit
	at        time.Time
	acked     time.Time // the consumer sent its acknowledgement
	confirmed time.Time // and was told that it was taken
}

// patience is how long an acknowledgement that nobody confirms may take.
const patience = 5 * time.Second

// consumer adds a STOMP client that works off queues.
func (p *party) consumer(name string, home int, queues ...string) {
	p.actors = append(p.actors, &consumer{w: p.w, name: name, home: home, jobs: p.jobs, queues: queues})
}

// mqttConsumer adds an MQTT client that works off queues, with a session for
// each connection.
func (p *party) mqttConsumer(name string, home int, filters ...string) {
	d := &device{w: p.w, name: name, home: home, version: packet.V5, clean: true, ready: make(chan struct{})}
	for _, filter := range filters {
		d.filters = append(d.filters, packet.Filter{Topic: filter, QoS: 1})
	}
	d.receive = func(m *packet.Publish, via *visit) { p.jobs.deliver(name, via, m.Payload, true) }
	p.actors = append(p.actors, d)
}

// jobs are the deliveries of the queues' messages.
type jobs struct {
	w      *world
	p      *party
	prefix string // of the queues' topics

	mu  sync.Mutex
	got map[job][]*delivery
}

func newJobs(p *party, prefix string) *jobs {
	return &jobs{w: p.w, p: p, prefix: prefix, got: make(map[job][]*delivery)}
}

// deliver notes a delivery; acked: its acknowledgement follows at once.
func (x *jobs) deliver(consumer string, via *visit, body []byte, acked bool) *delivery {
	d := &delivery{consumer: consumer, via: via, at: time.Now()}
	if acked {
		d.acked = d.at
	}
	j, err := x.w.ledger.job(body)
	if err != nil {
		x.w.ledger.violate("integrity", "%s: %v", consumer, err)
		return d
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got[j] = append(x.got[j], d)
	return d
}

func (x *jobs) ack(d *delivery) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d.acked = time.Now()
}

func (x *jobs) confirm(d *delivery) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d.confirmed = time.Now()
}

// taken is when an acknowledgement must have reached the core: when it was
// confirmed or, as MQTT confirms none, some time after it was sent, when
// nothing was wrong meanwhile.
func (x *jobs) taken(d *delivery) (time.Time, bool) {
	if !d.confirmed.IsZero() || d.acked.IsZero() {
		return d.confirmed, !d.confirmed.IsZero()
	}
	at := d.acked.Add(patience)
	select {
	case <-d.via.ended:
		if d.via.closed.Before(at) {
			return at, false
		}
	default:
	}
	return at, time.Now().After(at) && !x.w.ledger.wasDisturbed(func(fault) bool { return true }, d.acked, at)
}

// undone returns the stored jobs that nobody has acknowledged.
func (x *jobs) undone() []job {
	x.mu.Lock()
	defer x.mu.Unlock()
	var undone []job
	for j := range x.w.ledger.stored(x.prefix) {
		if !slices.ContainsFunc(x.got[j], func(d *delivery) bool { return !d.acked.IsZero() }) {
			undone = append(undone, j)
		}
	}
	return undone
}

// delivered returns every job that came to somebody.
func (x *jobs) delivered() map[job]struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make(map[job]struct{})
	for j := range x.got {
		seen[j] = struct{}{}
	}
	return seen
}

// check finds jobs that were lost, and those that came again after somebody
// was told that they are done.
func (x *jobs) check() {
	for _, j := range x.undone() {
		x.w.ledger.violate(x.p.name, "%v was stored and never done; delivered %d times", j, len(x.got[j]))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for j, list := range x.got {
		if x.w.ledger.mayBeStoredTwice(j) {
			continue
		}
		for _, done := range list {
			at, taken := x.taken(done)
			if !taken {
				continue
			}
			for _, d := range list {
				if x.repeats(d, at) {
					x.w.ledger.violate(x.p.name, "%v was done by %s at %s, taken at %s (%s), and came to %s at %s (%s, connected at %s)",
						j, done.consumer, x.w.since(done.acked), x.w.since(at), done.via.gateway.name,
						d.consumer, x.w.since(d.at), d.via.gateway.name, x.w.since(d.via.opened))
				}
			}
		}
	}
}

// repeats reports whether a delivery cannot have been under way when another
// one's acknowledgement was taken.
func (x *jobs) repeats(d *delivery, taken time.Time) bool {
	if d.via.opened.After(taken) {
		return true
	}
	slow := func(f fault) bool {
		return f.ofCore() || x.w.gateways[f.target] == d.via.gateway
	}
	return d.at.After(taken.Add(time.Second)) && !x.w.ledger.wasDisturbed(slow, taken, d.at)
}

// job returns what a body says, if somebody sent it.
func (l *ledger) job(body []byte) (job, error) {
	s, n, err := parseBody(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || n < 1 || n > len(l.sent[s]) {
		return job{}, fmt.Errorf("got what nobody sent: %.80q", body)
	}
	return job{s, n}, nil
}

// stored returns the acknowledged messages to topics with a prefix.
func (l *ledger) stored(prefix string) map[job]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(map[job]struct{})
	for s, sent := range l.sent {
		if !strings.HasPrefix(s.topic, prefix) {
			continue
		}
		for i := range sent {
			if !sent[i].acked.IsZero() {
				list[job{s, i + 1}] = struct{}{}
			}
		}
	}
	return list
}

// mayBeStoredTwice reports whether the message was sent again at QoS 1.
func (l *ledger) mayBeStoredTwice(j job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.terms[j.source].once && l.sent[j.source][j.n-1].resent
}

// wasDisturbed reports whether a fault of some kind was going on.
func (l *ledger) wasDisturbed(kind func(fault) bool, from, to time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.faults, func(d disturbance) bool { return kind(d.fault) && d.from.Before(to) && d.to.After(from) })
}

// consumer is a STOMP client that works off queues: it asks for a receipt of
// each ACK, and now and then refuses a job or leaves with some unfinished.
type consumer struct {
	w      *world
	name   string
	home   int
	jobs   *jobs
	queues []string

	mu       sync.Mutex           // of one connection:
	receipts map[string]*delivery // that are awaited
	held     map[string]*delivery // by ack header: not yet acknowledged
	serial   int
}

func (c *consumer) run(ctx context.Context) {
	r := c.w.random(c.name)
	for ctx.Err() == nil {
		if err := c.visit(ctx, r); err != nil {
			c.w.ledger.note("stomp consumers that ended: " + err.Error())
		}
		pause(ctx, between(r, 20*time.Millisecond, 500*time.Millisecond))
	}
}

// visit is the life of one connection.
func (c *consumer) visit(ctx context.Context, r *rand.Rand) error {
	g := c.w.choose(r, c.home)
	nc, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", g.stomp.address())
	if err != nil {
		return errNotConnected
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	v := &visit{gateway: g, nc: nc, opened: time.Now(), ended: make(chan struct{})}
	defer v.end()
	c.mu.Lock()
	c.receipts, c.held = make(map[string]*delivery), make(map[string]*delivery)
	c.mu.Unlock()
	hello := frame.Append(nil, 0, &frame.Frame{Command: frame.Connect, Header: frame.Header{
		{Name: "accept-version", Value: "1.2"}, {Name: "host", Value: "chaos"}, {Name: "heart-beat", Value: "1000,1000"},
	}})
	for i, queue := range c.queues {
		hello = frame.Append(hello, frame.V12, &frame.Frame{Command: frame.Subscribe, Header: frame.Header{
			{Name: "id", Value: fmt.Sprint(i)},
			{Name: "destination", Value: queue},
			{Name: "ack", Value: "client-individual"},
			{Name: "prefetch-count", Value: fmt.Sprint(1 + r.IntN(20))},
		}})
	}
	v.write(hello)
	in := frame.NewReader(nc, frame.Limits{HeaderLine: 64 << 10, HeaderLines: 1000, HeaderBytes: 1 << 20, Body: 1 << 20})
	var loops sync.WaitGroup
	defer loops.Wait()
	defer nc.Close()
	stop := make(chan struct{})
	defer close(stop)
	loops.Go(func() { c.finishHeld(v, stop) })
	leave := time.AfterFunc(between(r, time.Second, 12*time.Second), func() {
		if c.w.unruly.Load() {
			nc.Close()
		}
	})
	defer leave.Stop()
	nc.SetReadDeadline(time.Now().Add(shakeLimit))
	for {
		f, err := in.Read()
		if err != nil {
			return readError(err)
		}
		nc.SetReadDeadline(time.Now().Add(silence))
		switch f.Command {
		case frame.Connected:
			in.SetVersion(frame.V12)
		case frame.Message:
			c.take(v, r, f)
		case frame.Receipt:
			c.mu.Lock()
			if d := c.receipts[f.Header.Value("receipt-id")]; d != nil {
				c.jobs.confirm(d)
			}
			c.mu.Unlock()
		case frame.Error:
			return fmt.Errorf("told: %s", f.Header.Value("message"))
		}
	}
}

// take does most jobs at once, some later, some not at all.
func (c *consumer) take(v *visit, r *rand.Rand, f *frame.Frame) {
	d := c.jobs.deliver(c.name, v, f.Body, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	ack := f.Header.Value("ack")
	switch draw := r.IntN(100); {
	case draw < 2 && c.w.unruly.Load():
		v.write(frame.Append(nil, frame.V12, &frame.Frame{Command: frame.Nack, Header: frame.Header{{Name: "id", Value: ack}}}))
	case draw < 20:
		c.held[ack] = d
	default:
		c.finish(v, ack, d)
	}
}

// finish acknowledges a job. mu is held.
func (c *consumer) finish(v *visit, ack string, d *delivery) {
	c.serial++
	receipt := fmt.Sprint("ack-", c.serial)
	c.receipts[receipt] = d
	c.jobs.ack(d)
	v.write(frame.Append(nil, frame.V12, &frame.Frame{Command: frame.Ack, Header: frame.Header{{Name: "id", Value: ack}, {Name: "receipt", Value: receipt}}}))
}

// finishHeld acknowledges what was put aside, and gives signs of life.
func (c *consumer) finishHeld(v *visit, stop <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		v.write([]byte{'\n'})
		for ack, d := range maps.Clone(c.held) {
			delete(c.held, ack)
			c.finish(v, ack, d)
		}
		c.mu.Unlock()
	}
}
