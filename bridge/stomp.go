package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// stompBroker is the bridge as the STOMP front-end sees it.
type stompBroker struct{ b *Bridge }

// stompSession is a STOMP client while it is connected.
type stompSession struct {
	b        *Bridge
	name     string // for the log
	user     string
	clientID string // "": none
	peer     stomp.Peer

	// Owned by the connection's reader, and by Close after it.
	temp      *tempOwner // made when it is first needed
	subs      map[*stomp.Subscription]*stompSubscription
	publishes sync.WaitGroup // not yet stored; a SUBSCRIBE comes after them

	refused refusals[*stompSubscription]

	mu         sync.Mutex
	deliveries map[uint64]stompDelivery        // unsettled, by token
	last       uint64                          // token
	ended      map[*stompSubscription]struct{} // by UNSUBSCRIBE, with deliveries that are not settled
}

// stompSubscription is one SUBSCRIBE in force: on topics, a temporary
// destination, or as a consumer of queues.
type stompSubscription struct {
	s         *stompSession
	of        *stomp.Subscription
	topics    *subscriber
	filter    *subscription
	temporary string // the topic of the temporary destination
	consumer  *consumer
	group     string
	rest      string   // the group's filter
	durable   *durable // nil: it ends with the connection
	over      bool     // the durable subscription ends with it, too
	held      int      // deliveries of consumer that are not settled; guarded by s.mu
}

// stompDelivery is what a token stands for.
type stompDelivery struct {
	sub    *stompSubscription
	seq    uint64  // of topics
	queued *queued // of a consumer
}

// Connect opens the session of a client.
func (k stompBroker) Connect(ctx context.Context, peer stomp.Peer, c *stomp.Connect) (stomp.Session, error) {
	user, err := k.b.auth.Authenticate(ctx, c.Login, c.Passcode)
	if errors.Is(err, auth.ErrRefused) {
		return nil, &stomp.Error{Message: "login refused", Detail: "The login or passcode is not right.", Err: err}
	}
	if err != nil {
		return nil, err
	}
	name := c.Session
	if c.ClientID != "" {
		name = c.ClientID
	}
	return &stompSession{
		b: k.b, name: name, user: user.Name, clientID: c.ClientID, peer: peer,
		subs: make(map[*stomp.Subscription]*stompSubscription), deliveries: make(map[uint64]stompDelivery),
		ended: make(map[*stompSubscription]struct{}),
	}, nil
}

// Send hands a message to the core.
func (s *stompSession) Send(_ context.Context, f *frame.Frame, done func(error)) {
	e, err := s.envelope(f)
	if err != nil {
		done(err)
		return
	}
	s.publishes.Add(1)
	s.b.publish(e, func(err error) {
		s.publishes.Done()
		done(stompError(err))
	})
}

// stompError gives an error of the bridge the words of an ERROR frame.
func stompError(err error) error {
	var known *stomp.Error
	var limit *mapping.LimitError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, errTooLarge):
		return &stomp.Error{Message: "message too large", Detail: err.Error()}
	case errors.As(err, &limit):
		return &stomp.Error{Message: "destination too long", Detail: err.Error()}
	case errors.Is(err, errQueueFull):
		return &stomp.Error{Message: "queue full", Detail: "The queue holds as many messages as its policy allows.", Err: err}
	case errors.Is(err, errStoreFull):
		return &stomp.Error{Message: "store full", Detail: errStoreFull.Error(), Err: err}
	case errors.Is(err, errNobody):
		return &stomp.Error{Message: "no such temporary destination", Detail: errNobody.Error(), Err: err}
	}
	return &stomp.Error{Message: "message not stored", Detail: "The core did not take the message.", Err: err}
}

// stompSettleError does the same for an ACK, NACK or what a transaction has of them.
func stompSettleError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errGone):
		return &stomp.Error{Message: "acknowledged too late", Detail: "The message has been given to another consumer.", Err: err}
	}
	return &stomp.Error{Message: "acknowledgement not stored", Detail: "The core did not take it; the message may be delivered again.", Err: err}
}

// own returns the topic of a temporary destination of this connection.
func (s *stompSession) own(name string) string {
	if s.temp == nil {
		s.temp = s.b.temps.owner()
	}
	return s.temp.root + name
}

// topic is the topic a destination names for this client.
func (s *stompSession) topic(destination string) (string, error) {
	name, err := s.b.table.FromDestination(destination)
	if err != nil {
		return "", &stomp.Error{Message: "invalid destination", Detail: err.Error()}
	}
	switch {
	case name.Own:
		return s.own(name.Topic), nil
	case strings.HasPrefix(name.Topic, "$SYS/"), strings.HasPrefix(name.Topic, "$queue/"):
		return "", &stomp.Error{Message: "invalid destination", Detail: errReserved.Error()}
	}
	return name.Topic, nil
}
