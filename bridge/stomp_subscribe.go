package bridge

import (
	"context"
	"errors"
	"sync"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// Subscribe opens a subscription: a consumer where messages are handed to one
// of many, a copy of everything elsewhere.
func (s *stompSession) Subscribe(_ context.Context, of *stomp.Subscription, done func(error)) {
	filter, err := s.b.table.FilterFromDestination(of.Destination)
	if err != nil {
		done(&stomp.Error{Message: "invalid destination", Detail: err.Error()})
		return
	}
	s.publishes.Wait()
	sub := &stompSubscription{s: s, of: of}
	if group := of.Header.Value("group"); group != "" && filter.Kind == mapping.Topic && filter.Group == "" {
		if named, _, _, err := mapping.ParseShared("$share/" + group + "/" + filter.Filter); err != nil || named != group {
			done(&stomp.Error{Message: "invalid group", Detail: "The name of a group has no slash, + or # and is valid UTF-8."})
			return
		}
		filter.Group = group
	}
	if filter.Kind == mapping.Topic && filter.Group == "" {
		if sub.durable, err = s.durable(of.ID, of.Destination, of.Header); err == nil && sub.durable != nil {
			filter.Group = sub.durable.group
			err = s.b.durables.take(sub)
		}
		if err != nil {
			done(err)
			return
		}
	}
	switch {
	case filter.Own:
		err = s.subscribeTemp(sub, s.own(filter.Filter))
	case filter.Kind == mapping.Temp:
		err = &stomp.Error{Message: "not your temporary destination", Detail: "Only the connection that made a temporary destination may subscribe to it."}
	case filter.Kind == mapping.Queue || filter.Group != "":
		s.compete(sub, filter, done)
		return
	default:
		err = s.subscribeTopics(sub, filter.Filter)
	}
	if err != nil {
		done(stompSubscribeError(err))
		return
	}
	done(nil)
	if sub.temporary == "" {
		s.b.work.Go(func() { s.b.retained.send(sub.topics, sub.filter) })
	}
}

func stompSubscribeError(err error) error {
	var known *stomp.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &stomp.Error{Message: "subscription failed", Detail: err.Error(), Err: err}
}

func (s *stompSession) newSubscriber(sub *stompSubscription) *subscriber {
	return &subscriber{
		b: s.b, name: s.name, sink: sub, window: sub.of.Prefetch,
		untold: sub.of.Ack == stomp.AckAuto || sub.of.Prefetch == 0, // nothing waits for an acknowledgement
	}
}

// subscribeTopics begins a copy of everything the filter matches.
func (s *stompSession) subscribeTopics(sub *stompSubscription, filter string) error {
	sub.topics = s.newSubscriber(sub)
	sub.filter = &subscription{of: sub.topics, filter: filter, qos: 2, since: 1<<64 - 1}
	sub.topics.load(1)
	if err := s.b.matcher.add(sub.filter); err != nil {
		return err
	}
	sub.topics.begin(sub.filter)
	s.subs[sub.of] = sub
	return nil
}

// subscribeTemp makes the client the receiver of one of its own temporary
// destinations.
func (s *stompSession) subscribeTemp(sub *stompSubscription, topic string) error {
	if err := mapping.ValidTopic(topic); err != nil {
		return &stomp.Error{Message: "invalid destination", Detail: "A temporary destination has no wildcards."}
	}
	sub.topics = s.newSubscriber(sub)
	sub.filter = &subscription{of: sub.topics, filter: topic, qos: 2}
	sub.topics.only = &target{to: sub.topics, subs: []*subscription{sub.filter}, qos: 2, simple: true}
	if err := s.temp.subscribe(topic, sub.topics); err != nil {
		return err
	}
	sub.temporary = topic
	s.subs[sub.of] = sub
	return nil
}

// compete makes the client one of the consumers of queues, or of a group.
func (s *stompSession) compete(sub *stompSubscription, filter mapping.Filter, done func(error)) {
	credit := sub.of.Prefetch
	if credit == 0 {
		credit = s.b.cfg.Prefetch
	}
	sub.consumer = s.b.queues.newConsumer(credit, sub.offerQueued)
	s.subs[sub.of] = sub
	finished := func(err error) { done(stompSubscribeError(err)) }
	switch {
	case filter.Group != "":
		sub.group, sub.rest = filter.Group, filter.Filter
		if sub.durable != nil {
			if err := s.b.moved(sub.durable, sub.rest); err != nil {
				finished(err)
				return
			}
		}
		s.b.sessions.joinedGroup(sub.member(), sub.group, sub.rest, func(err error) {
			if err != nil {
				finished(err)
				return
			}
			s.b.queues.joinGroup(sub.consumer, sub.group, sub.rest, finished)
		})
	case mapping.ValidTopic(filter.Filter) == nil:
		s.b.queues.joinQueue(sub.consumer, filter.Filter, finished)
	default:
		s.b.queues.joinQueues(sub.consumer, filter.Filter, finished)
	}
}

// member names the membership of a subscription in a group: of this
// connection, unless the subscription outlives it.
func (sub *stompSubscription) member() string {
	if sub.durable != nil {
		return sub.durable.owner
	}
	return "c-" + mapping.Key(sub.s.b.name+"/"+sub.s.name+"/"+sub.of.ID)
}

// Unsubscribe closes a subscription. Its unsettled deliveries stay the
// client's until the connection ends. A durable subscription ends for good
// when the header names it again.
func (s *stompSession) Unsubscribe(of *stomp.Subscription, h frame.Header, done func(error)) {
	sub := s.subs[of]
	if sub == nil {
		done(nil)
		return
	}
	if d, _ := s.durable(of.ID, of.Destination, h); sub.durable != nil && d != nil && d.owner == sub.durable.owner {
		sub.over = true
	}
	delete(s.subs, of)
	if sub.consumer == nil {
		sub.close()
		done(nil)
		return
	}
	s.mu.Lock()
	s.ended[sub] = struct{}{}
	s.mu.Unlock()
	s.b.queues.end(sub.consumer, func() {
		s.leaveEmpty(sub)
		done(nil)
	})
}

// leaveEmpty ends a consumer that was unsubscribed and holds nothing any more.
func (s *stompSession) leaveEmpty(sub *stompSubscription) {
	s.mu.Lock()
	_, ended := s.ended[sub]
	if ended = ended && sub.held == 0; ended {
		delete(s.ended, sub)
	}
	s.mu.Unlock()
	if ended {
		sub.leave(true, nil)
	}
}

// close ends a subscription to copies.
func (sub *stompSubscription) close() {
	if sub.temporary != "" {
		sub.s.temp.unsubscribe(sub.temporary)
	} else {
		sub.s.b.matcher.remove(sub.filter)
	}
	sub.topics.close()
}

// leave ends a consumer and gives back what it holds. done, which may be nil,
// is called when the core has it.
func (sub *stompSubscription) leave(clean bool, done func()) {
	b := sub.s.b
	if sub.durable != nil {
		b.durables.release(sub)
	}
	if sub.group != "" && (sub.durable == nil || sub.over) {
		left := done
		done = func() {
			b.work.Go(func() {
				b.sessions.leftGroup(b.ctx, sub.member(), sub.group, sub.rest)
				if left != nil {
					left()
				}
			})
		}
	}
	b.queues.leave(sub.consumer, clean, done)
}

// offer gives the client a message to a topic.
func (sub *stompSubscription) offer(d delivery) bool {
	out := stomp.Delivery{
		Message: d.msg.forSTOMP(sub.s.b), Subscription: sub.of, Attempt: d.attempt, Retained: d.retained, Copy: true,
	}
	if d.token != 0 {
		out.Token = sub.s.token(stompDelivery{sub: sub, seq: d.token})
	}
	if sub.s.refused.offer(sub, func() bool { return sub.s.peer.Offer(out) }) {
		return true
	}
	sub.s.untoken(out.Token)
	return false
}

// offerQueued gives the client a message of a queue or a group.
func (sub *stompSubscription) offerQueued(d *queued) bool {
	out := stomp.Delivery{
		Message: d.forSTOMP(sub.s.b), Subscription: sub.of, Attempt: d.shownAttempt(),
		Token: sub.s.token(stompDelivery{sub: sub, queued: d}),
	}
	if sub.s.refused.offer(sub, func() bool { return sub.s.peer.Offer(out) }) {
		return true
	}
	sub.s.untoken(out.Token)
	return false
}

func (s *stompSession) token(d stompDelivery) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.deliveries[s.last] = d
	if d.queued != nil {
		d.sub.held++
	}
	return s.last
}

