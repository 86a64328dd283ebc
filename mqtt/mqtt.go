// Package mqtt is a server and a client for MQTT 3.1, 3.1.1 and 5.0.
//
// The server speaks the protocol and nothing else: what a topic means, where
// messages and sessions live and who may connect is decided by a Broker.
package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// Config is what a Server is told. Zero means no bound where a bound is
// optional and is refused by Validate elsewhere.
type Config struct {
	MaxMessage       int           `koanf:"max_message"`        // bytes of the largest packet that is read
	ReceiveMaximum   int           `koanf:"receive_maximum"`    // publishes accepted from a client without being acknowledged, 1 to 65,535
	MaxInflight      int           `koanf:"max_inflight"`       // deliveries sent to a client without being acknowledged, 1 to 65,535
	MaxSessionExpiry time.Duration `koanf:"max_session_expiry"` // longest life of a session after its connection; Forever: no bound

	ConnectTimeout time.Duration `koanf:"-"` // from accepting a connection to its CONNECT
	ShutdownGrace  time.Duration `koanf:"-"` // for the outstanding acknowledgements when Serve is to end
	MaxKeepAlive   time.Duration `koanf:"-"` // longest keep alive of an MQTT 5 client; 0: what the client asks for
	TopicAliasMax  int           `koanf:"-"` // topic aliases in each direction of an MQTT 5 connection; 0: none
}

// DefaultConfig returns the configuration of a server that was told nothing.
func DefaultConfig() Config {
	return Config{
		MaxMessage:       16 << 20,
		ReceiveMaximum:   100,
		MaxInflight:      100,
		MaxSessionExpiry: 168 * time.Hour,
		ConnectTimeout:   10 * time.Second,
		ShutdownGrace:    10 * time.Second,
		TopicAliasMax:    100,
	}
}

// Validate reports every value that is out of range, by its key.
func (c Config) Validate() error {
	check := func(ok bool, format string, value any) error {
		if ok {
			return nil
		}
		return fmt.Errorf(format, value)
	}
	return errors.Join(
		check(c.MaxMessage >= 1024 && c.MaxMessage <= packet.MaxSize, "max_message: %v is not between 1024 and 268435460", c.MaxMessage),
		check(c.ReceiveMaximum >= 1 && c.ReceiveMaximum <= 65535, "receive_maximum: %v is not between 1 and 65535", c.ReceiveMaximum),
		check(c.MaxInflight >= 1 && c.MaxInflight <= 65535, "max_inflight: %v is not between 1 and 65535", c.MaxInflight),
		check(c.MaxSessionExpiry >= 0, "max_session_expiry: %v is negative", c.MaxSessionExpiry),
		check(c.ConnectTimeout > 0, "connect_timeout: %v is not positive", c.ConnectTimeout),
		check(c.ShutdownGrace >= 0, "shutdown_grace: %v is negative", c.ShutdownGrace),
		check(c.MaxKeepAlive >= 0 && c.MaxKeepAlive <= 65535*time.Second, "max_keep_alive: %v is not between 0 and 65535 seconds", c.MaxKeepAlive),
		check(c.TopicAliasMax >= 0 && c.TopicAliasMax <= 65535, "topic_alias_max: %v is not between 0 and 65535", c.TopicAliasMax),
	)
}

// Broker opens a Session for each client that connects.
type Broker interface {
	// Connect is called once per connection, from its reader, when a valid
	// CONNECT has been read. An *Error gives the reason of the CONNACK.
	// Deliveries may be offered to peer before Connect returns; the peer
	// refuses them until it has sent CONNACK and then calls Ready.
	Connect(ctx context.Context, peer Peer, connect *Connect) (Connected, error)
}

// Connect is what a CONNECT packet asks for, limits and defaults applied.
type Connect struct {
	Version        packet.Version
	ClientID       string // never empty
	Assigned       bool   // the server chose ClientID: nobody can come back to it
	CleanStart     bool
	SessionExpiry  time.Duration // after the connection ends; 0: with it; Forever: never
	ReceiveMaximum int           // deliveries at QoS ≥ 1 that may be unsettled, 1 to 65,535: the client's and ours, the smaller
	Username       string
	Password       []byte
	Will           *packet.Will // nil: none
	Remote         net.Addr
}

