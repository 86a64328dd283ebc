package mqtt

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

const (
	maxOut       = 1 << 20  // bytes that wait for a client before deliveries are refused
	maxWrite     = 64 << 10 // bytes of one write, which has writeTimeout
	maxBuffer    = 64 << 10 // bytes of an encoding buffer before the next is begun
	minReference = 16 << 10 // bytes of a payload that is written from where it lies
	maxText      = 512      // bytes of a reason string
)

// outbox is what waits to be written: encoded packets in buffers, and large
// payloads by reference between them.
type outbox struct {
	chunks  []chunk
	tail    *[]byte // the buffer packets are encoded into; nil: none begun
	size    int     // bytes that wait or are being written
	replies int     // of them, in packets that answer the client's
	packets int     // that wait

	last time.Time // nothing is written after it; zero: no end is in sight
	err  error     // of the first write that failed; nothing is written any more
}

// chunk is a part of the output.
type chunk struct {
	bytes  []byte
	buffer *[]byte // where bytes came from; nil: not ours
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// begin returns the buffer to append a packet to, for commit.
func (o *outbox) begin() []byte {
	if o.tail != nil && len(*o.tail) >= maxBuffer {
		o.cut()
	}
	if o.tail == nil {
		o.tail = buffers.Get().(*[]byte)
	}
	return *o.tail
}

// commit takes what has been appended to the buffer of begin and, when it is
// not nil, the payload behind it. It returns the bytes this added.
func (o *outbox) commit(b, payload []byte) int {
	n := len(b) - len(*o.tail) + len(payload)
	*o.tail = b
	if payload != nil {
		o.cut()
		o.chunks = append(o.chunks, chunk{bytes: payload})
	}
	o.size += n
	o.packets++
	return n
}

func (o *outbox) cut() {
	o.chunks = append(o.chunks, chunk{*o.tail, o.tail})
	o.tail = nil
}

// take returns all that waits and keeps into for what comes next.
func (o *outbox) take(into []chunk) []chunk {
	if o.tail != nil && len(*o.tail) > 0 {
		o.cut()
	}
	taken := o.chunks
	o.chunks = into
	o.packets = 0
	return taken
}

// release gives the buffers of written chunks back.
func release(chunks []chunk) {
	for i, k := range chunks {
		if k.buffer != nil && cap(*k.buffer) <= 2*maxBuffer {
			*k.buffer = (*k.buffer)[:0]
			buffers.Put(k.buffer)
		}
		chunks[i] = chunk{}
	}
}

// reply queues a packet that is not a delivery. c.mu is held.
func (c *conn) reply(p packet.Packet) {
	b, err := packet.Append(c.out.begin(), c.version, p)
	if err == nil && len(b)-len(*c.out.tail) > c.maxPacket {
		err = fmt.Errorf("%T exceeds the client's Maximum Packet Size", p) // [MQTT-3.1.2-24]
	}
	if err != nil {
		c.end(&Error{Reason: packet.ImplementationSpecificError, Err: err})
		return
	}
	c.out.replies += c.out.commit(b, nil)
	c.wake()
}

// text returns what the client may read of e.
func (c *conn) text(e *Error) string {
	if c.quiet || c.maxPacket < 2*maxText { // [MQTT-3.1.2-29]
		return ""
	}
	s := e.Text[:min(len(e.Text), maxText)]
	if !utf8.ValidString(s) {
		return ""
	}
	return s
}

// wake starts the writer when it is not running. c.mu is held.
func (c *conn) wake() {
	if !c.writing {
		c.writing = true
		c.writers.Go(c.writeLoop)
	}
}

// writeLoop writes until nothing is left to write. The more slowly the client
// reads, the more packets a write holds.
func (c *conn) writeLoop() {
	var chunks []chunk
	for {
		c.mu.Lock()
		c.server.counters.packetsSent.Add(int64(c.out.packets))
		chunks = c.out.take(chunks[:0])
		replies, broken := c.out.replies, c.out.err != nil
		if len(chunks) == 0 && (len(c.skipped) == 0 || c.phase != running) {
			c.writing = false
			c.out.chunks = nil
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()

		if !broken {
			if err := c.write(chunks); err != nil {
				c.breakOff(err)
			}
		}
		release(chunks)
		c.progress(0, replies)
	}
}

// breakOff stops writing. A client that does not read is given up. One that is
// gone may have sent more before it went: the reader finds out.
func (c *conn) breakOff(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.end(fmt.Errorf("write: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.err = err
	if c.phase <= running {
		c.silence = linger
		c.nc.SetReadDeadline(time.Now().Add(linger))
	}
}

// progress notes what has been written and tells the session what it may now
// know.
func (c *conn) progress(size, replies int) {
	c.mu.Lock()
	c.out.size -= size
	c.out.replies -= replies
	ready := c.takeReady()
	var skipped []uint64
	if c.phase == running {
		skipped, c.skipped = c.skipped, nil
	}
	calls := ready || skipped != nil
	if calls {
		c.calls.Add(1)
	}
	c.mu.Unlock()
	c.room.Signal()
	if calls {
		c.tell(ready, skipped)
	}
}

// takeReady reports whether the session is to be told that there is room
// again. c.mu is held.
func (c *conn) takeReady() bool {
	if !c.refused || c.phase != running || c.out.size > maxOut/2 || !c.state.Room() {
		return false
	}
	c.refused = false
	return true
}

// tell makes the writer's calls into the session.
func (c *conn) tell(ready bool, skipped []uint64) {
	defer c.calls.Done()
	err := c.guard(func() error {
		for _, token := range skipped {
			c.session.Settle(token, nil)
		}
		if ready {
			c.session.Ready()
		}
		return nil
	})
	if err != nil {
		c.end(err)
	}
}

// write writes the chunks in pieces of at most maxWrite bytes.
func (c *conn) write(chunks []chunk) error {
	if len(chunks) == 1 && len(chunks[0].bytes) <= maxWrite {
		return c.writePiece(func() (int64, error) {
			n, err := c.nc.Write(chunks[0].bytes)
			return int64(n), err
		})
	}
	var piece net.Buffers
	room := maxWrite
	for i := 0; i < len(chunks); {
		part := chunks[i].bytes[:min(len(chunks[i].bytes), room)]
		piece = append(piece, part)
		room -= len(part)
		if chunks[i].bytes = chunks[i].bytes[len(part):]; len(chunks[i].bytes) == 0 {
			i++
		}
		if room > 0 && i < len(chunks) {
			continue
		}
		whole := piece // WriteTo eats its receiver
		if err := c.writePiece(func() (int64, error) { return piece.WriteTo(c.nc) }); err != nil {
			return err
		}
		piece, room = whole[:0], maxWrite
	}
	return nil
}

// writePiece does one write within its deadline.
func (c *conn) writePiece(write func() (int64, error)) error {
	c.mu.Lock()
	deadline := c.out.last
	if deadline.IsZero() {
		deadline = time.Now().Add(writeTimeout)
	}
	c.nc.SetWriteDeadline(deadline)
	c.mu.Unlock()
	n, err := write()
	c.server.counters.bytesSent.Add(n)
	c.progress(int(n), 0)
	return err
}
