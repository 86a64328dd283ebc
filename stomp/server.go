package stomp

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves clients on behalf of a Broker. Its fields are set before the
// first Serve; Config must be valid.
type Server struct {
	Config Config
	Broker Broker
	Logger *slog.Logger

	counters counters
}

// counters are read by Stats.
type counters struct {
	accepted, open, refused, active atomic.Int64
	framesReceived, framesSent      atomic.Int64
	bytesReceived, bytesSent        atomic.Int64
	published, delivered            atomic.Int64
	denied, overdue, errors         atomic.Int64
}

// Stats is a snapshot of a server's counters; all but the two gauges only grow.
type Stats struct {
	Connections int64 // gauge: connections that are open
	Clients     int64 // gauge: of them, past CONNECT

	Accepted        int64 // connections
	ConnectsRefused int64 // ERROR before CONNECTED
	FramesReceived  int64
	FramesSent      int64
	BytesReceived   int64
	BytesSent       int64
	Published       int64 // SEND received
	Delivered       int64 // MESSAGE sent
	Denied          int64 // deliveries refused because there was no room
	Overdue         int64 // deliveries settled because the client left too many unacknowledged
	Errors          int64 // ERROR sent
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Connections:     c.open.Load(),
		Clients:         c.active.Load(),
		Accepted:        c.accepted.Load(),
		ConnectsRefused: c.refused.Load(),
		FramesReceived:  c.framesReceived.Load(),
		FramesSent:      c.framesSent.Load(),
		BytesReceived:   c.bytesReceived.Load(),
		BytesSent:       c.bytesSent.Load(),
		Published:       c.published.Load(),
		Delivered:       c.delivered.Load(),
		Denied:          c.denied.Load(),
		Overdue:         c.overdue.Load(),
		Errors:          c.errors.Load(),
	}
}

// Serve accepts connections until ctx is done or l is closed. It closes l,
// tells the clients of the shutdown, and returns when the last of them is gone;
// nil when ctx was the reason. It may be called for several listeners at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// A connection learns from its context's cause why it ends.
	conns, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		end(ErrShutdown)
		_ = l.Close() // Accept returns
	})
	defer stop()

	var open sync.WaitGroup
	defer open.Wait()
	defer end(ErrShutdown)
	defer l.Close()

	// Session ids are unique in the gateway, short, and not those of the last run.
	prefix, session := rand.Text()[:10]+"-", uint64(0)
	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			session++
			id := prefix + strconv.FormatUint(session, 36)
			open.Go(func() { s.serveConn(conns, nc, id) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, or a client that was gone already
			s.Logger.Error("accept failed", "protocol", "stomp", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			pause = min(2*pause, longest)
		}
	}
}

func (s *Server) serveConn(ctx context.Context, nc net.Conn, session string) {
	s.counters.accepted.Add(1)
	s.counters.open.Add(1)
	defer s.counters.open.Add(-1)

	start := time.Now()
	c := newConn(s, nc, session)
	cause := c.run(ctx)
	log := c.log.With("elapsed", time.Since(start))
	if bug, ok := errors.AsType[*panicError](cause); ok {
		log.Error("connection ended", "error", cause, "stack", string(bug.stack))
		return
	}
	log.Log(ctx, severity(cause), "connection ended", "reason", cause)
}

// severity is info for what happens every day, warn for a client that broke
// the rules, error for a fault of ours.
func severity(cause error) slog.Level {
	switch {
	case errors.Is(cause, ErrShutdown), !answerable(cause):
		return slog.LevelInfo
	case refusal(cause).Message == internalError:
		return slog.LevelError
	}
	return slog.LevelWarn
}
