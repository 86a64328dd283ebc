package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	scanBatch = 1000
	// joinDistance is how near the end of the log a scan must be before the
	// tail collects what comes after it.
	joinDistance = 20000
)

// scanner reads the log once for all subscribers that are behind it: from the
// lowest of their positions, handing each the numbers that match it.
type scanner struct {
	l      *msgLog
	router *router
	wake   chan struct{}

	mu      sync.Mutex
	lagging map[*subscriber]struct{}
}

func newScanner(l *msgLog) *scanner {
	return &scanner{
		l: l, router: newRouter(l.b.matcher, l.b.core.names.durable()),
		wake: make(chan struct{}, 1), lagging: make(map[*subscriber]struct{}),
	}
}

func (s *scanner) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scanner) add(sub *subscriber) {
	s.mu.Lock()
	s.lagging[sub] = struct{}{}
	s.mu.Unlock()
	s.wakeUp()
}

func (s *scanner) remove(sub *subscriber) {
	s.mu.Lock()
	delete(s.lagging, sub)
	s.mu.Unlock()
}

// run scans until ctx ends, whenever there is somebody to scan for.
func (s *scanner) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for ctx.Err() == nil {
			from, ok := s.start()
			if !ok {
				break
			}
			if err := s.pass(ctx, from); err != nil && ctx.Err() == nil {
				s.l.log.Warn("scan of the log", "error", err)
				select {
				case <-ctx.Done():
				case <-time.After(250 * time.Millisecond):
				}
			}
		}
	}
}

// start returns the lowest sequence that a subscriber with room waits for.
func (s *scanner) start() (from uint64, ok bool) {
	for _, sub := range s.waiting() {
		if next, wants := sub.wants(); wants && (!ok || next < from) {
			from, ok = next, true
		}
	}
	return from, ok
}

func (s *scanner) waiting() []*subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*subscriber, 0, len(s.lagging))
	for sub := range s.lagging {
		list = append(list, sub)
	}
	return list
}

// pass reads from a sequence until nobody it serves has room, or all have
// rejoined the tail. Subscribers further up join the pass as it comes by.
func (s *scanner) pass(ctx context.Context, from uint64) error {
	info, err := s.l.b.core.streamInfo(ctx, s.l.stream)
	if err != nil {
		return err
	}
	if first := info.State.FirstSeq; from < first {
		for _, sub := range s.waiting() {
			sub.skipTo(first)
		}
		from = first
	}
	reader, err := s.l.b.core.openReader(ctx, s.l.stream, map[string]any{
		"deliver_policy": "by_start_sequence", "opt_start_seq": from,
	})
	if err != nil {
		return err
	}
	defer reader.close()
	defer func() {
		for _, sub := range s.waiting() {
			sub.leavePass()
		}
	}()
	at, end := from, false // everything below at has been read
	for {
		subs := s.waiting()
		end = end || at+joinDistance > s.l.position.Load()
		for _, sub := range subs {
			sub.joinPass(at, end)
		}
		batch, err := reader.next(ctx)
		if err != nil {
			return err
		}
		for _, m := range batch {
			meta, err := parseReply(m.Reply)
			if err != nil {
				return err
			}
			at = meta.stream + 1
			s.hand(m, meta)
		}
		if len(batch) == 0 {
			switch more, err := s.l.holds(ctx, at); {
			case err != nil:
				return err
			case more: // the replica that is read from is behind the others
				continue
			}
		}
		if !s.advance(subs, at, len(batch) == 0) {
			return nil
		}
		end = len(batch) == 0
	}
}

// holds asks the log's leader whether there is anything from a sequence on.
func (l *msgLog) holds(ctx context.Context, from uint64) (bool, error) {
	err := l.b.core.request(ctx, "$JS.API.STREAM.MSG.GET."+l.stream, map[string]any{"seq": from, "next_by_subj": ">"}, nil)
	if errorCode(err) == errNotFound {
		return false, nil
	}
	return err == nil, err
}

// errNotFound is JetStream's answer when there is no such message.
const errNotFound = 10037

