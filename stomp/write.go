package stomp

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/stomp/frame"
)

const (
	maxQueued   = 512 << 10 // bytes of deliveries that wait for the writer; as many may be under way
	byReference = 16 << 10  // bodies from this size on are not copied
	maxPooled   = 1 << 20   // larger buffers are not kept
)

// batch is encoded frames that are written together.
type batch struct {
	bytes    []byte
	cut      int         // bytes[:cut] is in pieces
	pieces   net.Buffers // when large bodies interrupt bytes
	large    int         // bytes of those
	tokens   []uint64    // settled by being written: ack mode auto, and what is overdue
	frames   int64
	messages int64
	answers  int // bytes of RECEIPTs
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) size() int { return len(b.bytes) + b.large }

// appendBody appends a body, by reference when it is large.
func (b *batch) appendBody(body []byte) {
	if len(body) < byReference {
		b.bytes = append(b.bytes, body...)
		return
	}
	b.pieces = append(b.pieces, b.bytes[b.cut:], body)
	b.cut = len(b.bytes)
	b.large += len(body)
}

func (b *batch) release() {
	if cap(b.bytes) > maxPooled {
		return
	}
	clear(b.pieces[:cap(b.pieces)])
	*b = batch{bytes: b.bytes[:0], pieces: b.pieces[:0], tokens: b.tokens[:0]}
	batches.Put(b)
}

// outgoing returns the batch to append to, and sees to it that somebody writes
// it. mu is held; nil means that nothing can be sent any more.
func (c *conn) outgoing() *batch {
	if c.failed || c.broken || c.closed {
		return nil
	}
	if c.queue == nil {
		c.queue = batches.Get().(*batch)
	}
	if !c.writing {
		c.writing = true
		c.writers.Go(c.writeLoop)
	}
	return c.queue
}

// send queues a frame of ours. mu is held.
func (c *conn) send(f *frame.Frame) {
	if b := c.outgoing(); b != nil {
		b.bytes = frame.Append(b.bytes, c.version, f)
		c.endFrame(b)
	}
}

// endFrame follows a NUL: the PHP extension reads one line end with it, not later.
func (c *conn) endFrame(b *batch) {
	if c.server.Config.TrailingNewline {
		b.bytes = append(b.bytes, '\n')
	}
	b.frames++
}

func (c *conn) sendReceipt(receipt string) {
	b := c.outgoing()
	if b == nil {
		return
	}
	from := len(b.bytes)
	b.bytes = append(b.bytes, frame.Receipt+"\n"...)
	b.bytes = frame.AppendField(b.bytes, c.version, "receipt-id", receipt)
	b.bytes = append(b.bytes, '\n', 0)
	c.endFrame(b)
	b.answers += len(b.bytes) - from
	c.unread += len(b.bytes) - from
}

// fail queues the ERROR that ends the connection. mu is held.
func (c *conn) fail(err error, receipt string) {
	if c.failed {
		return
	}
	c.send(errorFrame(err, receipt))
	c.failed = true
	c.server.counters.errors.Add(1)
	if c.version == 0 {
		c.server.counters.refused.Add(1)
	}
}

// writeLoop writes until nothing is left to write.
func (c *conn) writeLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.queue != nil {
		b, ready := c.queue, c.refused
		c.queue, c.refused = nil, false
		if ready {
			c.callBroker(Session.Ready)
		}
		c.mu.Unlock()
		err := c.write(b)
		if err != nil {
			c.end(&lostError{err})
		} else {
			c.server.counters.framesSent.Add(b.frames)
			c.server.counters.delivered.Add(b.messages)
		}
		c.mu.Lock()
		c.written = time.Now()
		c.unread -= b.answers
		if err != nil {
			c.broken = true
			c.queue = nil
		} else if len(b.tokens) > 0 {
			c.callBroker(func(s Session) {
				for _, token := range b.tokens {
					s.Settle(token, nil, ignore)
				}
			})
		}
		b.release()
		c.wakeReader()
	}
	c.writing = false
	c.wakeReader()
}

