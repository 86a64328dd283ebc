package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

const (
	// logHeader names the place in the log that a retained record copies:
	// <creation of the log, ns>-<sequence>. The newer place wins.
	logHeader = "Causeway-Log"
	// deletedFor is how long a deleted retained message leaves its mark, so
	// that an older write that is still under way loses against it, and for
	// the reason of removedFor.
	deletedFor = removedFor
	// seenFor is how long the tail remembers a retained message whose record
	// another gateway may still be writing.
	seenFor = 5 * time.Second
	// maxDirect is how many subjects one multi_last request may match.
	maxDirect = 1024
	// retainedBatch is how many retained messages wait for a slow client.
	retainedBatch = 256
	// errLastSequence is JetStream's "wrong last sequence".
	errLastSequence = 10071
)

// retained keeps the last message of each topic that asked for it: one record
// per topic, written after the log has the message and before its sender is told.
type retained struct {
	b *Bridge

	mu      sync.Mutex
	writing map[string]*retainedWrite // by topic
	recent  map[string]*message       // by topic: seen at the tail, the record perhaps not yet written
	oldest  []*message                // of recent, as they were seen
	at      map[string]uint64         // by topic: revision of the last record, where it is known
}

// retainedWrite is the write under way for a topic, and the newest that waits.
type retainedWrite struct {
	seq  uint64 // in the log
	msg  *nats.Msg
	done []func(error)
	next *retainedWrite
}

func newRetained(b *Bridge) *retained {
	return &retained{b: b, writing: make(map[string]*retainedWrite), recent: make(map[string]*message), at: make(map[string]uint64)}
}

// store writes the record of a message that the log has at seq. done is
// called once, when it or a newer one is stored.
func (r *retained) store(topic string, seq uint64, body []byte, header string, expires time.Time, done func(error)) {
	subject, err := mapping.Subject(r.b.core.names.retainedRoot(), topic)
	if err != nil {
		done(err)
		return
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		logHeader: {place{r.b.log.created, seq}.String()},
	}}
	if header != "" {
		m.Header[mapping.HeaderName] = []string{header}
	}
	switch {
	case len(body) == 0:
		m.Header["Nats-TTL"] = []string{strconv.Itoa(int(deletedFor / time.Second))}
	case !expires.IsZero():
		m.Header["Nats-TTL"] = []string{ttl(expires)}
	}
	w := &retainedWrite{seq: seq, msg: m, done: []func(error){done}}
	r.mu.Lock()
	if now := r.writing[topic]; now != nil {
		if now.next != nil {
			w.done = append(now.next.done, w.done...)
		}
		now.next = w
		r.mu.Unlock()
		return
	}
	r.writing[topic] = w
	revision := r.at[topic]
	r.mu.Unlock()
	r.write(topic, w, revision)
}

// maxRevisions bounds what is remembered of where the records are.
const maxRevisions = 100_000

// write stores a record if the subject's last one is at revision. A guess that
// is wrong costs a look-up.
func (r *retained) write(topic string, w *retainedWrite, revision uint64) {
	w.msg.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(revision, 10)}
	r.b.append.appendNext(w.msg, func(seq uint64, err error) {
		if errorCode(err) != errLastSequence {
			r.wrote(topic, w, seq, err)
			return
		}
		r.b.work.Go(func() {
			last, found, err := r.last(w.msg.Subject)
			switch {
			case err != nil:
				r.wrote(topic, w, 0, err)
			case found && !(place{r.b.log.created, w.seq}).newer(last.place):
				r.wrote(topic, w, last.revision, nil) // a newer one is there
			default:
				r.write(topic, w, last.revision)
			}
		})
	})
}

func (r *retained) wrote(topic string, w *retainedWrite, revision uint64, err error) {
	r.mu.Lock()
	if len(r.at) >= maxRevisions {
		clear(r.at)
	}
	r.at[topic] = revision
	next := w.next
	if next == nil {
		delete(r.writing, topic)
	} else {
		r.writing[topic] = next
	}
	if m := r.recent[topic]; m != nil && m.seq <= w.seq {
		delete(r.recent, topic)
	}
	r.mu.Unlock()
	for _, done := range w.done {
		done(err)
	}
	if next != nil { // not here, where answers are completed: the window of appends may be full
		r.b.work.Go(func() { r.write(topic, next, revision) })
	}
}

