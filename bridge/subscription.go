package bridge

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server/gsl"

	"github.com/causeway-mq/causeway/mapping"
)

// subscription is one filter of a subscriber on topics.
type subscription struct {
	of          *subscriber
	filter      string
	qos         uint8 // granted
	noLocal     bool
	asPublished bool   // RETAIN is forwarded as the publisher set it
	identifier  uint32 // 0: none
	since       uint64 // the log's position when it was granted: only what is above it is for it; guarded by of.mu

	ended atomic.Bool

	// Guarded by of.mu.
	asked    uint64        // the log's position when it asked for retained messages: what is above it comes from there
	replaced *subscription // by another one with the same filter, when it ended: what waits is that one's
	after    uint64        // an earlier connection has sent its retained messages up to this revision
	read     bool          // the rest of them
	unsent   int           // how many of those were not sent
	sent     uint64        // the highest revision of those that were
}

// current returns the subscription that stands for s now. of.mu is held.
func (s *subscription) current() *subscription {
	for s.replaced != nil {
		s = s.replaced
	}
	return s
}

// replace makes next stand for s. Both are in force.
func (s *subscription) replace(next *subscription) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.replaced = next
}

// matchRoot is the root of subjects in the matcher; "$…" topics live under
// matchRoot + "$", as everywhere.
const matchRoot = "t"

// matcher finds the subscriptions of this gateway that a topic matches.
type matcher struct {
	list *gsl.GenericSublist[*subscription]
	gen  atomic.Uint64 // raised by every change, when it is in force
}

func newMatcher() *matcher { return &matcher{list: gsl.NewSublist[*subscription]()} }

// add puts sub in force: messages routed afterwards see it.
func (x *matcher) add(sub *subscription) error {
	subjects, err := mapping.FilterSubjects(matchRoot, sub.filter)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if err := x.list.Insert(s, sub); err != nil {
			return err
		}
	}
	x.gen.Add(1)
	return nil
}

func (x *matcher) remove(sub *subscription) {
	sub.ended.Store(true)
	subjects, _ := mapping.FilterSubjects(matchRoot, sub.filter)
	for _, s := range subjects {
		_ = x.list.Remove(s, sub)
	}
	x.gen.Add(1)
}

// route is what one subject means to this gateway: the topic, and who gets it.
type route struct {
	gen     uint64
	topic   string
	targets []target
}

// target is one subscriber and those of its subscriptions that match.
// It is immutable and shared by all messages of the topic.
type target struct {
	to     *subscriber
	subs   []*subscription
	qos    uint8    // the highest granted
	ids    []uint32 // of all of subs
	simple bool     // no subscription asks for anything unusual
}

// maxRoutes bounds the memory of a router; a full one starts over.
const maxRoutes = 16384

// router remembers routes by subject. Each dispatching goroutine has its own.
type router struct {
	matcher *matcher
	root    string // of the subjects it is given: tokens after it are the topic's
	routes  map[string]*route
}

func newRouter(m *matcher, root string) *router {
	return &router{matcher: m, root: root, routes: make(map[string]*route)}
}

// route returns the route of a subject below the router's root, or nil when
// the subject is not the spelling of a topic.
func (r *router) route(subject string) *route {
	gen := r.matcher.gen.Load()
	known := r.routes[subject]
	if known != nil && known.gen == gen {
		return known
	}
	rt := &route{gen: gen}
	if known != nil {
		rt.topic = known.topic
	} else {
		topic, err := mapping.TopicOf(r.root, subject)
		if err != nil {
			return nil
		}
		rt.topic = topic
		if len(r.routes) >= maxRoutes {
			clear(r.routes)
		}
	}
	r.matcher.list.Match(matchRoot+strings.TrimPrefix(subject, r.root), rt.add)
	for i := range rt.targets {
		rt.targets[i].finish()
	}
	r.routes[strings.Clone(subject)] = rt
	return rt
}

func (rt *route) add(sub *subscription) {
	for i := range rt.targets {
		if t := &rt.targets[i]; t.to == sub.of {
			if !slices.Contains(t.subs, sub) {
				t.subs = append(t.subs, sub)
			}
			return
		}
	}
	rt.targets = append(rt.targets, target{to: sub.of, subs: []*subscription{sub}})
}

func (t *target) finish() {
	t.simple = true
	for _, s := range t.subs {
		t.qos = max(t.qos, s.qos)
		t.simple = t.simple && !s.noLocal && !s.asPublished
		if s.identifier != 0 {
			t.ids = append(t.ids, s.identifier)
		}
	}
}

// grant is how one message reaches one subscriber.
type grant struct {
	qos    uint8
	retain bool
	ids    []uint32
	sub    *subscription // the first that matched
}

// grant decides whether the message is for the target, and how. The
// subscriber's mutex is held.
func (t *target) grant(m *message) (grant, bool) {
	sub := t.subs[0]
	if t.simple && len(t.subs) == 1 && !sub.ended.Load() && sub.replaced == nil && (m.seq == 0 || m.seq > sub.since) {
		return grant{qos: min(m.QoS, sub.qos), ids: t.ids, sub: sub}, true
	}
	var g grant
	for _, of := range t.subs {
		s := of.current()
		if s != of && slices.Contains(t.subs, s) {
			continue
		}
		if s.ended.Load() || (m.seq != 0 && m.seq <= s.since) {
			continue
		}
		if s.noLocal && m.Origin.Client != "" && m.Origin.Client == t.to.client {
			continue
		}
		if g.sub == nil {
			g.sub = s
		}
		g.qos = max(g.qos, min(m.QoS, s.qos))
		g.retain = g.retain || (s.asPublished && m.Retain)
		if s.identifier != 0 {
			g.ids = append(g.ids, s.identifier)
		}
	}
	return g, g.sub != nil
}
