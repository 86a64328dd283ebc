package stomp

import (
	"fmt"

	"github.com/causeway-mq/causeway/stomp/frame"
)

const (
	maxTransactions = 100  // open on one connection
	maxSteps        = 1000 // of one transaction
)

// transaction is the frames held back between BEGIN and COMMIT.
type transaction struct {
	steps []Step
	acks  []heldAck
	bytes int
}

// heldAck is a delivery that COMMIT settles and ABORT leaves unacknowledged.
type heldAck struct {
	subscription *Subscription
	number       uint64
}

func unknownTransaction(name string) error {
	return &Error{Message: fmt.Sprintf("unknown transaction %q", name), Detail: "BEGIN opens a transaction; COMMIT and ABORT end it."}
}

func (c *conn) handleBegin(f *frame.Frame) error {
	name := f.Header.Value("transaction")
	switch {
	case name == "":
		return missing(f, "transaction")
	case c.transactions[name] != nil:
		return &Error{Message: fmt.Sprintf("transaction %q is open already", name)}
	case len(c.transactions) >= maxTransactions:
		return &Error{Message: fmt.Sprintf("more than %d open transactions", maxTransactions)}
	}
	if c.transactions == nil {
		c.transactions = make(map[string]*transaction)
	}
	c.transactions[name] = new(transaction)
	c.expect(f.Header.Value("receipt"), 0)(nil)
	return nil
}

// hold keeps the steps of a frame, of that size, until COMMIT and answers it.
func (c *conn) hold(f *frame.Frame, t *transaction, bytes int, steps ...Step) error {
	limit := 2 * max(c.server.Config.MaxMessage, 1<<20)
	switch {
	case len(t.steps)+len(steps) > maxSteps:
		return &Error{Message: fmt.Sprintf("more than %d frames in a transaction", maxSteps)}
	case c.heldBytes+bytes > limit:
		return &Error{Message: fmt.Sprintf("more than %d bytes in open transactions", limit)}
	}
	t.steps = append(t.steps, steps...)
	t.bytes += bytes
	c.heldBytes += bytes
	c.expect(f.Header.Value("receipt"), 0)(nil)
	return nil
}

// holdAcks keeps the settlement of claimed deliveries until COMMIT.
func (c *conn) holdAcks(f *frame.Frame, t *transaction, s *Subscription, claimed []unsettled, verdict error) error {
	steps := make([]Step, 0, len(claimed))
	for _, u := range claimed {
		t.acks = append(t.acks, heldAck{s, u.number})
		if u.token != 0 {
			steps = append(steps, Step{Token: u.token, Err: verdict})
		}
	}
	return c.hold(f, t, 0, steps...)
}

func (c *conn) handleCommit(f *frame.Frame, commit func([]Step, func(error))) error {
	t, err := c.endTransaction(f, settled)
	if err != nil {
		return err
	}
	done := c.expect(f.Header.Value("receipt"), t.bytes)
	if len(t.steps) == 0 {
		done(nil)
		return nil
	}
	commit(t.steps, done)
	return nil
}

func (c *conn) handleAbort(f *frame.Frame) error {
	if _, err := c.endTransaction(f, outstanding); err != nil {
		return err
	}
	c.expect(f.Header.Value("receipt"), 0)(nil)
	return nil
}

// endTransaction closes the transaction that f names and moves the deliveries
// it held to their next stage.
func (c *conn) endTransaction(f *frame.Frame, to stage) (*transaction, error) {
	name := f.Header.Value("transaction")
	if name == "" {
		return nil, missing(f, "transaction")
	}
	t := c.transactions[name]
	if t == nil {
		return nil, unknownTransaction(name)
	}
	delete(c.transactions, name)
	c.heldBytes -= t.bytes
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ack := range t.acks {
		ack.subscription.state.ledger.move(ack.number, to)
	}
	return t, nil
}
