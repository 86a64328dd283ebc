package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// Server accepts MQTT clients for a Broker. Its fields are set before Serve.
type Server struct {
	Config Config
	Broker Broker
	Logger *slog.Logger

	counters counters
}

// counters are read by Stats.
type counters struct {
	accepted, open, refused, active           atomic.Int64
	packetsReceived, packetsSent              atomic.Int64
	bytesReceived, bytesSent                  atomic.Int64
	published, publishesRefused               atomic.Int64
	delivered, undeliverable, expired, denied atomic.Int64
}

// Stats is a snapshot of a server's counters; all but the two gauges only grow.
type Stats struct {
	Connections int64 // gauge: connections that are open
	Clients     int64 // gauge: of them, past CONNECT

	Accepted         int64 // connections
	ConnectsRefused  int64 // CONNACK with an error
	PacketsReceived  int64
	PacketsSent      int64
	BytesReceived    int64
	BytesSent        int64
	Published        int64 // messages received
	PublishesRefused int64 // of them, refused; at QoS 0 the broker does not say
	Delivered        int64 // PUBLISH sent
	Denied           int64 // deliveries refused because there was no room
	Undeliverable    int64 // deliveries dropped, most because they exceed the client's Maximum Packet Size
	Expired          int64 // deliveries dropped because their expiry had passed
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Connections:      c.open.Load(),
		Clients:          c.active.Load(),
		Accepted:         c.accepted.Load(),
		ConnectsRefused:  c.refused.Load(),
		PacketsReceived:  c.packetsReceived.Load(),
		PacketsSent:      c.packetsSent.Load(),
		BytesReceived:    c.bytesReceived.Load(),
		BytesSent:        c.bytesSent.Load(),
		Published:        c.published.Load(),
		PublishesRefused: c.publishesRefused.Load(),
		Delivered:        c.delivered.Load(),
		Denied:           c.denied.Load(),
		Undeliverable:    c.undeliverable.Load(),
		Expired:          c.expired.Load(),
	}
}

var errShutdown = &Error{Reason: packet.ServerShuttingDown}

// Serve accepts connections until ctx is done or l fails for good. It closes
// l, ends the connections as a shutdown does, and returns when the last of
// them is gone; nil when ctx was the reason. It may be called for several
// listeners at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// A connection learns from its context's cause why it ends.
	conns, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		end(errShutdown)
		l.Close() // Accept returns
	})
	defer stop()

	var open sync.WaitGroup
	defer open.Wait()
	defer end(errShutdown)
	defer l.Close()

	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			open.Go(func() { s.serveConn(conns, nc) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, or a client that was gone already
			s.Logger.Error("accept failed", "protocol", "mqtt", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			pause = min(2*pause, longest)
		}
	}
}

func (s *Server) serveConn(ctx context.Context, nc net.Conn) {
	s.counters.accepted.Add(1)
	s.counters.open.Add(1)
	defer s.counters.open.Add(-1)

	c := newConn(s, nc)
	cause := c.run(ctx)
	c.log.Log(ctx, severity(cause), "connection ended", "reason", reason(cause), "error", cause)
}

// severity is info for what happens every day, warn for a client that broke
// the rules, error for a fault of ours.
func severity(cause error) slog.Level {
	e, ok := errors.AsType[*Error](cause)
	if !ok {
		return slog.LevelInfo
	}
	switch e.Reason {
	case packet.MalformedPacket, packet.ProtocolError, packet.UnsupportedProtocolVersion, packet.ClientIdentifierNotValid,
		packet.BadUserNameOrPassword, packet.NotAuthorized, packet.Banned, packet.BadAuthenticationMethod,
		packet.TopicFilterInvalid, packet.TopicNameInvalid, packet.ReceiveMaximumExceeded, packet.TopicAliasInvalid,
		packet.PacketTooLarge, packet.MessageRateTooHigh, packet.QuotaExceeded, packet.PayloadFormatInvalid:
		return slog.LevelWarn
	case packet.UnspecifiedError, packet.ImplementationSpecificError:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

func reason(cause error) string {
	if e, ok := errors.AsType[*Error](cause); ok {
		return e.Reason.String()
	}
	return "none"
}