// untoken forgets a delivery and returns what it was.
func (s *stompSession) untoken(token uint64) stompDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deliveries[token]
	delete(s.deliveries, token)
	if d.queued != nil {
		d.sub.held--
	}
	return d
}

// Settle ends a delivery.
func (s *stompSession) Settle(token uint64, err error, done func(error)) {
	switch d := s.untoken(token); {
	case d.sub == nil:
		finish(done, nil)
	case d.queued != nil:
		d.queued.settle(settlement(err), func(err error) { finish(done, stompSettleError(err)) })
		s.leaveEmpty(d.sub)
	default:
		d.sub.topics.settle(d.seq)
		finish(done, nil)
	}
}

// settlement is the front-end's word for how a delivery ended in the bridge's.
func settlement(err error) error {
	switch {
	case errors.Is(err, stomp.ErrRequeue):
		return errRequeue
	case errors.Is(err, stomp.ErrReject):
		return errReject
	case errors.Is(err, stomp.ErrReturned):
		return errReturned
	}
	return err
}

// Ready offers again what was refused.
func (s *stompSession) Ready() {
	for sub := range s.refused.take() {
		if sub.consumer != nil {
			sub.consumer.ready()
		} else {
			sub.topics.ready()
		}
	}
}

// Close lets go of the client; what it had not acknowledged goes back.
func (s *stompSession) Close(cause error) {
	failed := s.oldest()
	if cause == nil || errors.Is(cause, stomp.ErrShutdown) {
		failed = nil
	}
	var left sync.WaitGroup
	leave := func(sub *stompSubscription) {
		left.Add(1)
		sub.leave(sub != failed, left.Done)
	}
	for _, sub := range s.subs {
		if sub.consumer != nil {
			leave(sub)
		} else {
			sub.close()
		}
	}
	s.mu.Lock()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	for sub := range ended {
		leave(sub)
	}
	left.Wait()
	if s.temp != nil {
		s.b.temps.forget(s.temp)
	}
}

// oldest returns the consumer of the oldest delivery that is not settled: when
// the client died, that one may be the cause.
func (s *stompSession) oldest() *stompSubscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.last + 1
	for token, d := range s.deliveries {
		if d.queued != nil && token < first {
			first = token
		}
	}
	return s.deliveries[first].sub
}
