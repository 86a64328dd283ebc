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

	"github.com/causeway-mq/causeway/stomp/frame"
)

// Server serves clients on behalf of a Broker. Its fields are set before the
// first Serve; Config must be valid.
type Server struct {
	Config Config
	Broker Broker
	Logger *slog.Logger

	stats counters
}

// Serve accepts clients from l until ctx is done, which each of them is told,
// or l fails. It closes l and returns when all connections have ended; after
// ctx was done it returns nil. It may be called for several listeners.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	clients, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		end(errShutdown)
	})
	defer stop()

	sessions, session := rand.Text()[:10]+"-", uint64(0)
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		nc, err := accept(ctx, l)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case err != nil:
			_ = l.Close()
			end(errShutdown)
			return err
		}
		session++
		c := newConn(s, nc, sessions+strconv.FormatUint(session, 36))
		connections.Go(func() { s.serve(clients, c) })
	}
}

// accept waits out what may pass, such as a lack of file descriptors.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		nc, err := l.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nc, err
		}
		if temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); !ok || !temporary.Temporary() {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serve runs a connection and logs its end.
func (s *Server) serve(ctx context.Context, c *conn) {
	s.stats.connections.Add(1)
	s.stats.connected.Add(1)
	defer s.stats.connections.Add(-1)
	start := time.Now()
	cause := c.run(ctx)

	log := s.Logger.With("protocol", "stomp", "remote", c.net.RemoteAddr().String(), "session", c.session,
		"version", c.version.String(), "elapsed", time.Since(start))
	var bug *panicError
	var format *frame.FormatError
	var limit *frame.LimitError
	var command *frame.CommandError
	var refused *Error
	switch {
	case errors.As(cause, &bug):
		log.Error("connection ended", "error", cause, "stack", string(bug.stack))
	case errors.Is(cause, errDisconnected), errors.Is(cause, errShutdown), !answerable(cause):
		log.Info("connection ended", "reason", cause)
	case errors.As(cause, &refused), errors.As(cause, &format), errors.As(cause, &limit), errors.As(cause, &command):
		log.Warn("connection ended", "reason", refusal(cause))
	default:
		log.Error("connection ended", "error", cause)
	}
}

// Stats is a snapshot of what a Server counted.
type Stats struct {
	Connections      int64 // open now
	Connected        int64 // accepted since the start
	FramesReceived   int64
	FramesSent       int64
	MessagesReceived int64 // SEND
	MessagesSent     int64 // MESSAGE
	BytesReceived    int64
	BytesSent        int64
	Errors           int64 // ERROR frames, each the end of a connection
}

// Stats returns what was counted so far. Counts of frames received follow
// when a connection has read all that came.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Connections:      c.connections.Load(),
		Connected:        c.connected.Load(),
		FramesReceived:   c.framesReceived.Load(),
		FramesSent:       c.framesSent.Load(),
		MessagesReceived: c.messagesReceived.Load(),
		MessagesSent:     c.messagesSent.Load(),
		BytesReceived:    c.bytesReceived.Load(),
		BytesSent:        c.bytesSent.Load(),
		Errors:           c.errors.Load(),
	}
}

type counters struct {
	connections, connected         atomic.Int64
	framesReceived, framesSent     atomic.Int64
	messagesReceived, messagesSent atomic.Int64
	bytesReceived, bytesSent       atomic.Int64
	errors                         atomic.Int64
}
