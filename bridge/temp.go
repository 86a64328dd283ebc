package bridge

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

const (
	// tempRandom is the number of random bytes in the root of a connection.
	tempRandom = 12
	// maxTemp and maxTempBytes are what may wait for the receiver of a
	// temporary destination: it is kept nowhere else.
	maxTemp      = 1000
	maxTempBytes = 32 << 20
)

// temps are the temporary destinations of the clients of this gateway. A
// message to one is handed to its owner by a request, and never stored.
type temps struct {
	b *Bridge

	mu     sync.Mutex
	owners map[string]*tempOwner // by "$temp/<gateway>/<random>/"
}

// tempOwner is a connection's temporary destinations.
type tempOwner struct {
	root string // "$temp/<gateway>/<96 random bits>/"

	mu    sync.Mutex
	names map[string]*subscriber // by topic: who subscribed to it
}

func (t *temps) init(b *Bridge) { t.b, t.owners = b, make(map[string]*tempOwner) }

// open takes the messages to temporary destinations of this gateway.
func (t *temps) open() error {
	prefix, err := t.subject(tempRoot + t.b.name + "/x")
	if err != nil {
		return fmt.Errorf("name: %w", err)
	}
	_, err = t.b.core.sub.Subscribe(strings.TrimSuffix(prefix, "x")+">", t.receive)
	return err
}

func (t *temps) subject(topic string) (string, error) {
	return mapping.Subject(t.b.core.names.temp(), topic)
}

// owner makes the root of a connection's temporary destinations.
func (t *temps) owner() *tempOwner {
	var random [tempRandom]byte
	_, _ = rand.Read(random[:])
	o := &tempOwner{root: tempRoot + t.b.name + "/" + hex.EncodeToString(random[:]) + "/", names: make(map[string]*subscriber)}
	t.mu.Lock()
	t.owners[o.root] = o
	t.mu.Unlock()
	return o
}

func (t *temps) forget(o *tempOwner) {
	t.mu.Lock()
	delete(t.owners, o.root)
	t.mu.Unlock()
}

// subscribe makes s the receiver of a temporary destination. A destination
// has one receiver.
func (o *tempOwner) subscribe(topic string, s *subscriber) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names[topic] != nil {
		return fmt.Errorf("temporary destination %q already has a subscription", topic[len(o.root):])
	}
	o.names[topic] = s
	return nil
}

func (o *tempOwner) unsubscribe(topic string) {
	o.mu.Lock()
	delete(o.names, topic)
	o.mu.Unlock()
}

// send asks the owning gateway to take a message. done(nil): it has.
func (t *temps) send(e *mapping.Envelope, done func(error)) {
	subject, err := t.subject(e.Topic)
	if err != nil {
		done(err)
		return
	}
	m := stored(subject, e)
	t.b.queues.asks.askMsg(m, t.b.cfg.NATS.Patience, func(answer *nats.Msg, err error) {
		if err == nil && string(answer.Data) != tempTaken {
			err = errRefused
		}
		if err != nil {
			err = fmt.Errorf("%w (%w)", errNobody, err)
		}
		done(err)
	})
}

// The answers to a message for a temporary destination.
const (
	tempTaken   = "+OK"
	tempRefused = "-NO"
)

var errRefused = errors.New("refused")

func (t *temps) receive(m *nats.Msg) {
	answer := tempRefused
	if topic, err := mapping.TopicOf(t.b.core.names.temp(), m.Subject); err == nil {
		if msg, err := newStored(topic, m); err == nil && t.deliver(msg) {
			answer = tempTaken
		}
	}
	if m.Reply != "" {
		_ = t.b.core.sub.Publish(m.Reply, []byte(answer))
	}
}

func (t *temps) deliver(m *message) bool {
	root := min(len(m.Topic), len(tempRoot)+len(t.b.name)+1+2*tempRandom+1)
	t.mu.Lock()
	o := t.owners[m.Topic[:root]]
	t.mu.Unlock()
	if o == nil {
		return false
	}
	o.mu.Lock()
	s := o.names[m.Topic]
	o.mu.Unlock()
	return s != nil && s.take(m)
}

// take queues a message that is only for this subscriber; false: too many wait.
func (s *subscriber) take(m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := 0
	for i := range s.pending.len() {
		waiting += s.pending.at(i).msg.size
	}
	if s.closed || s.pending.len() >= maxTemp || waiting >= maxTempBytes {
		return false
	}
	s.local++
	m.seq = tokenLocal | s.local
	s.pending.push(entry{seq: m.seq, msg: m, target: s.only})
	s.pump()
	return true
}
