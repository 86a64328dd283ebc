package bridge

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// idleConsumer is when the core removes a queue's consumer that no
	// gateway asks any more.
	idleConsumer = 5 * time.Minute
	// maxPullBytes bounds what one pull brings. It is more than a record.
	maxPullBytes = 64 << 20
	// maxUnacked is what the core lets all gateways hold of one queue.
	maxUnacked = 1 << 20
	// ackNothing ends an acknowledgement's subject: of a message that no stream
	// has, since the core does not answer about number 0.
	ackNothing  = ".1.9007199254740992.1.0.0"
	openTimeout = 10 * time.Second
	maxPause    = 5 * time.Second
)

// pull asks the core for n more messages. q.mu is held, and released for a
// while. false: it did not work out, and the next look tries again.
func (s *source) pull(n int) bool {
	q := s.q
	if s.sub == nil && !s.listen() {
		return false
	}
	s.outstanding += n
	s.heard = time.Now()
	inbox, stream, once := s.sub.Subject, s.places[0].stream, len(s.places) > 1
	q.mu.Unlock()
	ask := make([]byte, 0, 128)
	ask = append(ask, `{"batch":`...)
	ask = strconv.AppendInt(ask, int64(n), 10)
	ask = append(ask, `,"max_bytes":`...)
	ask = strconv.AppendInt(ask, maxPullBytes, 10)
	if once {
		ask = append(ask, `,"no_wait":true}`...)
	} else {
		ask = append(ask, `,"expires":`...)
		ask = strconv.AppendInt(ask, int64(q.pace.expires), 10)
		ask = append(ask, `,"idle_heartbeat":`...)
		ask = strconv.AppendInt(ask, int64(q.pace.beat), 10)
		ask = append(ask, '}')
	}
	err := q.core.sub.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+s.name, inbox, ask)
	q.mu.Lock()
	if err != nil {
		s.lost = true
	}
	return err == nil
}

// listen opens the inbox of a new generation of pulls. q.mu is held, and
// released for a while.
func (s *source) listen() bool {
	q, gen := s.q, s.gen
	q.mu.Unlock()
	sub, err := q.core.sub.Subscribe(nats.NewInbox(), func(m *nats.Msg) { s.receive(gen, m) })
	if err == nil {
		err = sub.SetPendingLimits(-1, -1) // what comes was asked for
	}
	q.mu.Lock()
	s.sub = sub
	return err == nil
}

// withdraw takes all pulls back: the core drops those whose inbox nobody
// listens to. Nothing is asked for or given back before it has, and before
// what it sent until then has been received, so that nothing overtakes it.
// q.mu is held, and released for a while.
func (s *source) withdraw() {
	q, sub := s.q, s.sub
	s.sub, s.outstanding, s.lost = nil, 0, false
	s.gen++
	if sub == nil {
		return
	}
	s.barriers++
	name := s.places[0].stream + "." + s.name
	q.mu.Unlock()
	defer q.mu.Lock()
	passed := func(*nats.Msg, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		s.barriers--
		s.run()
	}
	sub.SetClosedHandler(func(string) {
		// The core notices that nobody waits for a pull when it has a message
		// for it, and delivers that one again behind others. Asked about its
		// consumer, it looks before. The answer to an acknowledgement, of
		// nothing, comes after what it could not deliver was put back.
		q.asks.ask("$JS.API.CONSUMER.INFO."+name, nil, ackPatience, func(*nats.Msg, error) {
			q.asks.ask("$JS.ACK."+name+ackNothing, ackProgress, ackPatience, passed)
		})
	})
	if err := sub.Drain(); err != nil { // the connection is closed
		passed(nil, err)
	}
}

// status takes what the core says about pulls.
func (s *source) status(gen int, m *nats.Msg) {
	code := m.Header.Get("Status")
	q := s.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if gen != s.gen || s.closed {
		return
	}
	s.heard = time.Now()
	pending, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	switch {
	case code == "100":
		return
	case err == nil: // one pull has ended
		s.outstanding = max(0, s.outstanding-pending)
	case len(s.places) > 1 && (code == "404" || code == "408"):
		s.outstanding, s.dry = 0, true
	default: // the consumer has gone, or moves
		q.log.Debug("pull", "queue", s.name, "status", code, "reason", m.Header.Get("Description"))
		s.lost = true
		if !s.deserted() {
			s.reopen()
			return
		}
	}
	s.run()
}

// reopen has the core's consumer looked for, and created if need be. q.mu is
// held.
func (s *source) reopen() {
	if s.q.closed || !s.opened {
		return
	}
	s.opened = false
	s.q.work.Go(s.open)
}

// advance goes to the next place. q.mu is held.
func (s *source) advance() {
	s.dry = false
	s.places = s.places[1:]
	s.lost = true
	s.reopen()
}

// open makes sure of the core's consumer, and tells those who wait for it. A
// first failure ends their joins; later ones are tried again.
func (s *source) open() {
	q := s.q
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		created, err := s.create()
		q.mu.Lock()
		if err == nil || s.unwanted() {
			if err == nil && !s.created.Equal(created) {
				s.created = created
				s.epoch++
			}
			s.opened = true
			s.heard = time.Now()
			s.answer(err)
			s.run()
			q.mu.Unlock()
			return
		}
		s.answer(err)
		wanted := len(s.members) > 0 && !q.closed
		q.mu.Unlock()
		if wanted {
			q.log.Warn("queue cannot be read; trying again", "queue", s.name, "error", err)
		}
		select {
		case <-q.ctx.Done():
		case <-time.After(pause):
		}
	}
}

// unwanted reports whether trying again is for nobody.
func (s *source) unwanted() bool { return s.q.closed || len(s.members)+len(s.held) == 0 }

// answer ends what open was waited for by. q.mu is held, and released for a
// while.
func (s *source) answer(err error) {
	joiners := s.joiners
	s.joiners = nil
	for _, j := range joiners {
		if err != nil {
			j.err = err
		}
		if j.waiting--; j.waiting == 0 {
			s.q.admit(j)
		}
	}
}

// create creates the core's consumer where there is none.
func (s *source) create() (created time.Time, err error) {
	q := s.q
	select {
	case q.slot <- struct{}{}:
		defer func() { <-q.slot }()
	case <-q.ctx.Done():
		return created, errClosing
	}
	ctx, cancel := context.WithTimeout(q.ctx, openTimeout)
	defer cancel()
	if !s.isGroup && !s.located {
		if err := s.locate(ctx); err != nil {
			return created, err
		}
	}
	cfg := jetstream.ConsumerConfig{
		Name: s.name, Durable: s.name, FilterSubjects: []string{s.places[0].subject},
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.pace.ackWait, MaxAckPending: maxUnacked,
		MaxDeliver: -1,
	}
	if s.isGroup {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	} else {
		cfg.MemoryStorage, cfg.InactiveThreshold = true, idleConsumer
	}
	c, err := q.core.js.CreateOrUpdateConsumer(ctx, s.places[0].stream, cfg)
	if err != nil {
		return created, fmt.Errorf("consumer %s: %w", s.name, err)
	}
	return c.CachedInfo().Created, nil
}

// locate puts the other streams that still hold messages of the queue before
// the one that takes new ones: its policy was another one.
func (s *source) locate(ctx context.Context) error {
	older, err := s.q.elsewhere(ctx, s.topic, s.places[0].stream)
	if err != nil {
		return err
	}
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.places, s.located = slices.Concat(older, s.places), true
	return nil
}
