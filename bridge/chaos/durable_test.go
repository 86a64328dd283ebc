//go:build chaos

package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// durables: what is acknowledged reaches a durable subscription of STOMP, at
// least once and in order.
func durables(p *party) {
	p.prefix = "d/"
	p.publisher("durable-pub", 0, packet.V5, 1, false)
	p.sender("durable-send", 1, 1)
	d := &durable{w: p.w, name: "durable", home: 0, ready: make(chan struct{})}
	p.actors = append(p.actors, d)
	p.ready = append(p.ready, d.ready)
	p.receivers[d.name] = false
}

// durable is a STOMP client with a durable subscription in ActiveMQ's words.
type durable struct {
	w          *world
	name       string
	home       int
	ready      chan struct{} // closed when it is subscribed
	subscribed sync.Once
}

func (d *durable) run(ctx context.Context) {
	r := d.w.random(d.name)
	for ctx.Err() == nil {
		if err := d.visit(ctx, r); err != nil {
			d.w.ledger.note("durable subscribers that ended: " + brief(err))
		}
		pause(ctx, between(r, 20*time.Millisecond, 2*time.Second))
	}
}

func (d *durable) visit(ctx context.Context, r *rand.Rand) error {
	g := d.w.choose(r, d.home)
	c, err := d.w.dial(ctx, g, d.name)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	v := &visit{gateway: g, opened: time.Now()}
	begin, cancel := context.WithTimeout(ctx, shakeLimit)
	defer cancel()
	_, err = c.Subscribe(begin, frame.Header{
		{Name: "destination", Value: "/topic/d/>"},
		{Name: "activemq.subscriptionName", Value: "all"},
		{Name: "ack", Value: "client-individual"},
		{Name: "activemq.prefetchSize", Value: "20"},
	}, func(m *frame.Frame) {
		d.w.ledger.receive(d.name, v, m.Body)
		_ = c.Ack(ctx, m) // lost with the connection
	})
	if err != nil {
		return err
	}
	d.subscribed.Do(func() { close(d.ready) })
	stay := time.NewTimer(between(r, time.Second, 12*time.Second))
	defer stay.Stop()
	for {
		select {
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return nil
		case <-stay.C:
			if d.w.unruly.Load() {
				return nil
			}
		}
	}
}