// Forever is a session expiry interval without end (0xFFFFFFFF on the wire).
const Forever = packet.Forever

// Connected is an accepted CONNECT.
type Connected struct {
	Session Session
	Present bool   // an earlier session goes on
	State   []byte // what Peer.State returned last in that session
}

// Session is the broker's side of one connected client.
//
// Publish, Forget, Subscribe and Unsubscribe are called from the connection's
// reader, in the order of the packets, and do not block on the broker's store;
// their context ends with the connection, which does not undo what they began.
// Settle, Release and Ready may be called from any goroutine. Every done is
// called exactly once, from any goroutine, possibly before the call returns;
// the connection puts the answers in order. A done must not block.
type Session interface {
	// Publish hands over a PUBLISH, its topic alias resolved. done(nil): the
	// broker is responsible for the message; an *Error refuses it, or, with a
	// reason below 0x80, accepts it with that reason. A refusal that a second
	// try cannot cure (NotAuthorized, TopicNameInvalid, PacketTooLarge,
	// PayloadFormatInvalid) is acknowledged to clients of 3.x; any other
	// closes their connection. The packet belongs to the broker. At QoS 0
	// done is nil.
	Publish(ctx context.Context, publish *packet.Publish, done func(error))
	// Forget is told that PUBREL ended the use of a packet identifier;
	// done(nil): that is persisted where it must be, PUBCOMP may go; an error
	// ends the connection.
	Forget(id uint16, done func(error))
	// Subscribe answers one reason per filter, in order.
	Subscribe(ctx context.Context, subscribe *packet.Subscribe, done func([]packet.ReasonCode))
	// Unsubscribe answers one reason per filter, in order. Nothing is
	// offered for a filter once done was called.
	Unsubscribe(ctx context.Context, unsubscribe *packet.Unsubscribe, done func([]packet.ReasonCode))
	// Settle ends a delivery (PUBACK, PUBCOMP, or PUBREC with an error): err
	// nil acknowledges it, an *Error with the client's reason refuses it.
	// Called exactly once per token.
	Settle(token uint64, err error)
	// Release is told that PUBREC came for a delivery at QoS 2; done(nil):
	// that is persisted where it must be, PUBREL may go; an error ends the
	// connection.
	Release(token uint64, done func(error))
	// Ready says that an Offer that was refused may be repeated.
	Ready()
	// Close ends the connection's hold on the session and returns when the
	// broker has let go of the peer: no Offer is under way or will follow.
	Close(End)
}

// End is how a connection ended.
type End struct {
	Cause  error          // nil: DISCONNECT with reason 0x00 or 0x04
	Will   bool           // the will is to be published, after its delay
	Expiry *time.Duration // a session expiry interval changed by DISCONNECT
	State  []byte         // the last Peer.State
}

// Message is defined in message.go.

// Delivery is a message offered to one client.
type Delivery struct {
	Message     *Message
	Token       uint64 // names it in Settle and Release; unique in the session; 0 at QoS 0: nothing to settle
	QoS         packet.QoS
	Retain      bool     // the RETAIN flag to send
	Identifiers []uint32 // subscription identifiers of all matching subscriptions; shared, not to be changed
	Attempt     int      // 1 the first time; DUP is sent for later ones whose packet identifier was in use
	Released    bool     // PUBREC came in an earlier connection: Message is nil, send PUBREL
}

// Peer is the client as the broker sees it. The server implements it.
type Peer interface {
	// Offer never blocks and never calls back into the session. false: no
	// room; the session's Ready asks for another try. Deliveries at QoS 0
	// that are refused are lost, and the broker counts them.
	Offer(Delivery) bool
	// State returns what must outlive the connection: packet identifiers in
	// flight in both directions, opaque to the broker. Any goroutine.
	State() []byte
	// End closes the connection with the reason of err (an *Error as it is).
	// It returns at once; the session's Close follows.
	End(err error)
}
