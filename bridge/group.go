package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/causeway-mq/causeway/mapping"
)

// joinGroup makes c a consumer of a group: of the topics that filter matches,
// each message goes to one of the group's consumers.
func (q *queues) joinGroup(c *consumer, group, filter string, done func(error)) {
	specs, err := q.groupSpecs(group, filter)
	if err != nil {
		done(err)
		return
	}
	if err := q.joinLive(c, group, filter); err != nil {
		done(err)
		return
	}
	q.join(c, specs, done)
}

// dropGroup deletes what the core keeps of a group that nobody subscribes to
// any more, online or not.
func (q *queues) dropGroup(group, filter string) error {
	specs, err := q.groupSpecs(group, filter)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(q.ctx, openTimeout)
	defer cancel()
	for _, sp := range specs {
		if !q.ended(ctx, sp.name) {
			return nil // somebody has joined meanwhile
		}
		err := q.core.js.DeleteConsumer(ctx, sp.places[0].stream, sp.name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete group %s on %s: %w", group, filter, err)
		}
	}
	return nil
}

// ended waits until a source that has no members has given back what it holds
// and is gone; false: it has members, or ctx has ended.
func (q *queues) ended(ctx context.Context, name string) bool {
	for {
		q.mu.Lock()
		s := q.sources[name]
		used := s != nil && len(s.members) > 0
		q.mu.Unlock()
		if s == nil || used {
			return !used
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
}

// groupSpecs returns the sources of a group: one for each filter of the core,
// since one that has several is slow. Messages of gateways and of native
// applications differ in the subject's second token, for which a wildcard
// stands; what else it matches is no topic.
func (q *queues) groupSpecs(group, filter string) ([]spec, error) {
	n := q.core.names
	roots := []string{n.prefix + ".*"}
	if strings.HasPrefix(filter, "$") { // the root of these topics is not a token of its own
		roots = []string{n.durable(), n.native()}
	}
	var specs []spec
	for _, root := range roots {
		subjects, err := mapping.FilterSubjects(root, filter)
		if err != nil {
			return nil, err
		}
		for _, subject := range subjects {
			specs = append(specs, spec{
				name:   groupConsumer(group, filter) + "-" + strconv.Itoa(len(specs)),
				places: []location{{n.log(), subject}}, group: group, filter: filter, isGroup: true,
			})
		}
	}
	return specs, nil
}

// groupConsumer names a group in the core. A group's name has no slash.
func groupConsumer(group, filter string) string { return "g-" + mapping.Key(group+"/"+filter) }

// liveGroup hands a group's messages at QoS 0, which are not stored, to its
// consumers. The core gives each to one gateway.
type liveGroup struct {
	q    *queues
	name string

	// Guarded by q.mu.
	subs    []*nats.Subscription
	members []*consumer // replaced when it changes
	turn    int
}

func (q *queues) joinLive(c *consumer, group, filter string) error {
	subjects, err := mapping.FilterSubjects(q.core.names.live(), filter)
	if err != nil {
		return err
	}
	name := groupConsumer(group, filter)
	q.mu.Lock()
	if q.closed || c.left {
		q.mu.Unlock()
		return errClosing
	}
	g := q.live[name]
	fresh := g == nil
	if fresh {
		g = &liveGroup{q: q, name: name}
		q.live[name] = g
	}
	g.members = append(slices.Clone(g.members), c)
	c.live = append(c.live, g)
	q.mu.Unlock()
	if !fresh {
		return nil
	}
	for _, subject := range subjects {
		sub, err := q.core.sub.QueueSubscribe(subject, name, g.receive)
		if err != nil {
			g.remove(c)
			return fmt.Errorf("subscribe to %s: %w", filter, err)
		}
		_ = sub.SetPendingLimits(livePending, livePendingBytes)
		q.mu.Lock()
		g.subs = append(g.subs, sub)
		gone := len(g.members) == 0
		q.mu.Unlock()
		if gone {
			_ = sub.Unsubscribe()
		}
	}
	return nil
}

func (g *liveGroup) remove(c *consumer) {
	q := g.q
	q.mu.Lock()
	g.members = slices.DeleteFunc(slices.Clone(g.members), func(m *consumer) bool { return m == c })
	var subs []*nats.Subscription
	if len(g.members) == 0 && q.live[g.name] == g {
		delete(q.live, g.name)
		subs = g.subs
	}
	q.mu.Unlock()
	for _, sub := range subs {
		_ = sub.Unsubscribe()
	}
}

// receive offers a message to the members in turn. What nobody has room for
// is lost, and counted.
func (g *liveGroup) receive(m *nats.Msg) {
	q := g.q
	topic, err := mapping.TopicOf(q.core.names.live(), m.Subject)
	if err != nil {
		return
	}
	msg, err := newMessage(topic, m)
	if err != nil {
		q.counters.damaged.Add(1)
		return
	}
	if msg.expired(time.Now()) {
		q.counters.expired.Add(1)
		return
	}
	d := &queued{message: msg, attempt: 1}
	q.mu.Lock()
	defer q.mu.Unlock()
	members, turn := g.members, g.turn
	for i := range members {
		c := members[(turn+i)%len(members)]
		if !c.left && !c.refused && c.try(d) {
			g.turn = turn + i + 1
			q.counters.delivered.Add(1)
			return
		}
	}
	q.counters.dropped.Add(1)
}
