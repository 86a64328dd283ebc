package bridge

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

// source is one queue, or one filter of a group, as this gateway consumes it:
// a durable consumer of the core that all gateways share. It asks for what its
// members have room for and hands out what comes, in turn.
type source struct {
	q *queues
	spec
	forDead bool // a dead-letter queue

	// Guarded by q.mu.
	opened   bool // the core's consumer exists, as far as known
	located  bool // places are complete
	closed   bool // out of q.sources
	created  time.Time
	epoch    int  // of the core's consumer: what an earlier one delivered it knows nothing of
	running  bool // a goroutine is in run
	joiners  []*joining
	joining  int // joins that have not ended
	members  []*consumer
	turn     int                // the member that is served first
	held     map[uint64]*queued // not settled, by sequence
	waiting  []*queued          // those of held that are nobody's yet, in order
	barriers int                // what the core has not confirmed: nothing is asked for before

	sub         *nats.Subscription // answers to pulls of this generation
	gen         int
	outstanding int       // messages asked for and not delivered
	lost        bool      // what is asked for is void
	dry         bool      // places[0] has no more messages: once held is empty, the next
	heard       time.Time // of the pulls
	quietSince  time.Time // nothing was sent to the queue, as far as its watchers know
}

func newSource(q *queues, sp spec) *source {
	return &source{
		q: q, spec: sp, forDead: !sp.isGroup && q.isDeadLetter(sp.topic),
		held: make(map[uint64]*queued), quietSince: time.Now(),
	}
}

func (s *source) attemptKey(seq uint64) attemptKey {
	return attemptKey{s.places[0].stream, s.name, seq}
}

// add makes c a member. q.mu is held.
func (s *source) add(c *consumer) {
	if slices.Contains(s.members, c) {
		return
	}
	s.members = append(s.members, c)
	c.sources = append(c.sources, s)
}

// run does what there is to do: hands out, gives back, asks for more. One
// goroutine at a time does it, so that each member is offered messages in
// their order. q.mu is held, and released around each action.
func (s *source) run() {
	if s.running || !s.opened || s.closed {
		return
	}
	s.running = true
	for s.act() {
	}
	s.running = false
}

// act does one thing, and reports whether there may be another.
func (s *source) act() bool {
	switch {
	case !s.opened:
		return false
	case len(s.waiting) > 0 && s.hand():
		return true
	case s.lost, s.deserted() && s.outstanding > 0 && !s.lingers():
		s.withdraw()
		return true
	case s.barriers > 0:
		return false
	case s.dry && len(s.held) == 0:
		s.advance()
		return false
	case s.deserted() && s.outstanding == 0 && len(s.waiting) == len(s.held): // else those who leave have some that come before
		if len(s.waiting) > 0 {
			s.giveBack(slices.Clone(s.waiting), 0, nil)
			return true
		}
		s.close()
		return false
	}
	if n := s.demand(); n > 0 {
		return s.pull(n)
	}
	return false
}

// deserted reports whether nobody consumes the source.
func (s *source) deserted() bool { return len(s.members)+s.joining == 0 }

// lingers reports whether the pulls of a source may run out when its consumers
// have gone, and what they bring wait for the next consumer: nobody else could
// have it. A group's state outlives the gateway, which would have to come back
// for what it had in hand.
func (s *source) lingers() bool { return s.q.alone && !s.q.closed && !s.isGroup }

// close takes a source out that nobody needs. q.mu is held, and released for
// a while.
func (s *source) close() {
	s.closed = true
	delete(s.q.sources, s.name)
	sub := s.sub
	s.sub = nil
	s.q.mu.Unlock()
	defer s.q.mu.Lock()
	if sub != nil {
		_ = sub.Unsubscribe() // no pull is left
	}
	s.q.open.Done()
}

// hand offers the first message that waits to a member with room. false:
// there is none.
func (s *source) hand() bool {
	q, d := s.q, s.waiting[0]
	if d.expired(time.Now()) {
		s.waiting = slices.Delete(s.waiting, 0, 1)
		q.counters.expired.Add(1)
		s.acknowledge(d, nil)
		return true
	}
	c := s.pick()
	if c == nil {
		return false
	}
	s.waiting = slices.Delete(s.waiting, 0, 1)
	d.state = handed
	c.take(d)
	if c.try(d) {
		q.counters.delivered.Add(1)
		if len(q.unread) > 0 {
			delete(q.unread, s.attemptKey(d.seq))
		}
		return true
	}
	if d.state == handed && d.to == c { // else c has left meanwhile, and it is given back
		c.drop(d)
		s.wait(d)
	}
	return true
}

// pick returns the next member in turn that has room, or nil.
func (s *source) pick() *consumer {
	n := len(s.members)
	for i := range n {
		c := s.members[(s.turn+i)%n]
		if c.held < c.credit && !c.refused && !c.left {
			s.turn = (s.turn + i + 1) % n
			return c
		}
	}
	return nil
}

// wait puts d where its sequence belongs: what was given back comes first.
func (s *source) wait(d *queued) {
	d.state = waits
	i := len(s.waiting)
	for i > 0 && s.waiting[i-1].seq > d.seq {
		i--
	}
	s.waiting = slices.Insert(s.waiting, i, d)
}

// room returns how many messages the members may ask for, and half of what
// they could if they held nothing.
func (s *source) room() (free, half int) {
	for _, c := range s.members {
		free += c.share()
		half += max(1, c.credit/max(1, len(c.sources)))
	}
	return free, (half + 1) / 2
}