// hand gives one message's number to the subscribers that it matches.
func (s *scanner) hand(m *nats.Msg, meta replyMeta) {
	subject, native := s.l.subject(m.Subject)
	if subject == "" {
		return
	}
	rt := s.router.route(subject)
	if rt == nil || len(rt.targets) == 0 {
		return
	}
	var msg *message
	for i := range rt.targets {
		t := &rt.targets[i]
		if !t.to.scans(meta.stream) {
			continue
		}
		if msg == nil {
			var err error
			if msg, err = s.l.b.decode(rt.topic, m, native); err != nil {
				s.l.log.Warn("message in the log not understood", "subject", m.Subject, "error", err)
				return
			}
			msg.seq, msg.Time = meta.stream, meta.time
			s.l.cache.put(msg)
		}
		t.to.scanned(msg, t)
	}
}

// advance tells the subscribers of a pass how far it has read, and reports
// whether one of them can take more.
func (s *scanner) advance(subs []*subscriber, at uint64, end bool) (more bool) {
	for _, sub := range subs {
		lagging, scanning := sub.advance(at, end)
		if !lagging {
			s.remove(sub)
		}
		more = more || scanning
	}
	return more
}

// wants reports where a scan for the subscriber has to go on, if it has room.
func (s *subscriber) wants() (next uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next, s.lagging && !s.closed && s.pending.len() < refillPending
}

// skipTo is told that the log begins at first: what was before it is gone.
func (s *subscriber) skipTo(first uint64) {
	s.mu.Lock()
	trimmed := s.lagging && s.next < first
	if trimmed {
		s.next = first
	}
	s.mu.Unlock()
	if trimmed {
		s.b.trimmed(s.name, 0)
	}
}

// joinPass makes the subscriber part of a pass that comes by its position.
// Near the end of the log the tail begins to collect for it.
func (s *subscriber) joinPass(at uint64, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.scanning.Load() {
		s.scanning.Store(s.lagging && !s.closed && s.next >= at && s.pending.len() < maxPending)
	}
	if s.scanning.Load() && end && s.joinAt == 0 {
		// The tail stores its position before it looks at a subscriber: what
		// it has not begun yet will find joinAt set. The scan may be ahead of it.
		s.joinAt = max(s.b.log.position.Load(), s.next-1)
	}
}

func (s *subscriber) leavePass() {
	s.mu.Lock()
	s.scanning.Store(false)
	s.mu.Unlock()
}

// scans reports whether the pass at seq is for this subscriber.
func (s *subscriber) scans(seq uint64) bool {
	if !s.scanning.Load() { // nearly all who match keep up
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return seq >= s.next && (s.joinAt == 0 || seq <= s.joinAt)
}

// scanned takes a message of the log that a pass has read.
func (s *subscriber) scanned(m *message, t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := t.grant(m)
	if !ok || (g.qos == 0 && !s.untold) || m.expired(time.Now()) {
		return
	}
	s.next = m.seq
	if s.pending.len() >= maxPending {
		s.scanning.Store(false) // this pass goes by; another one starts at next
		return
	}
	s.pending.push(entry{seq: m.seq, target: t})
	s.next++
}

// advance is told that the pass has read everything below at; end: nothing
// was there any more. The subscriber rejoins the tail when the pass has
// reached the place where the tail began to collect.
func (s *subscriber) advance(at uint64, end bool) (lagging, scanning bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scanning.Load() {
		s.next = max(s.next, at)
		if s.joinAt != 0 && end {
			s.next = max(s.next, s.joinAt+1)
		}
		if s.joinAt != 0 && s.next > s.joinAt {
			for i := range s.ahead.len() {
				s.pending.push(*s.ahead.at(i))
			}
			s.scanning.Store(false)
			s.from = s.joinAt + 1 // the tail may not have come so far
			s.lagging, s.joinAt, s.ahead = false, 0, fifo{}
		}
	}
	s.pump()
	return s.lagging && !s.closed, s.scanning.Load()
}
