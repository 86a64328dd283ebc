package bridge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

// tempRoot begins the topics of temporary destinations:
// $temp/<gateway>/<96 random bits>/<name>.
const tempRoot = "$temp/"

var (
	errTooLarge  = errors.New("the message is larger than max_message")
	errNobody    = errors.New("the temporary destination does not exist (any more)")
	errReserved  = errors.New("topics below $SYS and $share are the server's")
	errQueueFull = errors.New("the queue is full")
	errStoreFull = errors.New("the store is full: nats.max_store, or the disk")
)

// publish hands a message to the core. done is called once, from any
// goroutine, when the core is responsible for it or has refused it. It waits
// only while too many appends are under way.
func (b *Bridge) publish(e *mapping.Envelope, done func(error)) {
	if len(e.Body) > b.cfg.MaxMessage {
		done(errTooLarge)
		return
	}
	if !e.Expires.IsZero() && !e.Expires.After(time.Now()) {
		b.counters.expired.Add(1)
		done(nil) // it was taken, and has expired since
		return
	}
	switch {
	case strings.HasPrefix(e.Topic, tempRoot):
		b.temps.send(e, done)
	case b.table.Kind(e.Topic) == mapping.Queue:
		b.enqueue(e, done)
	case e.QoS == 0 && !e.Retain:
		done(b.send(e))
	default:
		b.store(e, done)
	}
}

// send publishes a message that is not stored.
func (b *Bridge) send(e *mapping.Envelope) error {
	subject, err := mapping.Subject(b.core.names.live(), e.Topic)
	if err != nil {
		return err
	}
	b.counters.published.Add(1)
	header, data := e.Encode()
	if b.core.server != nil {
		b.flow.enter(len(data))
	}
	if header == "" {
		return b.core.pub.Publish(subject, data)
	}
	return b.core.pub.PublishMsg(&nats.Msg{Subject: subject, Data: data, Header: nats.Header{mapping.HeaderName: {header}}})
}

// stored makes the record of a message that a stream is to keep.
func stored(subject string, e *mapping.Envelope) *nats.Msg {
	header, data := encodeStored(e)
	m := &nats.Msg{Subject: subject, Data: data}
	if header != "" {
		m.Header = nats.Header{mapping.HeaderName: {header}}
	}
	if !e.Expires.IsZero() {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header["Nats-TTL"] = []string{ttl(e.Expires)}
	}
	return m
}

// store appends a message to the log and, when it is retained, makes it the
// last of its topic.
func (b *Bridge) store(e *mapping.Envelope, done func(error)) {
	subject, err := mapping.Subject(b.core.names.durable(), e.Topic)
	if err != nil {
		done(err)
		return
	}
	b.counters.published.Add(1)
	m := stored(subject, e)
	if !e.Retain {
		b.append.append(m, func(seq uint64, err error) {
			if err == nil {
				b.log.noteAcked(seq)
			}
			done(full(err))
		})
		return
	}
	topic, expires := e.Topic, e.Expires
	header := m.Header.Get(mapping.HeaderName)
	b.append.append(m, func(seq uint64, err error) {
		if err != nil {
			done(full(err))
			return
		}
		b.log.noteAcked(seq)
		b.retained.store(topic, seq, m.Data, header, expires, done)
	})
}

// enqueue appends a message to its queue's shard.
func (b *Bridge) enqueue(e *mapping.Envelope, done func(error)) {
	if e.Retain {
		e.Retain = false
		b.counters.retainIgnored.Add(1)
	}
	_, subject, err := b.queues.target(e.Topic)
	if err != nil {
		done(err)
		return
	}
	b.counters.published.Add(1)
	b.append.append(stored(subject, e), func(_ uint64, err error) { done(full(err)) })
}

// full tells a full queue and a full store from other refusals of an append.
func full(err error) error {
	var api *apiError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrCode {
	case errStoreFailed: // for any reason; a limit of the stream is the operator's
		if strings.HasPrefix(api.Description, "maximum") {
			return fmt.Errorf("%w: %w", errQueueFull, err)
		}
		return fmt.Errorf("%w: %w", errStoreFull, err)
	case errInsufficient, errStorageExceeded, errAccountExceeded:
		return fmt.Errorf("%w: %w", errStoreFull, err)
	}
	return err
}

// JetStream's refusals to store anything more.
const (
	errAccountExceeded = 10002
	errInsufficient    = 10023
	errStorageExceeded = 10047
	errStoreFailed     = 10077
)