// seen notes a retained message that passed the tail.
func (r *retained) seen(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.oldest) > 0 && now.Sub(r.oldest[0].Time) > seenFor {
		old := r.oldest[0]
		r.oldest[0], r.oldest = nil, r.oldest[1:]
		if r.recent[old.Topic] == old {
			delete(r.recent, old.Topic)
		}
	}
	if now.Sub(m.Time) < seenFor {
		r.recent[m.Topic] = m
		r.oldest = append(r.oldest, m)
	}
}

// place is a position in a log that may have been made anew.
type place struct {
	created time.Time
	seq     uint64
}

func (p place) String() string {
	return strconv.FormatInt(p.created.UnixNano(), 10) + "-" + strconv.FormatUint(p.seq, 10)
}

func parsePlace(s string) place {
	created, seq, _ := strings.Cut(s, "-")
	ns, _ := strconv.ParseInt(created, 10, 64)
	n, _ := strconv.ParseUint(seq, 10, 64)
	return place{time.Unix(0, ns), n}
}

func (p place) newer(than place) bool {
	if p.created.Equal(than.created) {
		return p.seq > than.seq
	}
	return p.created.After(than.created)
}

// record is a retained message as it was read.
type record struct {
	msg      *message // nil: deleted
	place    place
	revision uint64
}

// last reads the record on a subject.
func (r *retained) last(subject string) (record, bool, error) {
	ctx, cancel := context.WithTimeout(r.b.ctx, r.b.cfg.NATS.Patience)
	defer cancel()
	m, err := r.b.core.sub.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+r.b.core.names.retained()+"."+subject, nil)
	if err != nil {
		return record{}, false, fmt.Errorf("retained %s: %w", subject, err)
	}
	if m.Header.Get("Status") != "" {
		return record{}, false, nil
	}
	rec, err := r.decode(m)
	return rec, err == nil, err
}

func (r *retained) decode(m *nats.Msg) (record, error) {
	subject := m.Header.Get("Nats-Subject")
	if subject == "" {
		subject = m.Subject
	}
	rec := record{place: parsePlace(m.Header.Get(logHeader))}
	rec.revision, _ = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	topic, err := mapping.TopicOf(r.b.core.names.retainedRoot(), subject)
	if err != nil || len(m.Data) == 0 {
		return rec, err
	}
	if rec.msg, err = newStored(topic, m); err != nil {
		return rec, err
	}
	rec.msg.kept = rec.revision
	if rec.place.created.Equal(r.b.log.created) { // else the log has something else there
		rec.msg.seq = rec.place.seq
	}
	rec.msg.Time, _ = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if len(rec.msg.Body) == 0 || rec.msg.expired(time.Now()) {
		rec.msg = nil
	}
	return rec, nil
}

// each calls f for every retained message that a filter matches, the newest
// of each topic, until f returns false.
func (r *retained) each(ctx context.Context, filter string, f func(*message) bool) error {
	subjects, err := mapping.FilterSubjects(r.b.core.names.retainedRoot(), filter)
	if err != nil {
		return err
	}
	// What passed the tail but may not be written yet. Taken before the
	// records are read, so that one of both has it.
	r.mu.Lock()
	recent := make(map[string]*message)
	for topic, m := range r.recent {
		if mapping.MatchFilter(filter, topic) {
			recent[topic] = m
		}
	}
	r.mu.Unlock()
	newest := func(rec record, topic string) *message {
		m := recent[topic]
		delete(recent, topic)
		if m == nil || !(place{r.b.log.created, m.seq}).newer(rec.place) {
			return rec.msg
		}
		return m
	}
	emit := func(rec record, topic string) bool {
		m := newest(rec, topic)
		return m == nil || len(m.Body) == 0 || m.expired(time.Now()) || f(m)
	}
	err = r.direct(ctx, subjects, emit)
	if errors.Is(err, errManyRetained) {
		err = r.scan(ctx, subjects, emit)
	}
	for topic := range recent { // those without a record yet
		if err == nil && !emit(record{}, topic) {
			break
		}
	}
	return err
}

var errManyRetained = errors.New("more retained messages than one request answers")

