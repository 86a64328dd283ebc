package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// checkpoint is how often the positions of sessions are written: what a crash
// makes them repeat.
const checkpoint = 100 * time.Millisecond

// sessionRecord is a session as the core keeps it ("s.<key>").
type sessionRecord struct {
	Client string        `json:"client"`
	User   string        `json:"user,omitempty"`
	Owner  string        `json:"owner,omitempty"` // the gateway it is connected to; "": none
	Epoch  uint64        `json:"epoch"`           // raised by every connection
	Expiry time.Duration `json:"expiry"`          // after the connection; forever: no end
	Ended  time.Time     `json:"ended,omitzero"`  // when the last connection ended
	Will   *willRecord   `json:"will,omitempty"`
}

// forever is a session expiry without end.
const forever = packet.Forever

// expiredAt reports whether nobody can come back to the session.
func (r *sessionRecord) expiredAt(now time.Time) bool {
	return r.Owner == "" && r.Expiry != forever && !now.Before(r.Ended.Add(r.Expiry))
}

// willRecord is a will as the core keeps it.
type willRecord struct {
	Topic    string        `json:"topic"`
	Header   string        `json:"header,omitempty"` // the envelope's
	Data     []byte        `json:"data,omitempty"`
	Delay    time.Duration `json:"delay,omitempty"`
	Lifetime time.Duration `json:"lifetime,omitempty"` // message expiry, from when it is published; 0: none
}

// envelope returns the message to publish now.
func (w *willRecord) envelope() (*mapping.Envelope, error) {
	e := &mapping.Envelope{}
	if err := e.Decode(w.Header, w.Data); err != nil {
		return nil, fmt.Errorf("will: %w", err)
	}
	e.Topic = w.Topic
	if w.Lifetime > 0 {
		e.Expires = time.Now().Add(w.Lifetime)
	}
	return e, nil
}

// filterRecord is one subscription of a session ("f.<key>.<chunk>").
type filterRecord struct {
	Filter      string `json:"filter"` // as subscribed, with $share
	QoS         uint8  `json:"qos"`    // granted
	NoLocal     bool   `json:"no_local,omitempty"`
	AsPublished bool   `json:"as_published,omitempty"`
	Identifier  uint32 `json:"identifier,omitempty"`
	Since       uint64 `json:"since"`
}

// sessions are the clients of this gateway that have a name: who is connected,
// and the records of those that outlive their connection.
type sessions struct {
	b       *Bridge
	records records

	mu        sync.Mutex
	connected map[string]*mqttSession // by key
	dirty     map[*mqttSession]struct{}
}

func (x *sessions) init(b *Bridge) {
	x.b = b
	x.records = records{b.core, b.append, b.core.names.sessions()}
	x.connected = make(map[string]*mqttSession)
	x.dirty = make(map[*mqttSession]struct{})
}

func (x *sessions) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.connected)
}

// sessionKey is the key of an MQTT client's records; STOMP's names are apart.
func sessionKey(client string) string { return "m-" + mapping.Key(client) }

// takeOverGrace is how long a connection that is taken over may take to read
// the DISCONNECT that its client sent before it came back.
const takeOverGrace = 20 * time.Millisecond

