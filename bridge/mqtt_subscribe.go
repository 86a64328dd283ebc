package bridge

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// Subscribe opens subscriptions; done comes when they are in force and, for a
// session that outlives its connection, written.
func (s *mqttSession) Subscribe(_ context.Context, p *packet.Subscribe, done func([]packet.ReasonCode)) {
	s.publishes.Wait()
	reasons := make([]packet.ReasonCode, len(p.Filters))
	faults := make([]error, len(p.Filters)+1) // the last one is of the records
	var opened []*subscription
	var wait sync.WaitGroup
	for i, f := range p.Filters {
		next, reason := s.filter(f, p.Identifier)
		reasons[i] = reason
		if reason >= packet.UnspecifiedError {
			continue
		}
		old := s.filters[f.Topic]
		if old != nil && old.broken.Load() {
			old = nil
		}
		if next.shared {
			wait.Add(1)
			s.compete(old, next, func(err error) {
				faults[i] = err
				wait.Done()
			})
			continue
		}
		retained := f.RetainHandling == packet.RetainSend || f.RetainHandling == packet.RetainSendIfNew && old == nil
		if faults[i] = s.replace(old, next, retained); faults[i] == nil && retained {
			opened = append(opened, next.topics)
		}
	}
	wait.Add(1)
	s.keepFilters(p, func(err error) {
		faults[len(p.Filters)] = err
		wait.Done()
	})
	s.b.work.Go(func() {
		wait.Wait()
		for i := range reasons {
			if err := cmp.Or(faults[i], faults[len(p.Filters)]); err != nil && reasons[i] < packet.UnspecifiedError {
				s.b.logger.Warn("subscribe", "client_id", s.client, "filter", p.Filters[i].Topic, "error", err)
				reasons[i] = subscribeReason(err)
			}
		}
		done(reasons)
		for _, sub := range opened {
			s.b.retained.send(s.topics, sub)
		}
	})
}

// keepFilters writes what SUBSCRIBE has changed, when the session outlives its
// connection.
func (s *mqttSession) keepFilters(p *packet.Subscribe, done func(error)) {
	if !s.kept {
		done(nil)
		return
	}
	made := make([]filterRecord, 0, len(p.Filters))
	for _, f := range p.Filters {
		if granted := s.filters[f.Topic]; granted != nil {
			made = append(made, granted.record)
		}
	}
	s.keeper.change(made, nil, done)
}

func subscribeReason(err error) packet.ReasonCode {
	if _, long := errors.AsType[*mapping.LimitError](err); long {
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
	if strings.HasPrefix(rest, tempRoot) {
		return nil, packet.NotAuthorized
	}
	next := &mqttFilter{shared: shared, group: group, rest: rest, record: filterRecord{
		Filter: f.Topic, QoS: uint8(f.QoS), NoLocal: f.NoLocal, AsPublished: f.RetainAsPublished, Identifier: identifier,
	}}
	topics, queues := s.b.table.Covers(rest)
	if shared {
		next.record.QoS = min(next.record.QoS, 1)
		// The few topics among queues, as queue/ itself, are no reason to take
		// a filter of queues for one of topics.
		next.grouped = topics && !strings.HasPrefix(rest, s.b.cfg.Queues.Root+"/")
		if next.grouped && group == "" { // $queue/… on topics: one group for all
			next.group = "$queue"
		}
		return next, packet.ReasonCode(next.record.QoS)
	}
	next.tapped = queues
	if queues && !topics {
		next.record.QoS = 0 // a tap: copies while connected
	}
	return next, packet.ReasonCode(next.record.QoS)
}

// replace puts a filter on topics in force, instead of an old one with the
// same text: nothing is lost in between, and nothing comes twice. With
// retained, what the log brings waits until the retained messages are sent.
func (s *mqttSession) replace(old, next *mqttFilter, retained bool) error {
	if old != nil {
		next.record.Since = old.record.Since
	}
	if retained {
		s.topics.load(1)
	}
	if err := s.watch(next, old != nil); err != nil {
		if retained {
			s.topics.loaded()
		}
		return err
	}
	if retained {
		s.topics.owe(next.topics, 0)
	}
	if old != nil {
		s.topics.ask(next.topics)
		old.topics.replace(next.topics)
		s.unwatch(old)
	}
	s.filters[next.record.Filter] = next
	return nil
}

// compete makes the session one of the consumers of a queue or a group; of one
// that it has joined before, only the options change.
func (s *mqttSession) compete(old, next *mqttFilter, done func(error)) {
	if old != nil {
		s.mu.Lock()
		old.record = next.record
		s.mu.Unlock()
		done(nil)
		return
	}
	s.filters[next.record.Filter] = next
	s.consume(next, func(err error) {
		if err != nil {
			next.broken.Store(true)
			s.b.queues.leave(next.consumer, true, nil)
		}
		done(err)
	})
}

// join takes up a filter of an earlier connection.
func (s *mqttSession) join(f *mqttFilter) error {
	if !f.shared {
		return s.watch(f, true)
	}
	return s.b.await(func(done func(error)) { s.consume(f, done) })
}

// watch puts a subscription on topics in force; one that is continued keeps
// its place in the log.
func (s *mqttSession) watch(f *mqttFilter, continued bool) error {
	sub := &subscription{
		of: s.topics, filter: f.rest, qos: f.record.QoS, noLocal: f.record.NoLocal,
		asPublished: f.record.AsPublished, identifier: f.record.Identifier, since: f.record.Since, asked: f.record.Since,
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
		s.noLocal++
	}
	return nil
}

// unwatch ends a subscription on topics and returns when nothing is offered
// for it any more.
func (s *mqttSession) unwatch(f *mqttFilter) {
	s.b.drop(f.topics, f.tapped)
	s.topics.barrier()
	if f.record.NoLocal {
		s.noLocal--
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
	switch {
	case f.grouped:
		s.b.sessions.joinedGroup(s.key, f.group, f.rest, func(err error) {
			if err != nil {
				done(err)
				return
			}
			s.b.queues.joinGroup(f.consumer, f.group, f.rest, done)
		})
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
	var gone []*mqttFilter
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
		gone = append(gone, f)
		wait.Add(1)
		s.b.queues.leave(f.consumer, true, wait.Done)
	}
	if s.kept {
		wait.Add(1)
		s.keeper.change(nil, p.Filters, func(error) { wait.Done() })
	}
	s.b.work.Go(func() {
		wait.Wait()
		for _, f := range gone {
			s.left(f)
		}
		done(reasons)
	})
}
