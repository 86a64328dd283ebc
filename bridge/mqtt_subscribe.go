package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// filterChunk bounds one record of subscriptions, in bytes.
const filterChunk = 64 << 10

// Subscribe opens subscriptions; done comes when they are in force and, for a
// session that outlives its connection, written.
func (s *mqttSession) Subscribe(_ context.Context, p *packet.Subscribe, done func([]packet.ReasonCode)) {
	s.publishes.Wait()
	reasons := make([]packet.ReasonCode, len(p.Filters))
	var opened []*mqttFilter
	var wait sync.WaitGroup
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for i, f := range p.Filters {
		next, reason := s.filter(f, p.Identifier)
		if reason >= packet.UnspecifiedError {
			reasons[i] = reason
			continue
		}
		old := s.filters[f.Topic]
		if old != nil {
			next.record.Since = old.record.Since
		}
		if err := s.replace(old, next, fail, &wait); err != nil {
			s.b.logger.Warn("subscribe", "client_id", s.client, "filter", f.Topic, "error", err)
			reasons[i] = subscribeReason(err)
			continue
		}
		reasons[i] = packet.ReasonCode(next.record.QoS)
		if next.topics != nil && (f.RetainHandling == packet.RetainSend || f.RetainHandling == packet.RetainSendIfNew && old == nil) {
			opened = append(opened, next)
		}
	}
	s.topics.load(len(opened))
	wait.Add(1)
	s.saveFilters(func(err error) { fail(err); wait.Done() })
	s.b.work.Go(func() {
		wait.Wait()
		if err := failed.Load(); err != nil {
			s.b.logger.Error("subscribe", "client_id", s.client, "error", *err)
			for i := range reasons {
				reasons[i] = packet.UnspecifiedError
			}
		}
		done(reasons)
		for _, f := range opened {
			s.b.retained.send(s.topics, f.topics)
		}
	})
}

func subscribeReason(err error) packet.ReasonCode {
	var limit *mapping.LimitError
	if errors.As(err, &limit) {
		return packet.QuotaExceeded
	}
	return packet.UnspecifiedError
}

// filter checks one entry of SUBSCRIBE and says what is granted.
func (s *mqttSession) filter(f packet.Filter, identifier uint32) (*mqttFilter, packet.ReasonCode) {
	group, rest, shared, err := mapping.ParseShared(f.Topic)
	if err != nil || mapping.ValidFilter(rest) != nil {
		return nil, packet.TopicFilterInvalid
	}
	next := &mqttFilter{group: group, rest: rest, record: filterRecord{
		Filter: f.Topic, QoS: uint8(f.QoS), NoLocal: f.NoLocal, AsPublished: f.RetainAsPublished, Identifier: identifier,
	}}
	topics, queues := s.b.table.Covers(rest)
	if shared {
		next.record.QoS = min(next.record.QoS, 1)
		next.grouped = topics
		next.consumer = &consumer{}
		if next.grouped && group == "" { // $queue/… on topics: one group for all
			next.group = "$queue"
		}
		return next, packet.Success
	}
	next.tapped = queues
	if queues && !topics {
		next.record.QoS = 0 // a tap: copies while connected
	}
	return next, packet.Success
}

// replace puts a filter in force, instead of an old one with the same text.
func (s *mqttSession) replace(old, next *mqttFilter, fail func(error), wait *sync.WaitGroup) error {
	if next.consumer != nil {
		if old != nil { // only its options change: who consumes stays
			next.consumer, next.grouped = old.consumer, old.grouped
			s.mu.Lock()
			old.record = next.record
			s.mu.Unlock()
			return nil
		}
		s.filters[next.record.Filter] = next
		wait.Add(1)
		s.consume(next, func(err error) { fail(err); wait.Done() })
		return nil
	}
	if err := s.watch(next, old != nil); err != nil {
		return err
	}
	if old != nil {
		s.unwatch(old)
	}
	s.filters[next.record.Filter] = next
	return nil
}

// join takes up a filter of an earlier connection.
func (s *mqttSession) join(f *mqttFilter) error {
	if f.consumer == nil {
		return s.watch(f, true)
	}
	return s.b.await(func(done func(error)) { s.consume(f, done) })
}

// watch puts a subscription on topics in force; one that is continued keeps
// its place in the log.
func (s *mqttSession) watch(f *mqttFilter, continued bool) error {
	sub := &subscription{
		of: s.topics, filter: f.rest, qos: f.record.QoS, noLocal: f.record.NoLocal,
		asPublished: f.record.AsPublished, identifier: f.record.Identifier, since: f.record.Since,
	}
	if !continued {
		sub.since = 1<<64 - 1 // until it is in force
	}
	if err := s.b.matcher.add(sub); err != nil {
		return err
	}
	if !continued {
		s.topics.begin(sub)
	}
	if f.tapped {
		if err := s.b.taps.add(sub); err != nil {
			s.b.matcher.remove(sub)
			return err
		}
	}
	f.topics, f.record.Since = sub, sub.since
	if sub.noLocal {
		s.mu.Lock()
		s.noLocal++
		s.mu.Unlock()
	}
	return nil
}

func (s *mqttSession) unwatch(f *mqttFilter) {
	s.b.drop(f.topics, f.tapped)
	if f.record.NoLocal {
		s.mu.Lock()
		s.noLocal--
		s.mu.Unlock()
	}
}

// drop ends a subscription on topics.
func (b *Bridge) drop(sub *subscription, tapped bool) {
	b.matcher.remove(sub)
	if tapped {
		b.taps.remove(sub)
	}
}