// callBroker lets go of mu for a call that must not come after Session.Close.
func (c *conn) callBroker(call func(Session)) {
	if c.lost {
		return
	}
	c.calling = true
	c.mu.Unlock()
	call(c.broker)
	c.mu.Lock()
	c.calling = false
	c.wakeReader()
}

// ignore is the completion of a settlement that the client did not ask for.
func ignore(error) {}

// write writes b. A client that takes bytes at all may take its time.
func (c *conn) write(b *batch) error {
	var pieces net.Buffers
	if b.cut > 0 {
		b.pieces = append(b.pieces, b.bytes[b.cut:])
		pieces = b.pieces
	}
	rest := b.bytes
	for {
		c.mu.Lock()
		if !c.closing {
			_ = c.net.SetWriteDeadline(time.Now().Add(stall))
		}
		c.mu.Unlock()
		var n int64
		var err error
		if pieces != nil {
			n, err = pieces.WriteTo(c.net)
		} else {
			var k int
			k, err = c.net.Write(rest)
			rest, n = rest[k:], int64(k)
		}
		c.server.counters.bytesSent.Add(n)
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// open lets MESSAGEs of s go, first those that came too early. mu is held.
func (c *conn) open(s *Subscription) {
	s.state.open = true
	for _, d := range s.state.early {
		c.early -= len(d.Message.Body) + frameBytes
		c.sendMessage(d)
	}
	s.state.early = nil
}

// Offer implements Peer.
func (c *conn) Offer(d Delivery) bool {
	d.Message.encoded(c.version) // once for all receivers, not under mu
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.failed || c.broken {
		return false
	}
	queued := c.early
	if c.queue != nil {
		queued += c.queue.size() - c.queue.answers
	}
	if queued >= maxQueued {
		c.refused = true
		c.server.counters.denied.Add(1)
		return false
	}
	if state := &d.Subscription.state; !state.open {
		c.early += len(d.Message.Body) + frameBytes
		state.early = append(state.early, d)
		return true
	}
	c.sendMessage(d)
	return true
}

// End implements Peer.
func (c *conn) End(err error) { c.end(err) }

// sendMessage queues a MESSAGE. mu is held.
func (c *conn) sendMessage(d Delivery) {
	b := c.outgoing()
	if b == nil {
		return
	}
	c.delivery++
	s := &d.Subscription.state
	dst := append(b.bytes, s.prefix...)
	dst = append(strconv.AppendUint(dst, c.delivery, 10), '\n')
	switch {
	case d.Subscription.Ack != AckAuto:
		s.ledger.add(c.delivery, d.Token)
		if d.Copy && d.Subscription.Prefetch == 0 && s.ledger.waiting > maxUnasked {
			c.server.counters.overdue.Add(1)
			if oldest := s.ledger.forget(); oldest.token != 0 && oldest.stage == outstanding {
				b.tokens = append(b.tokens, oldest.token)
			}
		}
		if c.version == frame.V12 { // STOMP 1.2, MESSAGE
			dst = append(dst, s.ack...)
			dst = append(strconv.AppendUint(dst, c.delivery, 10), '\n')
		}
	case d.Token != 0:
		b.tokens = append(b.tokens, d.Token)
	}
	if d.Attempt > 1 {
		dst = append(dst, "redelivered:true\ndelivery-count:"...)
		dst = append(strconv.AppendInt(dst, int64(d.Attempt), 10), '\n')
	}
	if d.Retained {
		dst = append(dst, "retained:true\n"...)
	}
	b.bytes = append(dst, d.Message.encoded(c.version)...)
	b.appendBody(d.Message.Body)
	b.bytes = append(b.bytes, 0)
	c.endFrame(b)
	b.messages++
}

// heartBeat writes a line end when nothing else was written for so long.
// // STOMP 1.2, Heart-beating
func (c *conn) heartBeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	wait := c.beat
	if !c.writing {
		if idle := time.Since(c.written); idle < c.beat {
			wait = c.beat - idle
		} else if b := c.outgoing(); b != nil {
			b.bytes = append(b.bytes, '\n')
		}
	}
	c.beats.Reset(wait)
}
