package bridge

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
)

// batches serialises the sending of atomic batches: a stream allows few open
// ones, and so there is never more than one of this gateway.
type batches struct{ mu sync.Mutex }

// element is a stored message of a transaction.
type element struct {
	envelope *mapping.Envelope
	msg      *nats.Msg
}

// transaction is the steps of a COMMIT by where they take effect.
type transaction struct {
	batches   [][]element         // each of one stream
	temporary []*mapping.Envelope // to temporary destinations
	settled   []stomp.Step
}

// Commit applies a transaction: what goes to one stream is one atomic batch.
// Messages to temporary destinations follow when the batches are stored, and
// settlements when both are done.
func (s *stompSession) Commit(_ context.Context, steps []stomp.Step, done func(error)) {
	tx, err := s.sort(steps)
	if err != nil {
		done(stompError(err))
		return
	}
	s.publishes.Add(1)
	settle := func(err error) {
		s.publishes.Done()
		if err != nil {
			done(stompError(err))
			return
		}
		s.settleAll(tx.settled, done)
	}
	if len(tx.temporary) == 0 {
		s.b.storeAll(tx.batches, settle)
		return
	}
	if len(tx.batches) > 0 {
		stored := make(chan error, 1)
		s.b.storeAll(tx.batches, func(err error) { stored <- err })
		if err := <-stored; err != nil { // what the client sends next must not overtake the rest
			settle(err)
			return
		}
	}
	all := newGather(len(tx.temporary), settle)
	for _, e := range tx.temporary {
		s.b.publish(e, all.one)
	}
	all.start()
}

// sort looks at all steps before any takes effect. Messages at QoS 0 are stored
// like the others, so that they share the transaction's fate.
func (s *stompSession) sort(steps []stomp.Step) (*transaction, error) {
	tx := new(transaction)
	place := make(map[string]int) // in batches, by stream
	now := time.Now()
	for _, step := range steps {
		if step.Send == nil {
			tx.settled = append(tx.settled, step)
			continue
		}
		e, err := s.envelope(step.Send)
		switch {
		case err != nil:
			return nil, err
		case len(e.Body) > s.b.cfg.MaxMessage:
			return nil, errTooLarge
		case !e.Expires.IsZero() && !e.Expires.After(now):
			s.b.counters.expired.Add(1)
			continue
		case strings.HasPrefix(e.Topic, tempRoot):
			tx.temporary = append(tx.temporary, e)
			continue
		}
		stream, subject, err := s.b.place(e)
		if err != nil {
			return nil, err
		}
		i, known := place[stream]
		if !known {
			i = len(tx.batches)
			place[stream] = i
			tx.batches = append(tx.batches, nil)
		}
		tx.batches[i] = append(tx.batches[i], element{e, stored(subject, e)})
	}
	return tx, nil
}

// place returns the stream and the subject that keep a message.
func (b *Bridge) place(e *mapping.Envelope) (stream, subject string, err error) {
	if b.table.Kind(e.Topic) == mapping.Queue {
		if e.Retain {
			e.Retain = false
			b.counters.retainIgnored.Add(1)
		}
		return b.queues.target(e.Topic)
	}
	subject, err = mapping.Subject(b.core.names.durable(), e.Topic)
	return b.core.names.log(), subject, err
}

// settleAll performs the settlements of a transaction.
func (s *stompSession) settleAll(steps []stomp.Step, done func(error)) {
	all := newGather(len(steps), done)
	for _, step := range steps {
		s.Settle(step.Token, step.Err, all.one)
	}
	all.start()
}

// storeAll stores batches; done is called with the first error when the fate
// of all is known.
func (b *Bridge) storeAll(batches [][]element, done func(error)) {
	all := newGather(len(batches), done)
	for _, batch := range batches {
		b.storeBatch(batch, all.one)
	}
	all.start()
}

// storeBatch stores messages of one stream, all or none.
func (b *Bridge) storeBatch(batch []element, done func(error)) {
	b.counters.published.Add(uint64(len(batch)))
	err := b.sendBatch(batch, func(last uint64, err error) {
		if err != nil {
			done(fmt.Errorf("transaction: %w", full(err)))
			return
		}
		b.batchStored(batch, last, done)
	})
	if err != nil {
		done(fmt.Errorf("transaction: %w", err))
	}
}

// sendBatch sends messages to a stream as one batch. stored, which is not
// called after an error, is told the sequence of the last.
func (b *Bridge) sendBatch(batch []element, stored func(last uint64, err error)) error {
	before, last := batch[:len(batch)-1], batch[len(batch)-1].msg
	if len(before) == 0 {
		b.append.append(last, stored)
		return nil
	}
	id := nuid.Next()
	b.batches.mu.Lock()
	defer b.batches.mu.Unlock()
	for i, e := range before {
		enlist(e.msg, id, i+1)
		if err := b.core.pub.PublishMsg(e.msg); err != nil {
			return err // the server drops what is not committed
		}
	}
	enlist(last, id, len(batch))
	last.Header["Nats-Batch-Commit"] = []string{"1"}
	b.append.append(last, stored)
	return nil
}

// enlist makes m the nth message of a batch.
func enlist(m *nats.Msg, id string, n int) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header["Nats-Batch-Id"] = []string{id}
	m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(n)}
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
