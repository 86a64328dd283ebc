package bridge

import (
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// asker sends requests to the core without waiting: answers come back on one
// subscription and are matched by number.
type asker struct {
	nc    *nats.Conn
	inbox string // answers come to inbox + number
	sub   *nats.Subscription
	err   error // of the subscription

	mu      sync.Mutex
	next    uint64
	pending map[uint64]question // nil: closed
}

// question is a request without an answer yet.
type question struct {
	answer   func(*nats.Msg, error)
	deadline time.Time
}

func newAsker(nc *nats.Conn) *asker {
	a := &asker{nc: nc, inbox: nats.NewInbox() + ".", pending: make(map[uint64]question)}
	if a.sub, a.err = nc.Subscribe(a.inbox+"*", a.receive); a.err == nil {
		a.err = a.sub.SetPendingLimits(-1, -1) // each is the answer to a question of ours
	}
	return a
}

// ask publishes a request. answer is called once, usually from another
// goroutine, and must not block.
func (a *asker) ask(subject string, body []byte, patience time.Duration, answer func(*nats.Msg, error)) {
	a.askMsg(&nats.Msg{Subject: subject, Data: body}, patience, answer)
}

// askMsg is ask with headers.
func (a *asker) askMsg(m *nats.Msg, patience time.Duration, answer func(*nats.Msg, error)) {
	if a.err != nil {
		answer(nil, a.err)
		return
	}
	a.mu.Lock()
	if a.pending == nil {
		a.mu.Unlock()
		answer(nil, nats.ErrConnectionClosed)
		return
	}
	n := a.next
	a.next++
	a.pending[n] = question{answer, time.Now().Add(patience)}
	a.mu.Unlock()
	m.Reply = a.inbox + strconv.FormatUint(n, 36)
	if err := a.nc.PublishMsg(m); err != nil {
		a.finish(n, nil, err)
	}
}

func (a *asker) receive(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(a.inbox):], 36, 64)
	if err != nil {
		return
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		a.finish(n, nil, nats.ErrNoResponders)
		return
	}
	a.finish(n, m, nil)
}

func (a *asker) finish(n uint64, m *nats.Msg, err error) {
	a.mu.Lock()
	q, ok := a.pending[n]
	delete(a.pending, n)
	a.mu.Unlock()
	if ok {
		q.answer(m, err)
	}
}

// expire fails what has no answer by now.
func (a *asker) expire(now time.Time) {
	var late []uint64
	a.mu.Lock()
	for n, q := range a.pending {
		if now.After(q.deadline) {
			late = append(late, n)
		}
	}
	a.mu.Unlock()
	for _, n := range late {
		a.finish(n, nil, errTimeout)
	}
}

// close fails what is pending, and what is still asked.
func (a *asker) close() {
	if a.sub != nil {
		_ = a.sub.Unsubscribe()
	}
	a.mu.Lock()
	left := a.pending
	a.pending = nil
	a.mu.Unlock()
	for _, q := range left {
		q.answer(nil, errTimeout)
	}
}
