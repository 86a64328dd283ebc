package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// checkpoint is how often the positions of sessions are written: what a crash
// makes them repeat.
const checkpoint = 100 * time.Millisecond

// sessionRecord is a session as the core keeps it ("s.<key>").
type sessionRecord struct {
	Client  string        `json:"client"`
	User    string        `json:"user,omitempty"`
	Owner   string        `json:"owner,omitempty"`   // the gateway it is connected to; "": none
	Epoch   uint64        `json:"epoch"`             // raised by every connection
	Expiry  time.Duration `json:"expiry"`            // after the connection; forever: no end
	Ended   time.Time     `json:"ended,omitzero"`    // when the last connection ended
	Filters int           `json:"filters,omitempty"` // chunks of subscriptions
	Will    *willRecord   `json:"will,omitempty"`
}

// forever is a session expiry without end.
const forever = time.Duration(packet.Forever)

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

// positionRecord is where a session is in the log ("p.<key>").
type positionRecord struct {
	Epoch   uint64         `json:"epoch"`
	Created time.Time      `json:"created"` // of the log
	High    uint64         `json:"high"`    // up to it all is settled, in flight or not for the session
	Flights []flightRecord `json:"flights,omitempty"`
	State   []byte         `json:"state,omitempty"` // the front-end's: packet identifiers
}

// flightRecord is a delivery that was offered and not settled.
type flightRecord struct {
	Token    uint64 `json:"token"`
	Seq      uint64 `json:"seq"`
	QoS      uint8  `json:"qos"`
	Retained bool   `json:"retained,omitempty"`
	Released bool   `json:"released,omitempty"`
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
		var list []*mqttSession
		for s := range x.dirty {
			list = append(list, s)
		}
		clear(x.dirty)
		x.mu.Unlock()
		for _, s := range list {
			s.savePosition()
		}
	}
}

// sweep takes back the sessions that an earlier run of this gateway left
// connected: it was killed. Their wills are sent, their expiry begins.
func (x *sessions) sweep(ctx context.Context) error {
	return x.records.each(ctx, "s.*", func(key string, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		var rec sessionRecord
		if err := json.Unmarshal(value, &rec); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if rec.Owner != x.b.name {
			return nil
		}
		return x.end(ctx, key[len("s."):], nil, true)
	})
}

// end makes a session's record say that it is not connected: its will is
// published or scheduled, its expiry scheduled. A session without expiry is
// forgotten.
func (x *sessions) end(ctx context.Context, key string, expiry *time.Duration, will bool) error {
	var rec sessionRecord
	revision, err := x.records.load(ctx, "s."+key, &rec)
	if err != nil || revision == 0 {
		return err
	}
	if expiry != nil {
		rec.Expiry = *expiry
	}
	rec.Owner, rec.Ended = "", time.Now()
	fire := rec.Will
	if !will {
		fire, rec.Will = nil, nil
	}
	delayed := fire != nil && min(fire.Delay, rec.Expiry) > 0
	if !delayed {
		rec.Will = nil
	}
	if rec.Expiry == 0 {
		if err := x.forget(ctx, key); err != nil {
			return err
		}
	} else if _, err := x.records.saveNow("s."+key, &rec, revision); err != nil {
		return err
	}
	if rec.Expiry != 0 && rec.Expiry != forever {
		if err := x.b.timers.set(ctx, timerExpire, key, rec.Epoch, rec.Ended.Add(rec.Expiry)); err != nil {
			return err
		}
	}
	switch {
	case delayed:
		return x.b.timers.set(ctx, timerWill, key, rec.Epoch, rec.Ended.Add(min(fire.Delay, rec.Expiry)))
	case fire != nil:
		return x.b.publishWill(fire)
	}
	return nil
}

// forget removes all records of a session.
func (x *sessions) forget(ctx context.Context, key string) error {
	var filters []filterRecord
	err := x.filters(ctx, key, &filters)
	if err != nil {
		return err
	}
	for _, pattern := range []string{"f." + key + ".*", "p." + key, "s." + key} {
		if err := x.records.remove(ctx, pattern); err != nil {
			return err
		}
	}
	for _, f := range filters {
		if group, filter, shared, err := mapping.ParseShared(f.Filter); err == nil && shared {
			x.leftGroup(ctx, key, group, filter)
		}
	}
	return nil
}

// overwrite writes a record that only the session's own gateway writes.
func (x *sessions) overwrite(key string, v any, done func(error)) {
	data, err := json.Marshal(v)
	if err != nil {
		done(err)
		return
	}
	x.b.append.append(&nats.Msg{Subject: x.records.subject(key), Data: data}, func(_ uint64, err error) { done(err) })
}

// filters reads the subscriptions of a session.
func (x *sessions) filters(ctx context.Context, key string, list *[]filterRecord) error {
	return x.records.each(ctx, "f."+key+".*", func(_ string, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		var chunk []filterRecord
		if err := json.Unmarshal(value, &chunk); err != nil {
			return fmt.Errorf("subscriptions of %s: %w", key, err)
		}
		*list = append(*list, chunk...)
		return nil
	})
}

// due performs a timer, unless somebody has come back to the session since.
func (x *sessions) due(ctx context.Context, t timer) error {
	var rec sessionRecord
	revision, err := x.records.load(ctx, "s."+t.Key, &rec)
	if err != nil || revision == 0 || rec.Owner != "" || rec.Epoch != t.Epoch {
		return err
	}
	if t.Kind == timerExpire {
		if err := x.forget(ctx, t.Key); err != nil || rec.Will == nil {
			return err
		}
		return x.b.publishWill(rec.Will) // the session's end comes before the delay's
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
	return b.await(func(done func(error)) { b.publish(e, done) })
}

// Membership of groups: a group's consumer lives while a session, online or
// not, subscribes to it.

func groupKey(group, filter string) string { return mapping.Key(group + "\x00" + filter) }

func (x *sessions) joinedGroup(key, group, filter string) error {
	var nothing struct{}
	name := "g." + groupKey(group, filter) + "." + key
	revision, err := x.records.load(x.b.ctx, name, &nothing)
	if err != nil || revision != 0 {
		return err
	}
	_, err = x.records.saveNow(name, struct{}{}, 0)
	return err
}

// leftGroup ends a membership; the last one takes the consumer with it.
func (x *sessions) leftGroup(ctx context.Context, key, group, filter string) {
	name := "g." + groupKey(group, filter)
	err := x.records.remove(ctx, name+"."+key)
	others := false
	if err == nil {
		err = x.records.each(ctx, name+".*", func(string, []byte) error {
			others = true
			return nil
		})
	}
	if err == nil && !others {
		err = x.b.queues.dropGroup(group, filter)
	}
	if err != nil {
		x.b.logger.Warn("shared subscription not cleaned up", "filter", filter, "error", err)
	}
}

// flush writes what is still to be written, before the core closes.
func (x *sessions) flush(ctx context.Context) {
	x.mu.Lock()
	list := make([]*mqttSession, 0, len(x.connected))
	for _, s := range x.connected {
		list = append(list, s)
	}
	x.mu.Unlock()
	for _, s := range list { // servers have ended: there should be none
		select {
		case <-s.gone:
		case <-ctx.Done():
			return
		}
	}
}