// direct reads up to maxDirect records in one request.
func (r *retained) direct(ctx context.Context, subjects []string, f func(record, string) bool) error {
	ask, err := json.Marshal(map[string]any{"multi_last": subjects, "batch": maxDirect})
	if err != nil {
		return err
	}
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, maxDirect+8)
	sub, err := r.b.core.sub.ChanSubscribe(inbox, answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.b.core.sub.PublishRequest("$JS.API.DIRECT.GET."+r.b.core.names.retained(), inbox, ask); err != nil {
		return err
	}
	for {
		select {
		case m := <-answers:
			switch status := m.Header.Get("Status"); status {
			case "":
			case "204", "404":
				return nil
			case "413":
				return errManyRetained
			default:
				return fmt.Errorf("retained messages: status %s %s", status, m.Header.Get("Description"))
			}
			if !r.emit(m, f) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *retained) emit(m *nats.Msg, f func(record, string) bool) bool {
	rec, err := r.decode(m)
	if err != nil {
		r.b.logger.Warn("retained message not understood", "subject", m.Header.Get("Nats-Subject"), "error", err)
		return true
	}
	subject := m.Header.Get("Nats-Subject")
	if subject == "" {
		subject = m.Subject
	}
	topic, _ := mapping.TopicOf(r.b.core.names.retainedRoot(), subject)
	return f(rec, topic)
}

// scan reads any number of records with a consumer of its own.
func (r *retained) scan(ctx context.Context, subjects []string, f func(record, string) bool) error {
	c, stream := r.b.core, r.b.core.names.retained()
	reader, err := c.openReader(ctx, stream, map[string]any{
		"deliver_policy": "last_per_subject", "filter_subjects": subjects,
	})
	if err != nil {
		return err
	}
	defer reader.close()
	for {
		batch, err := reader.next(ctx)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, m := range batch {
			if !r.emit(m, f) {
				return nil
			}
		}
	}
}

// send gives a new subscription the retained messages its filter matches,
// before anything of the log that came after it. The subscriber has been told
// of one more loading set.
func (r *retained) send(s *subscriber, sub *subscription) {
	ctx := r.b.ctx
	defer s.loaded()
	if !r.b.log.reached(ctx, sub.asked) {
		return
	}
	err := r.each(ctx, sub.filter, func(m *message) bool {
		return s.pushRetained(ctx, sub, m)
	})
	if err == nil {
		s.queued(sub)
	} else if ctx.Err() == nil {
		r.b.logger.Error("retained messages not sent", "client", s.name, "filter", sub.filter, "error", err)
	}
}

// pushRetained queues one retained message and waits while too many wait.
// false: the subscriber or the subscription has ended.
func (s *subscriber) pushRetained(ctx context.Context, sub *subscription, m *message) bool {
	s.mu.Lock()
	if s.closed || sub.current().ended.Load() {
		s.mu.Unlock()
		return false
	}
	if m.seq > sub.asked || m.kept != 0 && m.kept <= sub.after { // the log brings it, or it was sent before
		s.mu.Unlock()
		return true
	}
	if sub.noLocal && m.Origin.Client != "" && m.Origin.Client == s.client {
		s.mu.Unlock()
		return true
	}
	g := grant{qos: min(m.QoS, sub.qos), retain: true, sub: sub}
	if sub.identifier != 0 {
		g.ids = []uint32{sub.identifier}
	}
	s.front.push(entry{seq: m.seq, msg: m, grant: g, retained: true})
	sub.unsent++
	s.pump()
	var wait chan struct{}
	if s.front.len() >= retainedBatch {
		if s.drained == nil {
			s.drained = make(chan struct{})
		}
		wait = s.drained
	}
	s.mu.Unlock()
	if wait == nil {
		return true
	}
	select {
	case <-wait:
		return true
	case <-ctx.Done():
		return false
	}
}

// owe notes that a subscription's retained messages are still to be sent, by a
// later connection if this one ends: such a one resumes above a revision.
func (s *subscriber) owe(sub *subscription, sent uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed == nil {
		s.owed = make(map[*subscription]struct{})
	}
	s.owed[sub] = struct{}{}
	sub.after, sub.sent = sent, sent
}

// queued notes that all of them were read.
func (s *subscriber) queued(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		sub.read = true
		s.offered(sub, 0)
	}
}

// offered notes how far they were sent. The mutex is held.
func (s *subscriber) offered(sub *subscription, revision uint64) {
	sub.sent = max(sub.sent, revision)
	if sub.read && sub.unsent == 0 {
		delete(s.owed, sub)
	}
}

// loaded ends one loading set.
func (s *subscriber) loaded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading--
	s.pump()
}

// ttl is the Nats-TTL of a message that expires then: whole seconds, at least one.
func ttl(expires time.Time) string {
	left := (time.Until(expires) + time.Second - 1) / time.Second
	return strconv.FormatInt(int64(max(left, 1)), 10)
}
