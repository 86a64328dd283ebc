package bridge

import (
	"context"
	"errors"
	"sync"
	"time"
)

// positionRecord is where a session is in the log ("p.<key>").
type positionRecord struct {
	Epoch   uint64         `json:"epoch"`
	Created time.Time      `json:"created"` // of the log
	High    uint64         `json:"high"`    // up to it all is settled, in flight or not for the session
	Flights []flightRecord `json:"flights,omitempty"`
	State   []byte         `json:"state,omitempty"` // the front-end's: packet identifiers

	// By filter: up to which revision its retained messages were sent, when
	// that was not all of them.
	Retained map[string]uint64 `json:"retained,omitempty"`

	// Of publishes at QoS 2, as in receipts.
	End      uint64            `json:"end,omitempty"`
	Receipts map[uint16]uint64 `json:"receipts,omitempty"`
}

// flightRecord is a delivery that was offered and not settled.
type flightRecord struct {
	Token    uint64 `json:"token"`
	Seq      uint64 `json:"seq"`
	QoS      uint8  `json:"qos"`
	Retained bool   `json:"retained,omitempty"`
	Released bool   `json:"released,omitempty"`
}

// placeKeeper writes the position of a session: one write at a time, which
// takes with it all that has changed until it begins.
type placeKeeper struct {
	s *mqttSession

	mu       sync.Mutex
	revision uint64 // of the record
	writing  bool
	again    bool          // something has changed since the write began
	waiting  []func(error) // for the next write
	idle     chan struct{} // not nil: last waits until no write is under way
	fenced   bool          // the session is another gateway's: nothing is written any more
}

// save writes the position as soon as no older write is under way. done, which
// may be nil, is called when what is so now is written.
func (k *placeKeeper) save(done func(error)) {
	k.mu.Lock()
	if done != nil {
		k.waiting = append(k.waiting, done)
	}
	if k.writing || k.fenced {
		k.again = true
		k.mu.Unlock()
		return
	}
	k.writing = true
	k.mu.Unlock()
	k.write()
}

func (k *placeKeeper) write() {
	k.mu.Lock()
	waiting, revision := k.waiting, k.revision
	k.waiting, k.again = nil, false
	k.mu.Unlock()
	end := k.s.b.log.end() // before the state, which knows what is not above it
	rec := k.s.position(k.s.peer.State(), end)
	k.s.b.sessions.records.save("p."+k.s.key, &rec, revision, func(revision uint64, err error) {
		if err == nil {
			k.wrote(revision)
		}
		for _, done := range waiting {
			done(err)
		}
		if err != nil {
			k.s.b.work.Go(func() { k.failed(err) })
		}
	})
}

// wrote ends a write and begins the next one if there is a reason.
func (k *placeKeeper) wrote(revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revision = revision
	switch {
	case k.idle != nil:
		close(k.idle)
	case k.fenced: // writing stays true
	case k.again:
		k.s.b.work.Go(k.write) // not here: the window of appends may be full
	default:
		k.writing = false
	}
}

// failed finds out what became of a write: it may be stored all the same, or
// another gateway has taken the session over.
func (k *placeKeeper) failed(cause error) {
	k.s.b.logger.Error("position not written", "client_id", k.s.client, "error", cause)
	var rec positionRecord
	revision, _, err := k.s.b.sessions.records.load(k.s.b.ctx, "p."+k.s.key, &rec)
	switch {
	case err != nil:
		k.mu.Lock()
		revision = k.revision
		k.mu.Unlock()
	case rec.Epoch > k.s.record.Epoch:
		k.mu.Lock()
		k.fenced = true
		k.mu.Unlock()
		k.s.peer.End(errTakenOver)
	}
	k.s.b.sessions.changed(k.s)
	k.wrote(revision)
}

// last writes the position when the connection has ended. Nothing is written
// after it.
func (k *placeKeeper) last(ctx context.Context, state []byte) error {
	k.mu.Lock()
	if k.fenced {
		waiting := k.waiting
		k.waiting = nil
		k.mu.Unlock()
		for _, done := range waiting {
			done(errConflict)
		}
		return nil
	}
	idle := make(chan struct{})
	k.idle = idle
	if !k.writing {
		k.writing = true
		close(idle)
	}
	k.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	rec := k.s.position(state, k.s.b.log.end())
	k.mu.Lock()
	waiting, revision, fenced := k.waiting, k.revision, k.fenced
	k.waiting = nil
	k.mu.Unlock()
	if fenced {
		for _, done := range waiting {
			done(errConflict)
		}
		return nil
	}
	_, err := k.s.b.sessions.records.saveNow("p."+k.s.key, &rec, revision)
	if errors.Is(err, errConflict) {
		err = nil // another gateway's session by now
	}
	for _, done := range waiting {
		done(err)
	}
	return err
}

// position is what is to be written of where the session is.
func (s *mqttSession) position(state []byte, end uint64) positionRecord {
	t, open := s.topics, s.receipts.snapshot()
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := positionRecord{
		Epoch: s.record.Epoch, Created: s.b.log.created, State: state, High: t.position(), End: end, Receipts: open,
	}
	for sub := range t.owed {
		if !sub.ended.Load() || t.closed {
			if rec.Retained == nil {
				rec.Retained = make(map[string]uint64)
			}
			rec.Retained[sub.filter] = sub.sent
		}
	}
	t.compact()
	for _, token := range t.order {
		f := t.flights[token]
		rec.Flights = append(rec.Flights, flightRecord{Token: token, Seq: f.seq, QoS: f.qos, Retained: f.retained, Released: f.released})
	}
	return rec
}

// position is the highest place in the log up to which nothing waits for the
// subscriber. The mutex is held.
func (s *subscriber) position() uint64 {
	switch {
	case s.closed: // what the log brought since was not for this connection
		return s.high
	case s.pending.len() > 0:
		return s.pending.first().seq - 1
	case s.lagging:
		return s.next - 1
	}
	return max(s.high, s.b.log.processed.Load())
}
