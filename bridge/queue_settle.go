package bridge

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// What the core is told about a delivery.
var (
	ackProgress = []byte("+WPI")
	ackNak      = []byte("-NAK")
)

const (
	ackPatience = 5 * time.Second
	// errNoMessage is JetStream's answer to the deletion of what is gone.
	errNoMessage = 10057
)

// queued is a delivery to a consumer, to be settled once.
type queued struct {
	*message

	attempt     int  // 1 and the failed ones that were counted
	redelivered bool // somebody may have seen it before

	source *source // nil: at QoS 0, nothing to settle
	seq    uint64
	since  time.Time // it is here

	// Guarded by q.mu.
	state         state
	reply         string // settles it
	delivered     uint64 // how often the core has delivered it
	epoch         int    // of the source when it came
	alive         time.Time
	done          func(error) // while acking
	to            *consumer
	before, after *queued // in to's list
}

// state is who has a delivery.
type state uint8

const (
	waits   state = iota // the source
	handed               // its consumer
	buried               // the dead-letter queue will
	acking               // the core, which has not answered yet
	settled              // nobody here
)

// shownAttempt is the number of the delivery as clients are told it: what they
// may have seen before is not shown as the first.
func (d *queued) shownAttempt() int {
	if d.redelivered {
		return max(d.attempt, 2)
	}
	return d.attempt
}

// settle ends a delivery: err nil acknowledges it; errRequeue counts an
// attempt and has it delivered again, or dead-lettered when that was the last
// one; errReject dead-letters it now; errReturned has it delivered again and
// counts nothing. done, which may be nil, is called when the core has taken
// that. What is not the consumer's any more is left alone.
func (d *queued) settle(err error, done func(error)) {
	s := d.source
	if s == nil {
		tell(done, nil)
		return
	}
	q := s.q
	q.mu.Lock()
	if d.state != handed {
		q.mu.Unlock()
		tell(done, errGone)
		return
	}
	c := d.to
	c.drop(d)
	switch {
	case err == nil:
		q.counters.acknowledged.Add(1)
		s.acknowledge(d, done)
	case errors.Is(err, errReturned):
		q.counters.returned.Add(1)
		s.requeue(d)
		q.mu.Unlock()
		tell(done, nil)
		q.mu.Lock()
	default:
		s.refuse(d, errors.Is(err, errReject), done)
	}
	if c.left {
		s.run()
	} else {
		c.run()
	}
	q.mu.Unlock()
}

func tell(done func(error), err error) {
	if done != nil {
		done(err)
	}
}

// release takes d out of the source. q.mu is held.
func (s *source) release(d *queued) {
	if d.state == waits {
		s.waiting = slices.DeleteFunc(s.waiting, func(w *queued) bool { return w == d })
	}
	d.state = settled
	delete(s.held, d.seq)
}

// ours reports whether the core still counts d as delivered to this gateway:
// it settles by sequence, so a late answer would settle what another gateway's
// consumer is working on. q.mu is held.
func (s *source) ours(d *queued) bool {
	return s.q.alone || time.Since(d.alive) < s.q.pace.ackWait
}

// acknowledge has the core forget d. When somebody wants to know, d stays
// until it has answered. q.mu is held, and released for a while.
func (s *source) acknowledge(d *queued, done func(error)) {
	q := s.q
	if len(q.attempts) > 0 {
		delete(q.attempts, s.attemptKey(d.seq))
	}
	known := d.epoch == s.epoch || s.isGroup
	switch ours := s.ours(d); {
	case !ours, done == nil && known:
		s.release(d)
		q.mu.Unlock()
		defer q.mu.Lock()
		if ours {
			q.publishTo(d.reply, nil)
		} else {
			tell(done, errGone)
		}
	case known:
		d.state, d.done = acking, done
		s.confirm(d)
	default: // the core's consumer is a new one that knows nothing of it
		d.state, d.done = acking, done
		s.remove(d)
	}
}

