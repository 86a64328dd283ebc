//go:build chaos

package chaos

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// wills: the will of a client that was let in and did not say goodbye is
// published once, whatever became of its gateway; that of one that did is not.
func wills(p *party) {
	p.prefix = "w/"
	p.receiver(&device{name: "will-witness", home: 1, version: packet.V5, filters: []packet.Filter{{Topic: "w/#", QoS: 2}}})
	for i := range 3 {
		m := &mortal{p: p, name: fmt.Sprintf("mortal-%d", i), home: i}
		p.actors = append(p.actors, m)
		p.unfinished = append(p.unfinished, func() int { return int(m.alive.Load()) })
		p.settle = append(p.settle, func() { m.check("will-witness") })
	}
}

// mortal is a succession of MQTT clients with wills.
type mortal struct {
	p    *party
	name string
	home int

	alive atomic.Int32 // 1 while a client lives
	mu    sync.Mutex
	left  []departure
}

// departure is a client that said goodbye and saw its connection closed.
type departure struct {
	gateway  *gateway
	n        int
	from, to time.Time
}

func (m *mortal) run(ctx context.Context) {
	r := m.p.w.random(m.name)
	for pause(ctx, between(r, 20*time.Millisecond, 300*time.Millisecond)) {
		if m.p.w.producing.Load() {
			m.alive.Store(1)
			m.live(ctx, r)
			m.alive.Store(0)
		}
	}
}

// live is the life of one client.
func (m *mortal) live(ctx context.Context, r *rand.Rand) {
	w := m.p.w
	s := source{m.name, "w/" + m.name}
	g := w.choose(r, m.home)
	gently, stay := r.IntN(3) == 0, between(r, 0, 3*time.Second)
	nc, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", g.mqtt.address())
	if err != nil {
		return
	}
	defer reset(nc)
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	n := w.ledger.send(s, terms{once: true, qos: 2, unordered: true})
	connect := &packet.Connect{
		Version: packet.V5, CleanStart: true, KeepAlive: time.Minute, ClientID: fmt.Sprintf("%s-%d", m.name, n),
		Will: &packet.Will{QoS: 2, Topic: s.topic, Payload: body(s, n)},
	}
	v := &visit{gateway: g, nc: nc}
	b, err := packet.Append(nil, packet.V5, connect)
	if err != nil {
		w.ledger.violate("integrity", "%s: %v", m.name, err)
		return
	}
	nc.SetDeadline(time.Now().Add(shakeLimit))
	v.write(b)
	in := packet.NewReader(nc, 0)
	in.SetVersion(packet.V5)
	p, err := in.Read()
	if connack, ok := p.(*packet.Connack); err != nil || !ok || connack.Reason != packet.Success {
		return // it may have been let in all the same
	}
	nc.SetReadDeadline(time.Now().Add(stay))
	if p, err := in.Read(); !gently || !timeout(err) { // it, or its gateway, dies
		if p != nil {
			w.ledger.note("mortals that were disconnected")
		}
		w.ledger.acked(s, n)
		return
	}
	from := time.Now()
	b, _ = packet.Append(nil, packet.V5, &packet.Disconnect{})
	v.write(b)
	nc.SetReadDeadline(time.Now().Add(silence))
	if _, err := bufio.NewReader(nc).ReadByte(); err != nil && !timeout(err) {
		m.mu.Lock()
		m.left = append(m.left, departure{g, n, from, time.Now()})
		m.mu.Unlock()
	}
}

// check finds wills of clients that said goodbye to a gateway that was well.
func (m *mortal) check(witness string) {
	published := make(map[job]bool)
	for _, e := range m.p.w.ledger.from(witness) {
		published[job{e.source, e.n}] = true
	}
	for _, d := range m.left {
		ill := func(f fault) bool { return f.ofCore() || m.p.w.gateways[f.target] == d.gateway }
		if published[job{source{m.name, "w/" + m.name}, d.n}] && !m.p.w.ledger.wasDisturbed(ill, d.from.Add(-time.Second), d.to.Add(time.Second)) {
			m.p.w.ledger.violate(m.p.name, "the will of %s-%d was published, although it left at %s with DISCONNECT", m.name, d.n, m.p.w.since(d.from))
		}
	}
}
