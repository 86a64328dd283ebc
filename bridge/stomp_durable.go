package bridge

import (
	"fmt"
	"sync"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// durable is a subscription to topics that outlives its connections: what
// comes while nobody is connected waits. The core keeps it as a group.
type durable struct {
	group string // of the core's consumer
	owner string // of the membership: not of a connection
	alone bool   // one connection at a time
}

// durableOwner begins the names of memberships that outlive every connection.
const durableOwner = "d-"

// durables are the durable subscriptions that one connection may have at a
// time, as far as they are connected to this gateway.
type durables struct {
	mu   sync.Mutex
	used map[string]*stompSubscription // by owner
}

// durableNames are the headers that name a durable subscription of a client
// with a client-id, as ActiveMQ and Artemis spell them.
var durableNames = []string{
	"activemq.subscriptionName", "activemq.subcriptionName", "durable-subscription-name", "durable-subscriber-name",
}

// durable reads from the header of SUBSCRIBE or UNSUBSCRIBE which durable
// subscription it means; nil: none.
//
// RabbitMQ names one by destination and id, or by x-queue-name, and lets any
// number of clients share it. ActiveMQ and Artemis name one by client-id and a
// name of its own, and let one client at a time have it.
func (s *stompSession) durable(id, destination string, h frame.Header) (*durable, error) {
	for _, header := range durableNames {
		name := h.Value(header)
		if name == "" {
			continue
		}
		if s.clientID == "" {
			return nil, &stomp.Error{Message: "client-id missing", Detail: "A durable subscription (" + header + ") needs a client-id header in CONNECT."}
		}
		return newDurable(true, s.user, s.clientID, name), nil
	}
	if h.Value("durable") != "true" && h.Value("persistent") != "true" {
		return nil, nil
	}
	name := h.Value("x-queue-name")
	if name == "" && id == "" {
		return nil, &stomp.Error{Message: "id missing", Detail: "A durable subscription (durable:true) needs an id or an x-queue-name."}
	}
	if name == "" {
		return newDurable(false, s.user, destination, id), nil
	}
	return newDurable(false, s.user, "", name), nil
}

func newDurable(alone bool, user, scope, name string) *durable {
	key := mapping.Key(fmt.Sprintf("%t\x00%s\x00%s\x00%s", alone, user, scope, name))
	return &durable{group: "durable-" + key, owner: durableOwner + key, alone: alone}
}

// take makes sub the one that has its durable subscription.
func (d *durables) take(sub *stompSubscription) error {
	if !sub.durable.alone {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used[sub.durable.owner] != nil {
		return &stomp.Error{Message: "durable subscription in use", Detail: "Another connection with this client-id has it."}
	}
	if d.used == nil {
		d.used = make(map[string]*stompSubscription)
	}
	d.used[sub.durable.owner] = sub
	return nil
}

func (d *durables) release(sub *stompSubscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used[sub.durable.owner] == sub {
		delete(d.used, sub.durable.owner)
	}
}

// moved ends what a durable subscription was subscribed to before, when that
// is something else now.
func (b *Bridge) moved(d *durable, filter string) error {
	members, err := b.sessions.members(b.ctx, "g.*."+d.owner)
	for _, m := range members {
		if m.Filter != filter {
			b.sessions.leftGroup(b.ctx, d.owner, m.Group, m.Filter)
		}
	}
	return err
}
