package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

// watch finds the queues that a wildcard matches. It listens to what is sent
// to queues, so that its consumers join one as soon as it has a message, and
// may leave those that stay empty.
type watch struct {
	q      *queues
	filter string
	opened chan struct{} // closed when subs are in force, or err says why not
	err    error

	// Guarded by q.mu.
	joining   int // consumers that wait for opened
	subs      []*nats.Subscription
	consumers []*consumer
	known     map[string]*source // by subject
}

// joinQueues makes c a consumer of all queues that a filter matches, now or
// later. They share its credit.
func (q *queues) joinQueues(c *consumer, filter string, done func(error)) {
	q.mu.Lock()
	if q.closed || c.left {
		q.mu.Unlock()
		done(errClosing)
		return
	}
	w := q.watches[filter]
	if w == nil {
		w = &watch{q: q, filter: filter, opened: make(chan struct{}), known: make(map[string]*source)}
		q.watches[filter] = w
		q.work.Go(w.open)
	}
	w.joining++
	q.work.Go(func() { w.admit(c, done) })
	q.mu.Unlock()
}

// admit makes c one of the consumers when the watch is open.
func (w *watch) admit(c *consumer, done func(error)) {
	<-w.opened
	done(w.err)
	q := w.q
	q.mu.Lock()
	w.joining--
	in := w.err == nil && !c.left
	if in {
		w.consumers = append(w.consumers, c)
		c.watches = append(c.watches, w)
		clear(w.known) // c has joined none of them
	}
	q.mu.Unlock()
	if in {
		w.list()
	} else {
		w.remove(c)
	}
}

func (w *watch) open() {
	defer close(w.opened)
	q := w.q
	roots := []string{q.core.names.prefix + ".q.*"}
	if strings.HasPrefix(w.filter, "$") { // the root of these topics is not a token of its own
		roots = slices.Clone(q.roots[:])
		for _, p := range q.policies {
			roots = append(roots, p.root)
		}
	}
	for _, root := range roots {
		filters, err := mapping.FilterSubjects(root, w.filter)
		for _, f := range filters {
			var sub *nats.Subscription
			if sub, err = q.core.sub.Subscribe(f, w.see); err != nil {
				break
			}
			_ = sub.SetPendingLimits(livePending, livePendingBytes)
			q.mu.Lock()
			w.subs = append(w.subs, sub)
			q.mu.Unlock()
		}
		if err != nil {
			w.err = fmt.Errorf("watch queues %s: %w", w.filter, err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(q.ctx, openTimeout)
	defer cancel()
	if err := q.core.sub.FlushWithContext(ctx); err != nil {
		w.err = fmt.Errorf("watch queues %s: %w", w.filter, err)
	}
}

// remove ends c's interest; the last one takes the watch with it.
func (w *watch) remove(c *consumer) {
	q := w.q
	q.mu.Lock()
	w.consumers = slices.DeleteFunc(w.consumers, func(other *consumer) bool { return other == c })
	var subs []*nats.Subscription
	if len(w.consumers)+w.joining == 0 && q.watches[w.filter] == w {
		delete(q.watches, w.filter)
		subs = w.subs
	}
	q.mu.Unlock()
	for _, sub := range subs {
		_ = sub.Unsubscribe()
	}
}

// see is called for every message that is sent to a queue that matches.
func (w *watch) see(m *nats.Msg) {
	q := w.q
	q.mu.Lock()
	if s := w.known[m.Subject]; s != nil && !s.closed && len(s.members)+s.joining > 0 {
		s.quietSince = time.Now()
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	w.found(m.Subject)
}

// list finds the queues that have messages now.
func (w *watch) list() {
	q := w.q
	ctx, cancel := context.WithTimeout(q.ctx, openTimeout)
	defer cancel()
	streams, err := q.policyStreams(ctx)
	for _, stream := range slices.Concat(streams, q.shards[:]) {
		var filters []string
		if filters, err = mapping.FilterSubjects(q.core.names.queueRootOf(stream), w.filter); err != nil {
			break
		}
		for _, f := range filters {
			if err = q.subjects(ctx, stream, f, w.found); err != nil {
				break
			}
		}
	}
	if err != nil && q.ctx.Err() == nil {
		q.log.Error("queues cannot be listed", "filter", w.filter, "error", err)
	}
}

// found has the consumers join the queue whose subject this is.
func (w *watch) found(subject string) {
	q := w.q
	root := q.core.names.prefix + ".q."
	id, _, _ := strings.Cut(strings.TrimPrefix(subject, root), ".")
	topic, err := mapping.TopicOf(root+strings.TrimSuffix(id, "$"), subject)
	if err != nil || q.table.Kind(topic) != mapping.Queue || !mapping.MatchFilter(w.filter, topic) {
		return
	}
	q.mu.Lock()
	consumers := slices.Clone(w.consumers)
	q.mu.Unlock()
	for _, c := range consumers {
		q.joinQueue(c, topic, func(err error) {
			if err != nil && q.ctx.Err() == nil {
				q.log.Error("queue cannot be read", "topic", topic, "error", err)
			}
		})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(w.known) > 2*len(q.sources)+maxForgotten {
		clear(w.known)
	}
	if s := q.sources[queueConsumer(topic)]; s != nil {
		w.known[strings.Clone(subject)] = s
	}
}

// maxForgotten is how many queues a watch may remember that are not consumed.
const maxForgotten = 1000
