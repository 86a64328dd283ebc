//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// promise is a group of clients that make use of one promise, and the check of
// it.
type promise struct {
	name string
	// join adds the clients. The functions that it returns say what is still
	// missing ("": nothing), and judge in the end.
	join func(w *world) party
}

// party is a promise with its clients.
type party struct {
	actors []actor
	ready  []<-chan struct{} // closed when publishers may begin
	wants  func() string
	check  func()
}

type actor interface{ run(ctx context.Context) }

// topics publishes at QoS 1 and 2 and by SEND to persistent sessions.
func topics(w *world) party {
	var p party
	var flush []func() int
	publisher := func(name string, home int, version packet.Version, qos packet.QoS) {
		d := &device{w: w, name: name, home: home, version: version, gap: 8 * time.Millisecond, ready: make(chan struct{})}
		d.next = func(r *rand.Rand) outgoing {
			return outgoing{source: source{name, fmt.Sprintf("t/%s/%d", name, r.IntN(3))}, terms: terms{once: qos == 2}, qos: qos}
		}
		p.actors = append(p.actors, d)
		flush = append(flush, d.unfinished)
	}
	publisher("pub-q1-v5", 0, packet.V5, 1)
	publisher("pub-q1-v3", 1, packet.V311, 1)
	publisher("pub-q2-v5", 1, packet.V5, 2)
	publisher("pub-q2-v3", 0, packet.V311, 2)
	s := &sender{w: w, name: "send", home: 0, gap: 8 * time.Millisecond}
	s.next = func(r *rand.Rand) (source, frame.Header) {
		topic := fmt.Sprintf("t/send/%d", r.IntN(3))
		return source{s.name, topic}, frame.Header{{Name: "destination", Value: "/topic/" + topic}, {Name: "qos", Value: "2"}}
	}
	p.actors = append(p.actors, s)
	flush = append(flush, s.unfinished)

	wanted := func(s source) bool { return strings.HasPrefix(s.topic, "t/") }
	receivers := make(map[string]bool) // by name: once
	receiver := func(d *device) {
		d.w, d.ready = w, make(chan struct{})
		d.receive = func(p *packet.Publish, via *visit) { w.ledger.receive(d.name, via, p.Payload) }
		receivers[d.name] = d.filters[0].QoS == 2
		p.actors = append(p.actors, d)
		p.ready = append(p.ready, d.ready)
	}
	receiver(&device{name: "sub-q2-v5", home: 0, version: packet.V5, filters: []packet.Filter{{Topic: "t/#", QoS: 2}}})
	receiver(&device{name: "sub-q2-v3", home: 1, version: packet.V311, filters: []packet.Filter{{Topic: "t/#", QoS: 2}}})
	receiver(&device{name: "sub-q1", home: 1, version: packet.V5, filters: []packet.Filter{{Topic: "t/+/+", QoS: 1}}})
	receiver(&device{name: "sub-slow", home: 0, version: packet.V5, filters: []packet.Filter{{Topic: "t/#", QoS: 2}}, window: 5, lag: 20 * time.Millisecond})

	p.wants = func() string {
		var wants []string
		for _, unfinished := range flush {
			if n := unfinished(); n > 0 {
				wants = append(wants, fmt.Sprintf("%d unacknowledged", n))
			}
		}
		for name := range receivers {
			if n := w.ledger.missing(name, wanted); n > 0 {
				wants = append(wants, fmt.Sprintf("%s lacks %d", name, n))
			}
		}
		return strings.Join(wants, ", ")
	}
	p.check = func() {
		for name, once := range receivers {
			w.ledger.checkReceiver("topics", name, once, wanted)
		}
	}
	return p
}

// sender is a STOMP client that sends with receipts and never sends again:
// what was not confirmed may have arrived or not.
type sender struct {
	w    *world
	name string
	home int
	gap  time.Duration
	next func(r *rand.Rand) (source, frame.Header)

	open atomic.Int64 // messages whose fate is not known
}

func (s *sender) unfinished() int { return int(s.open.Load()) }

func (s *sender) run(ctx context.Context) {
	r := s.w.random(s.name)
	for ctx.Err() == nil {
		if err := s.visit(ctx, r); err != nil {
			s.w.ledger.note("stomp senders that ended: " + brief(err))
		}
		pause(ctx, between(r, 20*time.Millisecond, 500*time.Millisecond))
	}
}

// brief is what an error says, without what is different each time.
func brief(err error) string {
	if refused, ok := errors.AsType[*stomp.Error](err); ok {
		return refused.Message
	}
	return "connection lost"
}

// dial connects a STOMP client.
func (w *world) dial(ctx context.Context, g *gateway) (*stomp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, shakeLimit)
	defer cancel()
	return stomp.Dial(ctx, g.stomp.address(), stomp.Options{HeartBeat: beat})
}

func (s *sender) visit(ctx context.Context, r *rand.Rand) error {
	c, err := s.w.dial(ctx, s.w.choose(r, s.home))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	room := make(chan struct{}, window)
	stay := time.Now().Add(between(r, time.Second, 12*time.Second))
	for pause(ctx, between(r, 0, 2*s.gap)) {
		if c.Err() != nil || s.w.unruly.Load() && time.Now().After(stay) {
			return c.Err()
		}
		if !s.w.producing.Load() {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-c.Done():
			return c.Err()
		}
		s.open.Add(1)
		from, header := s.next(r)
		n := s.w.ledger.send(from, terms{once: true})
		err := c.SendAsync(ctx, &frame.Frame{Header: header, Body: body(from, n)}, func(err error) {
			if err == nil {
				s.w.ledger.acked(from, n)
			}
			s.open.Add(-1)
			<-room
		})
		if err != nil {
			s.open.Add(-1)
			return err
		}
	}
	return nil
}