// consume makes the session compete for the messages of a queue or a group.
func (s *mqttSession) consume(f *mqttFilter, done func(error)) {
	f.consumer = s.b.queues.newConsumer(s.window, func(d *queued) bool { return s.offerQueued(f, d) })
	s.mu.Lock()
	s.consumers = append(slices.Clip(s.consumers), f.consumer)
	s.mu.Unlock()
	switch {
	case f.grouped:
		if err := s.b.sessions.joinedGroup(s.key, f.group, f.rest); err != nil {
			done(err)
			return
		}
		s.b.queues.joinGroup(f.consumer, f.group, f.rest, done)
	case mapping.ValidTopic(f.rest) == nil:
		s.b.queues.joinQueue(f.consumer, f.rest, done)
	default:
		s.b.queues.joinQueues(f.consumer, f.rest, done)
	}
}

// left ends a filter for good.
func (s *mqttSession) left(f *mqttFilter) {
	if f.grouped {
		s.b.sessions.leftGroup(s.b.ctx, s.key, f.group, f.rest)
	}
}

// Unsubscribe ends subscriptions.
func (s *mqttSession) Unsubscribe(_ context.Context, p *packet.Unsubscribe, done func([]packet.ReasonCode)) {
	reasons := make([]packet.ReasonCode, len(p.Filters))
	var wait sync.WaitGroup
	for i, text := range p.Filters {
		f := s.filters[text]
		if f == nil {
			reasons[i] = packet.NoSubscriptionExisted
			continue
		}
		delete(s.filters, text)
		if f.topics != nil {
			s.unwatch(f)
			continue
		}
		s.mu.Lock()
		s.consumers = slices.DeleteFunc(slices.Clone(s.consumers), func(c *consumer) bool { return c == f.consumer })
		s.mu.Unlock()
		wait.Add(1)
		s.b.queues.leave(f.consumer, true, func() {
			s.left(f)
			wait.Done()
		})
	}
	wait.Add(1)
	s.saveFilters(func(error) { wait.Done() })
	s.b.work.Go(func() {
		wait.Wait()
		done(reasons)
	})
}

// saveFilters writes the subscriptions of a session that outlives its
// connection, in chunks.
func (s *mqttSession) saveFilters(done func(error)) {
	if !s.kept {
		done(nil)
		return
	}
	list := make([]filterRecord, 0, len(s.filters))
	for _, f := range s.filters {
		list = append(list, f.record)
	}
	slices.SortFunc(list, func(a, b filterRecord) int {
		if a.Filter < b.Filter {
			return -1
		}
		return 1
	})
	chunks := [][]filterRecord{{}}
	size := 0
	for _, f := range list {
		n := len(f.Filter) + 128
		if size+n > filterChunk {
			chunks, size = append(chunks, nil), 0
		}
		last := len(chunks) - 1
		chunks[last], size = append(chunks[last], f), size+n
	}
	for len(chunks) < s.chunks {
		chunks = append(chunks, []filterRecord{})
	}
	s.chunks = len(chunks)
	var wait sync.WaitGroup
	var failed atomic.Pointer[error]
	for i, chunk := range chunks {
		key := fmt.Sprintf("f.%s.%d", s.key, i)
		wait.Add(1)
		s.b.sessions.overwrite(key, chunk, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			wait.Done()
		})
	}
	s.b.work.Go(func() {
		wait.Wait()
		if err := failed.Load(); err != nil {
			done(*err)
			return
		}
		done(nil)
	})
}

// loadFilters reads the subscriptions of an earlier connection.
func (s *mqttSession) loadFilters(ctx context.Context) error {
	return s.b.sessions.records.each(ctx, "f."+s.key+".*", func(_ string, value []byte) error {
		var chunk []filterRecord
		if len(value) > 0 {
			if err := json.Unmarshal(value, &chunk); err != nil {
				return fmt.Errorf("subscriptions of %s: %w", s.client, err)
			}
		}
		s.chunks++
		for _, rec := range chunk {
			f, reason := s.filter(packet.Filter{Topic: rec.Filter, QoS: packet.QoS(rec.QoS)}, rec.Identifier)
			if reason >= packet.UnspecifiedError {
				continue
			}
			f.record = rec
			s.filters[rec.Filter] = f
		}
		return nil
	})
}

// position is what is to be written of where the session is.
func (s *mqttSession) position(state []byte) positionRecord {
	t := s.topics
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := positionRecord{Epoch: s.epoch, Created: s.b.log.created, State: state, High: t.position()}
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
	case s.pending.len() > 0:
		return s.pending.first().seq - 1
	case s.lagging:
		return s.next - 1
	}
	return max(s.high, s.b.log.processed.Load())
}

// savePosition writes the position; while that is under way, a further change
// waits for the next time.
func (s *mqttSession) savePosition() {
	s.positionMu.Lock()
	defer s.positionMu.Unlock()
	if s.saving {
		s.again = true
		return
	}
	s.saving = true
	rec := s.position(s.peer.State())
	s.b.sessions.records.save("p."+s.key, &rec, s.revision, s.savedPosition)
}

func (s *mqttSession) savedPosition(revision uint64, err error) {
	s.positionMu.Lock()
	s.saving = false
	again := s.again
	s.again = false
	if err == nil {
		s.revision = revision
	}
	s.positionMu.Unlock()
	if err != nil {
		s.b.logger.Error("position not written", "client_id", s.client, "error", err)
	}
	if again {
		s.b.sessions.changed(s)
	}
}

// lastPosition writes the position when the connection has ended.
func (s *mqttSession) lastPosition(ctx context.Context, state []byte) error {
	for {
		s.positionMu.Lock()
		saving, revision := s.saving, s.revision
		if !saving {
			s.saving = true // nobody else writes any more
		}
		s.positionMu.Unlock()
		if !saving {
			rec := s.position(state)
			_, err := s.b.sessions.records.saveNow("p."+s.key, &rec, revision)
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
