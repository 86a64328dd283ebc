package stomp

// answer is what the client is owed for a frame: a RECEIPT, an ERROR, or only
// its place in the order.
type answer struct {
	conn     *conn
	receipt  string        // ""; none asked for
	opens    *Subscription // its MESSAGEs wait for this answer // STOMP 1.2, RECEIPT
	bytes    int
	finished bool
	err      error
	next     *answer
	done     func(error) // finish, bound once: answers are reused
}

// answers is a queue in the order of the client's frames. It is guarded by the
// connection's mu.
type answers struct {
	first, last *answer
	len, bytes  int
	free        *answer
	freed       int
}

// maxFreeAnswers bounds what an idle connection keeps for its next burst.
const maxFreeAnswers = 16

func (q *answers) push(c *conn, receipt string, bytes int) *answer {
	a := q.free
	if a == nil {
		a = &answer{conn: c}
		a.done = a.finish
	} else {
		q.free = a.next
		q.freed--
	}
	a.receipt, a.bytes, a.next = receipt, bytes, nil
	if q.last == nil {
		q.first = a
	} else {
		q.last.next = a
	}
	q.last = a
	q.len++
	q.bytes += bytes
	return a
}

// pop removes the first answer, which is reused from then on.
func (q *answers) pop() answer {
	a := q.first
	q.first = a.next
	if q.first == nil {
		q.last = nil
	}
	q.len--
	q.bytes -= a.bytes
	popped := *a
	a.receipt, a.opens, a.finished, a.err, a.next = "", nil, false, nil, nil
	if q.freed < maxFreeAnswers {
		a.next, q.free = q.free, a
		q.freed++
	}
	return popped
}

// expect takes the next place in the order of answers; what it returns is to
// be called once, by any goroutine, when the operation is complete.
func (c *conn) expect(receipt string, bytes int) func(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers.push(c, receipt, bytes).done
}

// finish sends the answer and those behind it that were waiting for it.
func (a *answer) finish(err error) {
	c := a.conn
	c.mu.Lock()
	a.finished, a.err = true, err
	var failure error
	for !c.failed && c.answers.first != nil && c.answers.first.finished {
		first := c.answers.pop()
		if first.err != nil {
			c.fail(first.err, first.receipt)
			failure = first.err
			break
		}
		if first.receipt != "" {
			c.sendReceipt(first.receipt)
		}
		if first.opens != nil {
			c.open(first.opens)
		}
	}
	if c.failed || c.answers.len <= maxAnswers/2 && c.answers.bytes <= maxOperating/2 {
		c.wakeReader()
	}
	c.mu.Unlock()
	if failure != nil {
		c.end(failure)
	}
}
