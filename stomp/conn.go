package stomp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/stomp/frame"
)

const (
	linger       = time.Second      // how long a client may take to receive its ERROR, and again to close
	stall        = 15 * time.Minute // a client that takes no byte for so long is gone; busy consumers pause for minutes
	maxAnswers   = 1000             // operations under way on one connection
	maxOperating = 4 << 20          // bytes of their frames
	maxUnread    = 1 << 20          // bytes of answers the client has not read
	frameBytes   = 512              // what a frame costs beyond its text and body while it is kept
)

var (
	connectLimits = frame.Limits{HeaderLine: 16 << 10, HeaderLines: 100, HeaderBytes: 32 << 10, Body: 1 << 10}
	clientLimits  = frame.Limits{HeaderLine: 256 << 10, HeaderLines: 1000, HeaderBytes: 1 << 20}
)

// conn is one client. The reader is run's goroutine; a writer lives while
// there is something to write.
type conn struct {
	server  *Server
	net     net.Conn
	session string // id
	wake    chan struct{}
	debug   bool // frames are logged

	// Fixed by run.
	done <-chan struct{}         // the connection is ending
	end  context.CancelCauseFunc // says why; the first cause counts

	// Owned by the reader.
	reader        *frame.Reader
	silence       time.Duration // after which a quiet client is dead; 0: never
	frames, sends int64         // received and not counted yet
	subscriptions map[string]*Subscription
	bySerial      map[uint64]*Subscription // as message-ids name them, removed ones too
	removed       []*Subscription          // by UNSUBSCRIBE
	serial        uint64
	transactions  map[string]*transaction
	heldBytes     int           // of all transactions
	claimed       []unsettled   // scratch
	goodbye       *frame.Frame  // DISCONNECT
	offending     string        // receipt of the frame that ended the connection
	broker        Session       // nil until connected; the writer reads it too, but starts later
	version       frame.Version // likewise
	log           *slog.Logger

	mu      sync.Mutex // guards all below
	waiting bool       // the reader is, for wake
	closing bool       // no more offers
	failed  bool       // ERROR was queued: nothing may follow
	broken  bool       // a write failed
	lost    bool       // what is written from now on is not settled
	closed  bool       // no writer may be born
	answers answers    // in the order of the frames

	queue    *batch // to be written; nil: nothing
	writing  bool   // a writer is alive
	calling  bool   // and in a call of the broker
	writers  sync.WaitGroup
	unread   int       // bytes of answers in queue and in the write under way
	early    int       // bytes offered to subscriptions that are not open yet
	refused  bool      // an Offer was, for want of room
	delivery uint64    // number of the last one
	written  time.Time // the last write
	beat     time.Duration
	beats    *time.Timer // nil: none
}

func newConn(s *Server, nc net.Conn, session string) *conn {
	c := &conn{server: s, net: nc, session: session, wake: make(chan struct{}, 1)}
	c.log = s.Logger.With("protocol", "stomp", "remote", nc.RemoteAddr().String())
	c.debug = c.log.Enabled(context.Background(), slog.LevelDebug)
	c.reader = frame.NewReader(source{c}, connectLimits)
	return c
}

// run serves the client until one side ends the connection, and returns why.
// Nothing of the connection is left then.
func (c *conn) run(ctx context.Context) error {
	ctx, c.end = context.WithCancelCause(ctx)
	c.done = ctx.Done()
	defer context.AfterFunc(ctx, c.interrupt)()
	_ = c.net.SetReadDeadline(time.Now().Add(c.server.Config.ConnectTimeout))

	// Operations under way outlive the reader: they are answered first.
	operations, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	c.end(c.readLoop(ctx, operations))
	cause := context.Cause(ctx)
	c.finish(cause, abandon)
	return cause
}

// interrupt makes the reader look at why the connection ends.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *conn) readLoop(ctx, operations context.Context) (err error) {
	defer c.reader.Close()
	defer c.countReceived()
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value, debug.Stack()}
		}
	}()
	for {
		if !c.await(c.done, c.hasRoom) || ctx.Err() != nil {
			return errInterrupted
		}
		f, err := c.reader.Read()
		if err != nil {
			err = c.explain(err)
		} else {
			c.frames++
			if c.debug {
				c.log.Debug("frame received", "frame", f.Command, "destination", f.Header.Value("destination"), "size_bytes", len(f.Body))
			}
			err = c.handle(ctx, operations, f)
		}
		if err != nil {
			if f != nil {
				c.offending = f.Header.Value("receipt")
			}
			return err
		}
	}
}

