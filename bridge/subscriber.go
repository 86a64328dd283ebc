package bridge

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPending is how many sequence numbers are kept for a subscriber that
	// is behind; beyond it the log is scanned again for the rest.
	maxPending = 4096
	// refillPending is when the scanner is asked for more.
	refillPending = maxPending / 4
	// fetchBatch is how many missing bodies are read from the log at a time.
	fetchBatch = 64
)

// Tokens of deliveries that are not named by their place in the log.
const (
	tokenLocal    uint64 = 1 << 63 // set in every such token
	tokenRetained uint64 = 1 << 62 // of a retained message
)

// delivery is a message offered to a client, in the bridge's words.
type delivery struct {
	grant
	msg      *message // nil with released
	token    uint64   // 0: nothing to settle
	attempt  int
	retained bool // sent because of the SUBSCRIBE
	released bool // only the release is to be repeated (QoS 2)
}

// sink is a connected client as a subscriber sees it. offer never blocks; it
// is called with the subscriber locked and must not call back.
type sink interface{ offer(delivery) bool }

// subscriber gets copies of the messages to topics: an MQTT session, or one
// STOMP subscription. It has a window of unsettled deliveries and a position
// in the log; what does not fit waits in the log.
type subscriber struct {
	b      *Bridge
	name   string // the client, for the log
	client string // origin of its own messages, for No Local
	sink   sink
	window int     // unsettled deliveries at most; 0: no window
	untold bool    // deliveries are settled by being offered (STOMP ack:auto, or no window)
	only   *target // of a temporary destination: who gets what take is given

	mu      sync.Mutex
	closed  bool
	refused bool                       // the sink had no room; ready comes
	owed    map[*subscription]struct{} // whose retained messages are not all sent
	loading int                        // retained sets being read: what the log brings waits behind them
	front   fifo                       // deliveries to repeat, then retained messages; before anything of pending
	pending fifo                       // from the log, in order
	flights map[uint64]flight
	order   []uint64      // tokens of flights as they were offered; may hold settled ones
	from    uint64        // what the tail brings below it was settled in an earlier connection, or scanned
	high    uint64        // everything in the log up to it is settled, in flight or not for us
	local   uint64        // the last local token number
	drained chan struct{} // not nil: closed when front is empty or the subscriber closes
	changed func()        // not nil: position or flights have changed (to be persisted)

	// When the log holds more than pending takes.
	lagging  bool
	scanning atomic.Bool // a pass of the scanner is at next; set with mu held
	next     uint64      // the scan goes on here
	joinAt   uint64      // not 0: the scan ends here, what is above it collects in ahead
	ahead    fifo

	fetching bool
}

// flight is a delivery that was offered and is not settled.
type flight struct {
	seq      uint64
	qos      uint8
	retained bool
	released bool
}

// entry is a delivery that waits.
type entry struct {
	seq      uint64
	target   *target  // nil: grant is known
	msg      *message // nil: to be read from the cache or the log
	grant    grant
	token    uint64 // not 0: a repeated one
	flight   flight // of a repeated one
	retained bool
}

// fifo is a queue of entries in one slice.
type fifo struct {
	list []entry
	head int
}

func (f *fifo) len() int        { return len(f.list) - f.head }
func (f *fifo) first() *entry   { return &f.list[f.head] }
func (f *fifo) push(e entry)    { f.list = append(f.list, e) }
func (f *fifo) at(i int) *entry { return &f.list[f.head+i] }

func (f *fifo) pop() {
	f.list[f.head] = entry{}
	if f.head++; f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
		if cap(f.list) > 256 {
			f.list = nil
		}
	} else if f.head > 1024 && f.head > len(f.list)/2 {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
}

// begin sets where a new subscription, which the matcher has, starts: what
// the tail begins to deliver after this is for it.
func (s *subscriber) begin(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.since = s.b.log.end()
	sub.asked = sub.since
}

