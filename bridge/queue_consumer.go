package bridge

import (
	"slices"
)

// consumer is one subscription that competes: a STOMP SUBSCRIBE to a queue, or
// an MQTT shared subscription. Its credit is shared by all it has joined.
type consumer struct {
	q      *queues
	credit int // deliveries it may hold unsettled
	offer  func(*queued) bool

	// Guarded by q.mu.
	sources  []*source
	watches  []*watch
	live     []*liveGroup
	turn     int  // the source that is served first
	refused  bool // it had no room for an offer; ready comes
	readied  int  // calls of ready
	left     bool // nothing is offered any more
	offering int  // offers under way
	after    []func()
	first    *queued // what it holds, as it was handed out
	last     *queued
	held     int
}

// newConsumer returns a consumer that has joined nothing. offer never blocks
// and is called without a lock; false: no room, ready asks again.
func (q *queues) newConsumer(credit int, offer func(*queued) bool) *consumer {
	c := &consumer{q: q, credit: max(credit, 1), offer: offer}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.consumers[c] = struct{}{}
	return c
}

// ready says that an offer that was refused may be repeated.
func (c *consumer) ready() {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.refused = false
	c.readied++
	c.run()
}

// run serves the sources of a consumer that may have room again. q.mu is held,
// and released for a while.
func (c *consumer) run() {
	c.turn++
	for i := range len(c.sources) {
		if n := len(c.sources); n > 0 {
			c.sources[(c.turn+i)%n].run()
		}
	}
}

// share is how much of its free credit one source may ask the core for. A
// consumer of one source never holds more than its credit; of several, each
// may ask for a part, and what comes for nothing waits for a moment and is
// then given back. q.mu is held.
func (c *consumer) share() int {
	free := c.credit - c.held
	if free <= 0 || c.refused || c.left {
		return 0
	}
	return max(1, free/len(c.sources))
}

// take and drop keep the list of what the consumer holds. q.mu is held.
func (c *consumer) take(d *queued) {
	d.to, d.before, d.after = c, c.last, nil
	if c.last == nil {
		c.first = d
	} else {
		c.last.after = d
	}
	c.last = d
	c.held++
}

func (c *consumer) drop(d *queued) {
	if d.before == nil {
		c.first = d.after
	} else {
		d.before.after = d.after
	}
	if d.after == nil {
		c.last = d.before
	} else {
		d.after.before = d.before
	}
	d.to, d.before, d.after = nil, nil, nil
	c.held--
}

// try offers d without the lock and reports whether it was taken. q.mu is
// held, and released meanwhile.
func (c *consumer) try(d *queued) bool {
	c.offering++
	readied := c.readied
	c.q.mu.Unlock()
	ok := c.offer(d)
	c.q.mu.Lock()
	if c.offering--; c.offering == 0 && len(c.after) > 0 {
		after := c.after
		c.after = nil
		c.q.mu.Unlock()
		defer c.q.mu.Lock()
		for _, f := range after {
			f()
		}
		return ok
	}
	if !ok && readied == c.readied {
		c.refused = true
	}
	return ok
}

// whenIdle calls f when no offer to c is under way. q.mu is not held.
func (c *consumer) whenIdle(f func()) {
	c.q.mu.Lock()
	if c.offering > 0 {
		c.after = append(c.after, f)
		c.q.mu.Unlock()
		return
	}
	c.q.mu.Unlock()
	f()
}

// end stops the offers to c; what it holds stays its own until leave. done is
// called when none is under way.
func (q *queues) end(c *consumer, done func()) {
	q.mu.Lock()
	c.left = true
	sources, watches, live := c.sources, c.watches, c.live
	c.sources, c.watches, c.live = nil, nil, nil
	for _, s := range sources {
		s.members = slices.DeleteFunc(s.members, func(m *consumer) bool { return m == c })
	}
	for _, s := range sources {
		s.run()
	}
	q.mu.Unlock()
	for _, w := range watches {
		w.remove(c)
	}
	for _, g := range live {
		g.remove(c)
	}
	c.whenIdle(done)
}

// leave ends c. What it has not settled waits for others; done, which may be
// nil, is called then. When the connection died (clean is false) the oldest
// delivery is taken for the cause, and counts an attempt.
func (q *queues) leave(c *consumer, clean bool, done func()) {
	q.end(c, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.consumers, c)
		waiting := 1
		finished := func(error) {
			q.mu.Lock()
			waiting--
			last := waiting == 0
			q.mu.Unlock()
			if last && done != nil {
				done()
			}
		}
		sources := make(map[*source]struct{})
		for d := c.first; d != nil; d = c.first {
			c.drop(d)
			s := d.source
			sources[s] = struct{}{}
			if !clean {
				clean = true
				if n := q.failed(s.attemptKey(d.seq)); s.spent(n) {
					waiting++
					s.bury(d, reasonMaxDeliver, finished)
					continue
				}
			}
			s.requeue(d)
		}
		for s := range sources {
			s.run()
		}
		q.mu.Unlock()
		finished(nil)
		q.mu.Lock()
	})
}
