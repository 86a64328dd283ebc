package stomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/causeway-mq/causeway/stomp/frame"
)

const (
	// maxLedger bounds what is remembered of deliveries that a client never
	// acknowledges. An ACK of what was forgotten does nothing: either there was
	// nothing to settle, or the broker gives it back in the end.
	maxLedger = 1 << 16
	// maxUnasked is how many copies a client that named no prefetch may leave
	// unacknowledged; beyond it the oldest is settled.
	maxUnasked = 1000
)

// subscriptionState is what the connection knows of a Subscription.
type subscriptionState struct {
	serial uint64 // names it in message-ids
	prefix []byte // of its MESSAGEs, up to the delivery's number
	ack    []byte // likewise, the ack line

	// Guarded by the connection's mu.
	open   bool       // its RECEIPT is on the way
	early  []Delivery // offered before
	closed bool       // nothing is offered any more
	ledger ledger
}

// unsettled is a delivery that awaits ACK or NACK.
type unsettled struct {
	number uint64 // in message-id
	token  uint64 // 0: nothing to settle
	stage  stage
}

type stage uint8

const (
	outstanding stage = iota
	held              // acknowledged in an open transaction
	settled
)

// ledger is the deliveries of one subscription in ascending order. Those that
// are settled in the middle stay until the ones before them are.
type ledger struct {
	entries   []unsettled
	head      int
	waiting   int    // entries that are not settled
	forgotten uint64 // highest number that was dropped unsettled
}

func (l *ledger) add(number, token uint64) {
	if len(l.entries)-l.head >= maxLedger {
		l.forget()
	}
	if l.head > 0 && l.head >= len(l.entries)/2 {
		l.entries = slices.Delete(l.entries, 0, l.head)
		l.head = 0
	}
	l.entries = append(l.entries, unsettled{number: number, token: token})
	l.waiting++
}

// forget drops the oldest delivery, which is not settled, and returns it.
func (l *ledger) forget() unsettled {
	oldest := l.entries[l.head]
	l.forgotten = oldest.number
	l.head++
	l.waiting--
	l.trim()
	return oldest
}

// claim moves a delivery, and with cumulative those before it, from
// outstanding to another stage, and appends them to claimed. It reports false
// when the named one is not outstanding.
func (l *ledger) claim(number uint64, cumulative bool, to stage, claimed []unsettled) ([]unsettled, bool) {
	entries := l.entries[l.head:]
	i, found := l.find(number)
	if !found || entries[i].stage != outstanding {
		return claimed, number > 0 && number <= l.forgotten
	}
	first := i
	if cumulative {
		first = 0
	}
	for j := first; j <= i; j++ {
		if entries[j].stage == outstanding {
			claimed = append(claimed, entries[j])
			entries[j].stage = to
			if to == settled {
				l.waiting--
			}
		}
	}
	l.trim()
	return claimed, true
}

// move ends the hold on a delivery.
func (l *ledger) move(number uint64, to stage) {
	if i, found := l.find(number); found {
		l.entries[l.head+i].stage = to
		if to == settled {
			l.waiting--
		}
		l.trim()
	}
}

func (l *ledger) find(number uint64) (int, bool) {
	return slices.BinarySearchFunc(l.entries[l.head:], number, func(u unsettled, n uint64) int {
		switch {
		case u.number < n:
			return -1
		case u.number > n:
			return 1
		}
		return 0
	})
}

func (l *ledger) trim() {
	for l.head < len(l.entries) && l.entries[l.head].stage == settled {
		l.head++
	}
	if l.head == len(l.entries) {
		l.entries, l.head = l.entries[:0], 0
	}
}

func (l *ledger) empty() bool { return l.head == len(l.entries) }

// handleAck obeys ACK (verdict nil) and NACK.
func (c *conn) handleAck(f *frame.Frame, verdict error) error {
	s, number, err := c.findDelivery(f)
	if err != nil {
		return err
	}
	name := f.Header.Value("transaction")
	to := settled
	var t *transaction
	if name != "" {
		to = held
		if t = c.transactions[name]; t == nil {
			return unknownTransaction(name)
		}
	}
	c.mu.Lock()
	claimed, ok := s.state.ledger.claim(number, s.Ack == AckClient, to, c.claimed[:0])
	c.mu.Unlock()
	c.claimed = claimed[:0]
	if !ok {
		return &Error{
			Message: f.Command + " of a message that is not awaiting one",
			Detail:  "It was acknowledged before, is part of an open transaction, or was delivered with ack:auto.",
		}
	}
	if t != nil {
		return c.holdAcks(f, t, s, claimed, verdict)
	}
	c.settle(claimed, verdict, c.expect(f.Header.Value("receipt"), 0))
	return nil
}

// findDelivery finds what an ACK or NACK names in any of the spellings that
// clients have for it: the PHP extension and stomp-php send those of other
// versions. // STOMP 1.2, ACK
func (c *conn) findDelivery(f *frame.Frame) (*Subscription, uint64, error) {
	for _, name := range [...]string{"id", "ack", "message-id"} {
		s, number, ok := c.parseMessageID(f.Header.Value(name))
		if !ok {
			continue
		}
		if id := f.Header.Value("subscription"); id != "" && s.ID != "" && id != s.ID {
			return nil, 0, &Error{Message: fmt.Sprintf("%s names subscription %q, but the message was delivered to %q", f.Command, id, s.ID)}
		}
		return s, number, nil
	}
	wants := map[frame.Version]string{
		frame.V10: "message-id", frame.V11: "message-id and subscription", frame.V12: "id, the ack of the MESSAGE",
	}
	return nil, 0, &Error{
		Message: f.Command + " of an unknown message",
		Detail:  fmt.Sprintf("STOMP %v wants the header %s, as it was delivered on this connection.", c.version, wants[c.version]),
	}
}

// parseMessageID reverses what sendMessage writes: session-serial-number.
func (c *conn) parseMessageID(id string) (*Subscription, uint64, bool) {
	rest, ok := strings.CutPrefix(id, c.session)
	if !ok || rest == "" || rest[0] != '-' {
		return nil, 0, false
	}
	first, second, _ := strings.Cut(rest[1:], "-")
	serial, err1 := strconv.ParseUint(first, 10, 64)
	number, err2 := strconv.ParseUint(second, 10, 64)
	s := c.bySerial[serial]
	return s, number, s != nil && err1 == nil && err2 == nil
}

// settle tells the broker of each delivery, and done when all were taken.
func (c *conn) settle(claimed []unsettled, verdict error, done func(error)) {
	claimed = slices.DeleteFunc(claimed, func(u unsettled) bool { return u.token == 0 })
	switch len(claimed) {
	case 0:
		done(nil)
	case 1:
		c.broker.Settle(claimed[0].token, verdict, done)
	default:
		var left atomic.Int64
		var failure atomic.Pointer[error]
		left.Store(int64(len(claimed)))
		for _, u := range claimed {
			c.broker.Settle(u.token, verdict, func(err error) {
				if err != nil {
					failure.CompareAndSwap(nil, &err)
				}
				if left.Add(-1) > 0 {
					return
				}
				if first := failure.Load(); first != nil {
					done(*first)
				} else {
					done(nil)
				}
			})
		}
	}
}

// sweep forgets the subscriptions that were closed and owe no ACK any more.
func (c *conn) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = slices.DeleteFunc(c.removed, func(s *Subscription) bool {
		gone := s.state.closed && s.state.ledger.empty()
		if gone {
			delete(c.bySerial, s.state.serial)
		}
		return gone
	})
}
