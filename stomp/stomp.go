// Package stomp is a server and a client for STOMP 1.0, 1.1 and 1.2.
//
// The server speaks the protocol and nothing else: what a destination means,
// where messages live and who may connect is decided by a Broker.
package stomp

import (
	"context"
	"net"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// Broker opens a Session for each client that connects.
type Broker interface {
	// Connect is called once per connection, from its reader, when a valid
	// CONNECT has been read. An *Error is sent to the client as it is; any
	// other error is reported to it as an internal one. Deliveries may be
	// offered to peer before Connect returns.
	Connect(ctx context.Context, peer Peer, connect *Connect) (Session, error)
}

// Connect is a CONNECT or STOMP frame with its version negotiated.
type Connect struct {
	Version  frame.Version
	Host     string
	Login    string
	Passcode string
	ClientID string       // client-id, or "": a durable identity (ActiveMQ, Artemis)
	Header   frame.Header // all of it, as read
	Remote   net.Addr
	Session  string // the session id the client is told; unique in the gateway
}

// Session is the broker's side of one connected client.
//
// Send, Subscribe, Unsubscribe and Commit are called from the connection's
// reader, in the order of the frames, and do not block on the broker's store.
// Settle and Ready may be called from any goroutine. Every done is called
// exactly once, from any goroutine, possibly before the call returns; the
// connection puts the answers in order. A done must not block.
type Session interface {
	// Send hands over a SEND. done(nil): the broker is responsible for the
	// message. The frame belongs to the broker.
	Send(ctx context.Context, send *frame.Frame, done func(error))
	// Subscribe opens sub. done(nil) comes before the first delivery to it
	// is offered.
	Subscribe(ctx context.Context, sub *Subscription, done func(error))
	// Unsubscribe closes sub: nothing is offered to it once done was called.
	// Its unsettled deliveries stay valid until the session closes. header is
	// the UNSUBSCRIBE frame's (durable subscriptions are deleted by it).
	Unsubscribe(sub *Subscription, header frame.Header, done func(error))
	// Commit applies the steps of a transaction, all or none, in order.
	Commit(ctx context.Context, steps []Step, done func(error))
	// Settle ends a delivery: err nil acknowledges it, ErrRequeue gives it
	// back, ErrReject dead-letters it, ErrReturned gives it back without
	// counting an attempt. Called at most once per token; tokens that are left
	// when the session closes are given back.
	Settle(token uint64, err error, done func(error))
	// Ready says that an Offer that was refused may be repeated.
	Ready()
	// Close ends the session and returns when the broker has let go of the
	// peer: no Offer is under way or will follow. cause is nil after a
	// DISCONNECT. Unsettled deliveries are given back. It is the last call;
	// a done may still be called after it.
	Close(cause error)
}

// Step is one element of a transaction: a SEND when Send is set, else the
// settlement of a delivery.
type Step struct {
	Send  *frame.Frame
	Token uint64
	Err   error
}

// AckMode is the ack header of SUBSCRIBE.
type AckMode uint8

// The three modes. // STOMP 1.2, SUBSCRIBE ack Header
const (
	AckAuto AckMode = iota
	AckClient
	AckClientIndividual
)

// Subscription is an open SUBSCRIBE. The connection makes it; it is immutable
// while it is shared with the broker.
type Subscription struct {
	ID          string // unique in the connection; "" in 1.0 when the client named none
	Destination string
	Ack         AckMode
	Prefetch    int          // prefetch-count or activemq.prefetchSize; 0: not named
	Header      frame.Header // all of SUBSCRIBE, as read

	state subscriptionState // the connection's
}

// Delivery is a message offered to one subscription.
type Delivery struct {
	Message      *Message
	Subscription *Subscription
	Token        uint64 // names it in Settle; unique in the session; 0: nothing to settle
	Attempt      int    // 1 the first time
	Retained     bool   // sent because of the SUBSCRIBE: retained:true
	Copy         bool   // others get it, too: beyond 1,000 unacknowledged ones the oldest is settled, unless a prefetch was named
}

// Peer is the client as the broker sees it. The server implements it.
type Peer interface {
	// Offer never blocks and never calls back into the session. false: no
	// room; the session's Ready asks for another try. Deliveries with
	// Token 0 that are refused are lost, and the broker counts them.
	Offer(Delivery) bool
	// End closes the connection, telling the client err (an *Error as it
	// is). It returns at once; the session's Close follows.
	End(err error)
}