// explain tells the network's errors from the client's.
func (c *conn) explain(err error) error {
	switch {
	case errors.Is(err, errInterrupted), isFrameError(err):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) && c.version == 0:
		return &Error{Message: fmt.Sprintf("no CONNECT within %v", c.server.Config.ConnectTimeout), Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Message: fmt.Sprintf("no heart-beat within %v", c.silence), Err: err}
	}
	return &lostError{err}
}

// source is the socket as the frame reader sees it: any byte is a sign of life.
type source struct{ *conn }

func (c source) Read(p []byte) (int, error) {
	c.countReceived()
	if c.silence > 0 {
		_ = c.net.SetReadDeadline(time.Now().Add(c.silence))
	}
	select {
	case <-c.done: // after the deadline was set: the one that interrupts comes later
		return 0, errInterrupted
	default:
	}
	n, err := c.net.Read(p)
	c.server.counters.bytesReceived.Add(int64(n))
	return n, err
}

func (c *conn) countReceived() {
	if c.frames > 0 {
		c.server.counters.framesReceived.Add(c.frames)
		c.server.counters.published.Add(c.sends)
		c.frames, c.sends = 0, 0
	}
}

// hasRoom reports whether another frame may be read.
func (c *conn) hasRoom() bool {
	return c.answers.len < maxAnswers && c.answers.bytes < maxOperating && c.unread < maxUnread
}

// await waits until ok, which is evaluated under mu, and reports false when
// until came first. Only the reader waits.
func (c *conn) await(until <-chan struct{}, ok func() bool) bool {
	for {
		c.mu.Lock()
		if ok() {
			c.mu.Unlock()
			return true
		}
		c.waiting = true
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-until:
			return false
		}
	}
}

// wakeReader lets the reader look again. mu is held.
func (c *conn) wakeReader() {
	if c.waiting {
		c.waiting = false
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// finish answers what was under way, says farewell, and lets go of everything.
// What was received before a DISCONNECT, an ERROR or the end of the stream
// is still processed. // STOMP 1.2, DISCONNECT
func (c *conn) finish(cause error, abandon func()) {
	farewell, cancel := context.WithTimeout(context.Background(), c.server.Config.ShutdownGrace+linger)
	defer cancel()
	grace, cancelGrace := context.WithTimeout(farewell, c.server.Config.ShutdownGrace)
	defer cancelGrace()
	_, isLost := errors.AsType[*lostError](cause)
	c.mu.Lock()
	c.closing = true
	c.lost = isLost
	_ = c.net.SetWriteDeadline(time.Now().Add(c.server.Config.ShutdownGrace + linger))
	if c.beats != nil {
		c.beats.Stop()
	}
	c.mu.Unlock()

	if answerable(cause) {
		c.expect(c.offending, 0)(cause)
	}
	if !c.await(grace.Done(), func() bool { return c.answers.len == 0 || c.failed }) && answerable(cause) {
		c.mu.Lock()
		c.fail(cause, c.offending)
		c.mu.Unlock()
	}
	// A client that does not read does not keep messages from others.
	flushed := func() bool { return !c.writing }
	flush, cancelFlush := context.WithTimeout(farewell, linger)
	defer cancelFlush()
	c.await(flush.Done(), flushed)
	c.mu.Lock()
	c.lost = true
	c.mu.Unlock()
	c.await(farewell.Done(), func() bool { return !c.calling })
	abandon()
	if c.broker != nil {
		c.server.counters.active.Add(-1)
		if errors.Is(cause, errDisconnected) {
			c.broker.Close(nil)
		} else {
			c.broker.Close(cause)
		}
	}
	if c.goodbye != nil {
		c.expect(c.goodbye.Header.Value("receipt"), 0)(nil)
	}
	c.await(farewell.Done(), flushed)
	c.hangUp(isLost)
}

// hangUp closes the connection so that the last frame arrives: input that
// nobody reads would make the system reset it.
func (c *conn) hangUp(isLost bool) {
	half, ok := c.net.(interface{ CloseWrite() error })
	if ok && !isLost && half.CloseWrite() == nil {
		_ = c.net.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.Copy(io.Discard, c.net)
	}
	_ = c.net.Close()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.writers.Wait()
}