// claim makes s the one session of its key on this gateway: an earlier one is
// told that it is taken over and waited for.
func (x *sessions) claim(ctx context.Context, s *mqttSession, takenOver error) error {
	for {
		x.mu.Lock()
		old := x.connected[s.key]
		if old == nil {
			x.connected[s.key] = s
			x.mu.Unlock()
			return nil
		}
		x.mu.Unlock()
		if old.user != s.user {
			return errOtherUser
		}
		select {
		case <-old.gone:
			continue
		case <-time.After(takeOverGrace):
		}
		old.peer.End(takenOver)
		select {
		case <-old.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errOtherUser = errors.New("the session belongs to another user")

// release ends s's claim.
func (x *sessions) release(s *mqttSession) {
	x.mu.Lock()
	if x.connected[s.key] == s {
		delete(x.connected, s.key)
	}
	delete(x.dirty, s)
	x.mu.Unlock()
	close(s.gone)
}

// changed notes that the position of s is to be written.
func (x *sessions) changed(s *mqttSession) {
	x.mu.Lock()
	x.dirty[s] = struct{}{}
	x.mu.Unlock()
}

// run writes changed positions until ctx ends.
func (x *sessions) run(ctx context.Context) {
	tick := time.NewTicker(checkpoint)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		x.mu.Lock()
		list := slices.Collect(maps.Keys(x.dirty))
		clear(x.dirty)
		x.mu.Unlock()
		for _, s := range list {
			s.place.save(nil)
		}
	}
}

// find returns the session of a key that is connected here, or nil.
func (x *sessions) find(key string) *mqttSession {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.connected[key]
}

// sweepDead takes back what gateways that are not alive any more left, among
// them earlier runs of this one.
func (x *sessions) sweepDead(ctx context.Context) error {
	alive, err := x.b.gateways.others(ctx)
	if err != nil {
		return err
	}
	if err := x.sweep(ctx, func(owner string) bool { return !alive[owner] }); err != nil {
		return err
	}
	return x.sweepMembers(ctx)
}

// sweep takes back the sessions whose owner is dead: their wills are sent,
// their expiry begins.
func (x *sessions) sweep(ctx context.Context, dead func(owner string) bool) error {
	return x.records.each(ctx, "s.*", func(key string, value []byte, revision uint64) error {
		if len(value) == 0 {
			return nil
		}
		var rec sessionRecord
		if err := json.Unmarshal(value, &rec); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if rec.Owner == "" || !dead(rec.Owner) {
			return nil
		}
		return x.end(ctx, key[len("s."):], rec, revision, true)
	})
}

// dropSwept ends the connections whose sessions others took back while this
// gateway seemed dead.
func (x *sessions) dropSwept(ctx context.Context) error {
	x.mu.Lock()
	list := slices.Collect(maps.Values(x.connected))
	x.mu.Unlock()
	for _, s := range list {
		var rec sessionRecord
		_, found, err := x.records.load(ctx, "s."+s.key, &rec)
		if err != nil {
			return err
		}
		if found && rec.Owner != x.b.gateways.self || !found && s.kept {
			s.peer.End(errTakenOver)
		}
	}
	return nil
}

// end makes a session's record say that it is not connected: its will is
// published or scheduled, its expiry scheduled. A session without expiry is
// forgotten. revision is that of rec: when somebody has written since, the
// session is theirs, and nothing is done.
func (x *sessions) end(ctx context.Context, key string, rec sessionRecord, revision uint64, will bool) error {
	rec.Owner, rec.Ended = "", time.Now()
	if !will {
		rec.Will = nil
	}
	if rec.Expiry == 0 {
		return x.discard(ctx, key, rec, revision)
	}
	// The timers come first: one that does not apply is ignored, but a
	// session that misses its own would never end.
	if rec.Expiry != forever {
		if err := x.b.timers.set(ctx, timerExpire, key, rec.Epoch, rec.Ended.Add(rec.Expiry)); err != nil {
			return err
		}
	}
	now := rec.Will
	if now != nil && now.Delay > 0 {
		now = nil
		if rec.Will.Delay < rec.Expiry {
			if err := x.b.timers.set(ctx, timerWill, key, rec.Epoch, rec.Ended.Add(rec.Will.Delay)); err != nil {
				return err
			}
		}
	} else {
		rec.Will = nil
	}
	_, err := x.records.saveNow("s."+key, &rec, revision)
	switch {
	case errors.Is(err, errConflict):
		return nil
	case err != nil || now == nil:
		return err
	}
	return x.b.publishWill(now)
}

// discard ends a session for good and publishes its will, if that is still to
// come. Who has not the last word on the record does nothing.
func (x *sessions) discard(ctx context.Context, key string, rec sessionRecord, revision uint64) error {
	will := rec.Will
	rec.Owner, rec.Expiry, rec.Will = "", 0, nil
	revision, err := x.records.saveNow("s."+key, &rec, revision)
	if err != nil {
		if errors.Is(err, errConflict) {
			return nil
		}
		return err
	}
	if will != nil {
		err = x.b.publishWill(will)
	}
	return errors.Join(err, x.forget(ctx, key, revision))
}

// forget removes all records of a session that are not newer than its last.
func (x *sessions) forget(ctx context.Context, key string, last uint64) error {
	if err := x.leaveGroups(ctx, key); err != nil {
		return err
	}
	for _, pattern := range []string{"f." + key + ".*", "p." + key, "s." + key} {
		if err := x.records.remove(ctx, pattern, last); err != nil {
			return err
		}
	}
	return nil
}

// due performs a timer, unless somebody has come back to the session since.
func (x *sessions) due(ctx context.Context, t timer) error {
	var rec sessionRecord
	revision, found, err := x.records.load(ctx, "s."+t.Key, &rec)
	if err != nil || !found || rec.Owner != "" || rec.Epoch != t.Epoch {
		return err
	}
	if t.Kind == timerExpire { // for a will, the session's end comes before the delay's
		return x.discard(ctx, t.Key, rec, revision)
	}
	will := rec.Will
	if will == nil {
		return nil
	}
	rec.Will = nil
	if _, err := x.records.saveNow("s."+t.Key, &rec, revision); err != nil {
		return err // claimed by another gateway, or to be tried again
	}
	return x.b.publishWill(will)
}

// publishWill publishes a will and waits until the core has it.
func (b *Bridge) publishWill(w *willRecord) error {
	e, err := w.envelope()
	if err != nil {
		return err
	}
	if err := b.await(func(done func(error)) { b.publish(e, done) }); err != nil {
		return fmt.Errorf("will on %q: %w", w.Topic, err)
	}
	return nil
}

// flush waits until what ended connections left to write is written, before
// the core closes.
func (x *sessions) flush(ctx context.Context) {
	x.mu.Lock()
	list := slices.Collect(maps.Values(x.connected))
	x.mu.Unlock()
	for _, s := range list { // servers have ended: there should be none
		select {
		case <-s.gone:
		case <-ctx.Done():
			return
		}
	}
}
