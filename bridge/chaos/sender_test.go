//go:build chaos

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// sender is a STOMP client that publishes and never does so again: what was
// not confirmed may have arrived or not.
type sender struct {
	w    *world
	name string
	home int
	gap  time.Duration
	send func(ctx context.Context, r *rand.Rand, to *stompVisit) error

	open atomic.Int64 // messages whose fate is not known
}

// stompVisit is one connection of a sender.
type stompVisit struct {
	*stomp.Client
	s    *sender
	room chan struct{}
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
func (w *world) dial(ctx context.Context, g *gateway, client string) (*stomp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, shakeLimit)
	defer cancel()
	return stomp.Dial(ctx, g.stomp.address(), stomp.Options{HeartBeat: beat, ClientID: client})
}

func (s *sender) visit(ctx context.Context, r *rand.Rand) error {
	c, err := s.w.dial(ctx, s.w.choose(r, s.home), "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	v := &stompVisit{c, s, make(chan struct{}, window)}
	stay := time.Now().Add(between(r, time.Second, 12*time.Second))
	for pause(ctx, between(r, 0, 2*s.gap)) {
		if c.Err() != nil || s.w.unruly.Load() && time.Now().After(stay) {
			return c.Err()
		}
		if !s.w.producing.Load() {
			continue
		}
		if err := s.send(ctx, r, v); err != nil {
			return err
		}
	}
	return nil
}

// begin waits for room for one more message.
func (v *stompVisit) begin() error {
	select {
	case v.room <- struct{}{}:
		v.s.open.Add(1)
		return nil
	case <-v.Done():
		return v.Err()
	}
}

func (v *stompVisit) finish() {
	v.s.open.Add(-1)
	<-v.room
}

// send publishes the next message of a source.
func (v *stompVisit) send(ctx context.Context, from source, terms terms, header frame.Header) error {
	if err := v.begin(); err != nil {
		return err
	}
	ledger := v.s.w.ledger
	n := ledger.send(from, terms)
	err := v.SendAsync(ctx, message(from, n, header...), func(err error) {
		if err == nil {
			ledger.acked(from, n)
		}
		v.finish()
	})
	if err != nil {
		v.finish()
	}
	return err
}

// message returns a SEND.
func message(to source, n int, header ...frame.Field) *frame.Frame {
	destination := "/topic/" + to.topic
	if strings.HasPrefix(to.topic, "queue/") {
		destination = "/" + to.topic
	}
	return &frame.Frame{Header: append(frame.Header{{Name: "destination", Value: destination}}, header...), Body: body(to, n)}
}