// ask sets from where the log brings what a subscription that is continued
// asks for again.
func (s *subscriber) ask(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.asked = s.b.log.end()
}

// load announces n retained sets: what the log brings waits behind them.
func (s *subscriber) load(n int) {
	s.mu.Lock()
	s.loading += n
	s.mu.Unlock()
}

// live delivers a message that is not stored. What the client has no room for
// is lost, and counted.
func (s *subscriber) live(m *message, t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	g, ok := t.grant(m)
	if !ok {
		return
	}
	g.qos = 0
	if !s.sink.offer(delivery{grant: g, msg: m, attempt: 1}) {
		s.b.counters.dropped.Add(1)
	}
}

// tail delivers a message at the end of the log, or keeps its number.
func (s *subscriber) tail(m *message, t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || m.seq < s.from {
		return
	}
	g, ok := t.grant(m)
	if !ok {
		return
	}
	if g.qos == 0 && !s.untold && s.loading == 0 {
		if !s.sink.offer(delivery{grant: g, msg: m, attempt: 1}) {
			s.b.counters.dropped.Add(1)
		}
		return
	}
	if s.lagging {
		if s.joinAt != 0 && m.seq > s.joinAt {
			if s.ahead.len() >= maxPending {
				s.joinAt, s.ahead = 0, fifo{} // too fast: scan on
				return
			}
			s.ahead.push(entry{seq: m.seq, target: t})
			s.b.log.cache.put(m)
		}
		return
	}
	if s.pending.len() == 0 && s.front.len() == 0 && s.loading == 0 && s.room() && s.offer(m, g) {
		return
	}
	if s.pending.len() >= maxPending {
		s.lag(m.seq)
		return
	}
	s.pending.push(entry{seq: m.seq, target: t})
	s.b.log.cache.put(m)
}

// lag leaves the tail: what comes from seq on is scanned for later.
func (s *subscriber) lag(seq uint64) {
	s.scanning.Store(false)
	s.lagging, s.next, s.joinAt, s.ahead = true, seq, 0, fifo{}
	s.b.log.scan.add(s)
}

// room reports whether one more delivery may be unsettled.
func (s *subscriber) room() bool { return !s.refused && (s.window == 0 || len(s.flights) < s.window) }

// offer gives a message of the log to the client; false: it must wait.
func (s *subscriber) offer(m *message, g grant) bool {
	token := m.seq
	if g.qos == 0 || s.untold {
		token = 0
	}
	if !s.sink.offer(delivery{grant: g, msg: m, token: token, attempt: 1}) {
		s.refused = true
		return false
	}
	s.high = m.seq
	if token != 0 {
		s.fly(token, flight{seq: m.seq, qos: g.qos})
	}
	return true
}

// fly notes an unsettled delivery.
func (s *subscriber) fly(token uint64, f flight) {
	if s.flights == nil {
		s.flights = make(map[uint64]flight)
	}
	s.flights[token] = f
	s.order = append(s.order, token)
	if len(s.order) > 64 && len(s.order) > 2*len(s.flights) {
		s.compact()
	}
	if s.changed != nil {
		s.changed()
	}
}

// compact drops settled tokens from order.
func (s *subscriber) compact() {
	kept := s.order[:0]
	for _, t := range s.order {
		if _, ok := s.flights[t]; ok {
			kept = append(kept, t)
		}
	}
	s.order = kept
}

// pump offers what waits, as far as there is room. The mutex is held.
func (s *subscriber) pump() {
	for !s.closed && !s.refused && s.front.len() > 0 {
		if !s.offerFront(s.front.first()) {
			break
		}
		s.front.pop()
	}
	if s.front.len() < retainedBatch/2 && s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
	for !s.closed && s.front.len() == 0 && s.loading == 0 && s.pending.len() > 0 && s.room() {
		e := s.pending.first()
		m := e.msg
		if m == nil {
			if m = s.b.log.cache.get(e.seq); m == nil {
				s.fetch()
				return
			}
		}
		if g, ok := e.target.grant(m); ok && !m.expired(time.Now()) && !s.offer(m, g) {
			return
		}
		s.high = max(s.high, e.seq)
		s.pending.pop()
	}
	if s.lagging && s.pending.len() < refillPending && !s.closed {
		s.b.log.scan.wakeUp()
	}
}

