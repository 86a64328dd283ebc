//go:build chaos

package chaos

import (
	"context"
	"time"

	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// retained: who subscribes later gets the last message of each topic that the
// log has, which every session saw last, too.
func retained(p *party) {
	p.prefix = "r/"
	p.publisher("retain-q1", 0, packet.V5, 1, true)
	p.publisher("retain-q2", 1, packet.V311, 2, true)
	p.sender("retain-send", 0, 2, frame.Field{Name: "retain", Value: "true"})
	witness := &device{name: "retain-witness", home: 0, version: packet.V5, filters: []packet.Filter{{Topic: "r/#", QoS: 2}}}
	p.receiver(witness)
	p.settle = append(p.settle, func() {
		for _, g := range p.w.gateways {
			p.checkRetained(g, witness.name)
		}
	})
}

// checkRetained subscribes at a gateway and compares.
func (p *party) checkRetained(g *gateway, witness string) {
	last := p.w.ledger.last(witness)
	ctx, cancel := context.WithTimeout(p.w.t.Context(), shakeLimit)
	defer cancel()
	got := make(chan *packet.Publish, 10*len(last))
	c, err := mqtt.Dial(ctx, g.mqtt.address(), mqtt.Options{
		Connect: packet.Connect{Version: packet.V5, CleanStart: true},
		Receive: func(m *packet.Publish, done func(error)) {
			got <- m
			if done != nil {
				done(nil)
			}
		},
	})
	if err != nil {
		p.w.ledger.violate(p.name, "%s: %v", g.name, err)
		return
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Subscribe(ctx, packet.Filter{Topic: p.prefix + "#", QoS: 1}); err != nil {
		p.w.ledger.violate(p.name, "%s: %v", g.name, err)
		return
	}
	for limit := time.After(silence); len(last) > 0; {
		select {
		case m := <-got:
			j, err := p.w.ledger.job(m.Payload)
			want, asked := last[j.source]
			if err != nil || !m.Retain || !asked || want.n != j.n {
				p.w.ledger.violate(p.name, "%s has %v (retained: %v), %s got %d last, at %s, sent at %s, acknowledged at %s; %v", g.name, j, m.Retain, witness, want.n,
					p.w.since(want.at), p.w.since(p.w.ledger.sent[j.source][want.n-1].at), p.w.since(p.w.ledger.sent[j.source][want.n-1].acked), err)
			}
			delete(last, j.source)
		case <-limit:
			for s, e := range last {
				p.w.ledger.violate(p.name, "%s has nothing on %s, %s got %d", g.name, s.topic, witness, e.n)
			}
			return
		}
	}
}

// last returns what a receiver got last from each source.
func (l *ledger) last(receiver string) map[source]event {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := make(map[source]event)
	for _, e := range l.received[receiver] {
		last[e.source] = e
	}
	return last
}
