package bridge

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
)

// batches serialises the sending of atomic batches: a stream allows few open
// ones, and so there is never more than one.
type batches struct{ mu sync.Mutex }

// element is a stored message of a transaction.
type element struct {
	envelope *mapping.Envelope
	msg      *nats.Msg
}

// Commit applies a transaction: what goes to one stream is one atomic batch.
// Settlements follow when all messages are stored.
func (s *stompSession) Commit(_ context.Context, steps []stomp.Step, done func(error)) {
	streams := make(map[string][]element)
	var order []string
	var direct []*mapping.Envelope // not stored by a stream
	for _, step := range steps {
		if step.Send == nil {
			continue
		}
		e, err := s.envelope(step.Send)
		if err == nil && len(e.Body) > s.b.cfg.MaxMessage {
			err = stompError(errTooLarge)
		}
		if err != nil {
			done(err)
			return
		}
		stream, subject, err := s.b.place(e)
		if err != nil {
			done(stompError(err))
			return
		}
		if stream == "" {
			direct = append(direct, e)
			continue
		}
		if streams[stream] == nil {
			order = append(order, stream)
		}
		streams[stream] = append(streams[stream], element{e, stored(subject, e)})
	}
	all := newGather(len(order)+len(direct), func(err error) {
		if err != nil {
			done(stompError(err))
			return
		}
		s.settleAll(steps, done)
	})
	for _, stream := range order {
		s.b.batch(streams[stream], all.one)
	}
	for _, e := range direct {
		s.b.publish(e, all.one)
	}
	all.start()
}

// settleAll performs the settlements of a transaction.
func (s *stompSession) settleAll(steps []stomp.Step, done func(error)) {
	n := 0
	for _, step := range steps {
		if step.Send == nil {
			n++
		}
	}
	all := newGather(n, done)
	for _, step := range steps {
		if step.Send == nil {
			s.Settle(step.Token, step.Err, all.one)
		}
	}
	all.start()
}

// place returns the stream and subject that keep a message; no stream: none does.
func (b *Bridge) place(e *mapping.Envelope) (stream, subject string, err error) {
	switch {
	case strings.HasPrefix(e.Topic, tempRoot):
		return "", "", nil
	case b.table.Kind(e.Topic) == mapping.Queue:
		e.Retain = false
		return b.queues.target(e.Topic)
	case e.QoS == 0 && !e.Retain:
		return "", "", nil
	}
	subject, err = mapping.Subject(b.core.names.durable(), e.Topic)
	return b.core.names.log(), subject, err
}

// batch stores messages of one stream, all or none.
func (b *Bridge) batch(list []element, done func(error)) {
	b.counters.published.Add(uint64(len(list)))
	stored := func(last uint64, err error) {
		if err != nil {
			done(fmt.Errorf("transaction: %w", err))
			return
		}
		b.batchStored(list, last, done)
	}
	if len(list) == 1 {
		b.append.append(list[0].msg, stored)
		return
	}
	id := nuid.Next()
	b.batches.mu.Lock()
	defer b.batches.mu.Unlock()
	for i, e := range list {
		h := e.msg.Header
		if h == nil {
			h = nats.Header{}
			e.msg.Header = h
		}
		h["Nats-Batch-Id"] = []string{id}
		h["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i == len(list)-1 {
			h["Nats-Batch-Commit"] = []string{"1"}
			b.append.append(e.msg, stored)
			return
		}
		if err := b.core.pub.PublishMsg(e.msg); err != nil {
			done(err)
			return
		}
	}
}

// batchStored makes retained messages of a batch the last of their topics.
// last is the sequence of the batch's last message.
func (b *Bridge) batchStored(list []element, last uint64, done func(error)) {
	if b.table.Kind(list[0].envelope.Topic) != mapping.Topic {
		done(nil)
		return
	}
	b.log.noteAcked(last)
	all := newGather(len(list), done)
	for i, e := range list {
		if !e.envelope.Retain {
			all.one(nil)
			continue
		}
		seq := last - uint64(len(list)-1-i) //nolint:gosec // below last
		b.retained.store(e.envelope.Topic, seq, e.msg.Data, e.msg.Header.Get(mapping.HeaderName), e.envelope.Expires, all.one)
	}
	all.start()
}

// gather calls done once, with the first error, when n parts and start are done.
type gather struct {
	mu   sync.Mutex
	left int
	err  error
	done func(error)
}

func newGather(n int, done func(error)) *gather { return &gather{left: n + 1, done: done} }

func (g *gather) start() { g.one(nil) }

func (g *gather) one(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.left--
	last := g.left == 0
	err = g.err
	g.mu.Unlock()
	if last {
		g.done(err)
	}
}