// offerFront repeats a delivery or sends a retained message; false: no room.
func (s *subscriber) offerFront(e *entry) bool {
	if e.token != 0 { // a repeated one: it holds its place in the window
		if e.flight.released {
			return s.try(delivery{token: e.token, attempt: 2, released: true})
		}
		m := e.msg
		if m == nil {
			if m = s.b.log.cache.get(e.seq); m == nil {
				s.fetch()
				return false
			}
		}
		g := e.grant
		g.qos = e.flight.qos
		return s.try(delivery{grant: g, msg: m, token: e.token, attempt: 2, retained: e.flight.retained})
	}
	if e.grant.sub.current().ended.Load() {
		return true
	}
	d := delivery{grant: e.grant, msg: e.msg, attempt: 1, retained: true}
	if d.qos > 0 && !s.untold {
		if !s.room() {
			return false
		}
		s.local++
		d.token = tokenLocal | tokenRetained | s.local
	}
	if !s.try(d) {
		return false
	}
	e.grant.sub.unsent--
	s.offered(e.grant.sub, e.msg.kept)
	if d.token != 0 {
		s.fly(d.token, flight{seq: e.seq, qos: d.qos, retained: true})
	}
	return true
}

func (s *subscriber) try(d delivery) bool {
	if s.sink.offer(d) {
		return true
	}
	s.refused = true
	return false
}

// ready is told that the client has room again.
func (s *subscriber) ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = false
	s.pump()
}

// settle ends a delivery, whatever its outcome: copies are not given back.
func (s *subscriber) settle(token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.flights[token]; !ok {
		return
	}
	delete(s.flights, token)
	if s.changed != nil {
		s.changed()
	}
	s.refused = false // an identifier is free, too
	s.pump()
}

// release notes that the client has a QoS 2 message.
func (s *subscriber) release(token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[token]; ok {
		f.released = true
		s.flights[token] = f
		if s.changed != nil {
			s.changed()
		}
	}
}

// barrier returns when no delivery that began before is under way.
func (s *subscriber) barrier() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// close ends all deliveries and returns when none is under way.
func (s *subscriber) close() {
	s.mu.Lock()
	s.high, s.closed = s.position(), true
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
	s.mu.Unlock()
	s.b.log.scan.remove(s)
}

// fetch reads the bodies that the head of the queue misses. The mutex is held.
func (s *subscriber) fetch() {
	if s.fetching {
		return
	}
	var missing []uint64
	for _, f := range []*fifo{&s.front, &s.pending} {
		for i := 0; i < f.len() && len(missing) < fetchBatch; i++ {
			if e := f.at(i); e.msg == nil && !e.flight.released && s.b.log.cache.get(e.seq) == nil {
				missing = append(missing, e.seq)
			}
		}
	}
	s.fetching = true
	s.b.work.Go(func() { s.fetched(s.b.log.read(missing)) })
}

// fetched takes what fetch has read: a message, or nil for one that is gone.
func (s *subscriber) fetched(found map[uint64]*message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching = false
	lost := 0
	for _, f := range []*fifo{&s.front, &s.pending} {
		kept := fifo{}
		for i := range f.len() {
			e := *f.at(i)
			if m, ok := found[e.seq]; ok && e.msg == nil && !e.flight.released {
				switch {
				case m != nil:
					e.msg = m
				case e.flight.qos == 2: // its identifier is still to be freed
					lost++
					e.flight.released = true
				default:
					lost++
					delete(s.flights, e.token)
					continue
				}
			}
			kept.push(e)
		}
		*f = kept
	}
	if lost > 0 {
		s.b.trimmed(s.name, lost)
	}
	s.pump()
}