// confirm acknowledges d and waits for the core's answer. q.mu is held, and
// released for a while.
func (s *source) confirm(d *queued) {
	q, reply := s.q, d.reply
	q.mu.Unlock()
	defer q.mu.Lock()
	q.asks.ask(reply, nil, ackPatience, func(_ *nats.Msg, err error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if err != nil && !s.isGroup && d.state == acking {
			s.remove(d)
			return
		}
		s.confirmed(d, err)
	})
}

// remove deletes a message from its queue, which is what an acknowledgement
// does and may be done twice. q.mu is held, and released for a while.
func (s *source) remove(d *queued) {
	q := s.q
	subject := "$JS.API.STREAM.MSG.DELETE." + s.places[0].stream
	body := `{"seq":` + strconv.FormatUint(d.seq, 10) + `,"no_erase":true}`
	q.mu.Unlock()
	defer q.mu.Lock()
	q.asks.ask(subject, []byte(body), ackPatience, func(m *nats.Msg, err error) {
		if err == nil {
			_, err = parseAck(m)
		}
		if errorCode(err) == errNoMessage {
			err = nil
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		s.confirmed(d, err)
	})
}

// confirmed ends the wait for the core's answer. q.mu is held, and released
// for a while.
func (s *source) confirmed(d *queued, err error) {
	if d.state != acking {
		return // it was asked for again, and that was answered
	}
	done := d.done
	s.release(d)
	s.run()
	s.q.mu.Unlock()
	defer s.q.mu.Lock()
	tell(done, err)
}

// giveBack returns deliveries to the core, first to last, and calls done when
// it has them all. Nothing is asked for before that, so that they come first,
// in order. q.mu is held, and released for a while.
func (s *source) giveBack(list []*queued, delay time.Duration, done func(error)) {
	q := s.q
	slices.SortFunc(list, func(a, b *queued) int { return cmp.Compare(a.seq, b.seq) })
	replies := make([]string, 0, len(list))
	for _, d := range list {
		if d.epoch == s.epoch && s.ours(d) { // others come back by themselves
			replies = append(replies, d.reply)
			if d.state == waits && !d.redelivered {
				note(q.unread, s.attemptKey(d.seq), d.delivered)
			}
		}
		s.release(d)
	}
	if len(replies) == 0 {
		q.mu.Unlock()
		tell(done, nil)
		q.mu.Lock()
		return
	}
	s.barriers++
	last := len(replies) - 1
	q.mu.Unlock()
	defer q.mu.Lock()
	for _, reply := range replies[:last] {
		q.publishTo(reply, nak(delay))
	}
	q.asks.ask(replies[last], nak(delay), ackPatience, func(*nats.Msg, error) {
		q.mu.Lock()
		s.barriers--
		s.run()
		q.mu.Unlock()
		tell(done, nil) // without an answer it comes back after ackWait
	})
}

// requeue makes a delivery that a client had the first of those that wait here
// again; the core need not know. What the core has given to another gateway
// since is theirs. q.mu is held.
func (s *source) requeue(d *queued) {
	s.release(d)
	if !s.ours(d) {
		return
	}
	again := &queued{
		message: d.message, attempt: 1 + s.q.attempts[s.attemptKey(d.seq)], redelivered: true,
		source: s, seq: d.seq, since: time.Now(),
		reply: d.reply, delivered: d.delivered, epoch: d.epoch, alive: d.alive,
	}
	s.held[d.seq] = again
	s.wait(again)
}

// sendBack returns a delivery that nobody has heard of yet.
func (s *source) sendBack(d *queued) {
	s.q.counters.returned.Add(1)
	s.q.mu.Unlock()
	defer s.q.mu.Lock()
	s.q.publishTo(d.reply, ackNak)
}

func nak(delay time.Duration) []byte {
	if delay == 0 {
		return ackNak
	}
	return []byte(`-NAK {"delay":` + strconv.FormatInt(int64(delay), 10) + `}`)
}