// demand returns how much to ask for: what there is room for, once that is
// worth a request.
func (s *source) demand() int {
	if s.barriers > 0 || s.dry {
		return 0
	}
	free, half := s.room()
	n := free - s.outstanding - len(s.waiting)
	if n < half && s.outstanding > 0 {
		return 0
	}
	return n
}

// receive takes a delivery of the core.
func (s *source) receive(gen int, m *nats.Msg) {
	if m.Reply == "" {
		s.status(gen, m)
		return
	}
	q := s.q
	meta, err := parseReply(m.Reply)
	if err != nil {
		q.log.Error("delivery of the core not understood", "subject", m.Subject, "error", err)
		return
	}
	msg, ours := s.decode(m)
	now := time.Now()
	d := &queued{
		message: msg, attempt: 1, source: s, seq: meta.stream, since: now,
		reply: m.Reply, delivered: meta.delivered, alive: now,
	}
	if ours {
		msg.Time = meta.time
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	if gen == s.gen {
		s.outstanding = max(0, s.outstanding-1)
	}
	s.heard, s.quietSince = now, now
	if s.closed || gen != s.gen && !strings.Contains(m.Reply, "."+s.places[0].stream+"."+s.name+".") {
		s.sendBack(d)
		return
	}
	if old := s.held[d.seq]; old != nil { // still with us: a stall, or the core's consumer is a new one
		old.reply, old.delivered, old.epoch, old.alive = d.reply, d.delivered, s.epoch, d.alive
		q.counters.adopted.Add(1)
		if old.state == acking {
			s.confirm(old)
		}
		return
	}
	d.epoch = s.epoch
	s.held[d.seq] = d
	if !ours {
		s.acknowledge(d, nil)
		return
	}
	if len(q.attempts) > 0 {
		d.attempt += q.attempts[s.attemptKey(d.seq)]
	}
	d.redelivered = d.attempt > 1 || meta.delivered > 1
	if len(q.unread) > 0 && d.attempt == 1 && meta.delivered <= q.unread[s.attemptKey(d.seq)]+1 {
		d.redelivered = false
	}
	if s.spent(d.attempt - 1) { // it could not be buried when it was
		s.bury(d, reasonMaxDeliver, nil)
		return
	}
	s.wait(d)
	s.run()
}

// decode makes a message of what the core delivered. false: the source's
// filter matches it on the core, but it is none of its messages.
func (s *source) decode(m *nats.Msg) (*message, bool) {
	topic, native := s.topic, false
	if s.isGroup {
		n := s.q.core.names
		root := n.durable()
		if native = strings.HasPrefix(m.Subject, n.native()); native {
			root = n.native()
		}
		var err error
		if topic, err = mapping.TopicOf(root, m.Subject); err != nil || !mapping.MatchFilter(s.filter, topic) {
			return nil, false
		}
	} else if len(m.Header) > 0 && m.Header[mapping.HeaderName] == nil {
		native = true
	}
	if native {
		return nativeMessage(topic, m), true
	}
	msg, err := newStored(topic, m)
	if err != nil { // not ours, then: nothing is lost because of its header
		s.q.log.Warn("message with damaged metadata", "topic", topic, "error", err)
		s.q.counters.damaged.Add(1)
		return nativeMessage(topic, m), true
	}
	return msg, true
}

// look keeps what is held, gives back what has waited in vain, and notices
// pulls that are dead. back: the connection was lost in between.
func (s *source) look(now time.Time, back bool) {
	q := s.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.closed || !s.opened {
		return
	}
	var keep []string
	for _, d := range s.held {
		if now.Sub(d.alive) >= q.pace.progress && d.epoch == s.epoch && d.state != acking {
			d.alive = now
			keep = append(keep, d.reply)
		}
	}
	s.returnLate(now)
	if s.outstanding > 0 && (back || now.Sub(s.heard) > 2*q.pace.beat+q.pace.tick) {
		s.lost = true
	}
	if s.idle(now) {
		for _, c := range s.members {
			c.sources = slices.DeleteFunc(c.sources, func(other *source) bool { return other == s })
		}
		s.members = nil
	}
	s.run()
	q.mu.Unlock()
	defer q.mu.Lock()
	for _, reply := range keep {
		q.publishTo(reply, ackProgress)
	}
}

// returnLate gives back what has waited for a member's room for too long:
// another gateway may have some. q.mu is held, and released for a while.
func (s *source) returnLate(now time.Time) {
	late := func(d *queued) bool { return now.Sub(d.since) > s.q.pace.hold }
	if s.q.alone || s.running || s.barriers > 0 || !slices.ContainsFunc(s.waiting, late) {
		return
	}
	if s.outstanding > 0 { // or it would come straight back
		s.lost = true
		return
	}
	var list []*queued
	for _, d := range s.waiting {
		if late(d) {
			list = append(list, d)
		}
	}
	s.q.counters.returned.Add(uint64(len(list)))
	s.giveBack(list, 0, nil)
}

// idle reports whether only wildcards consume the queue, and nothing was sent
// to it for a while: they come back with the next message.
func (s *source) idle(now time.Time) bool {
	if s.outstanding == 0 || len(s.held) > 0 || s.isGroup {
		s.quietSince = now
		return false
	}
	for _, c := range s.members {
		if len(c.watches) == 0 {
			return false
		}
	}
	return now.Sub(s.quietSince) > s.q.pace.idle
}
