//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// promise is what an acknowledgement promises in one respect. join adds the
// clients that rely on it.
type promise struct {
	name string
	join func(p *party)
}

// party is a promise with its clients.
type party struct {
	w      *world
	name   string // of the promise
	prefix string // of its topics
	actors []actor
	ready  []<-chan struct{} // closed when publishers may begin

	unfinished []func() int    // of publishers
	receivers  map[string]bool // by name: each message once
	jobs       *jobs           // nil: there are no queues
	more       func() string   // what else is to come; nil: nothing
	settle     []func()        // called when everything has arrived, clients are still there
}

// actor is a client.
type actor interface{ run(ctx context.Context) }

// usual is the time between two messages of one publisher, on average.
const usual = 10 * time.Millisecond

// publisher adds an MQTT publisher to topics of its own, or to queues.
func (p *party) publisher(name string, home int, version packet.Version, qos packet.QoS, retain bool) {
	d := &device{w: p.w, name: name, home: home, version: version, gap: usual}
	d.next = func(r *rand.Rand) outgoing {
		return outgoing{source: p.draw(name, r), terms: terms{once: qos == 2, qos: qos}, retain: retain}
	}
	p.actors = append(p.actors, d)
	p.unfinished = append(p.unfinished, d.unfinished)
}

// sender adds a STOMP publisher likewise.
func (p *party) sender(name string, home int, qos packet.QoS, header ...frame.Field) {
	s := &sender{w: p.w, name: name, home: home, gap: usual}
	header = append(header, frame.Field{Name: "qos", Value: fmt.Sprint(qos)})
	s.send = func(ctx context.Context, r *rand.Rand, to *stompVisit) error {
		return to.send(ctx, p.draw(name, r), terms{once: true, qos: qos}, header)
	}
	p.actors = append(p.actors, s)
	p.unfinished = append(p.unfinished, s.unfinished)
}

// draw chooses a topic to publish to.
func (p *party) draw(name string, r *rand.Rand) source {
	if strings.HasPrefix(p.prefix, "queue/") {
		return source{name, fmt.Sprintf("%s%d", p.prefix, r.IntN(3))}
	}
	return source{name, fmt.Sprintf("%s%s/%d", p.prefix, name, r.IntN(3))}
}

// receiver adds an MQTT client with a persistent session.
func (p *party) receiver(d *device) {
	d.w, d.ready = p.w, make(chan struct{})
	d.receive = func(m *packet.Publish, via *visit) { p.w.ledger.receive(d.name, via, m.Payload) }
	p.receivers[d.name] = d.filters[0].QoS == 2
	p.actors = append(p.actors, d)
	p.ready = append(p.ready, d.ready)
}

func (p *party) wanted(s source) bool { return strings.HasPrefix(s.topic, p.prefix) }

// wants says what is still to come.
func (p *party) wants() string {
	var wants []string
	count := 0
	for _, unfinished := range p.unfinished {
		count += unfinished()
	}
	if count > 0 {
		wants = append(wants, fmt.Sprintf("%s: %d unacknowledged", p.name, count))
	}
	for name := range p.receivers {
		if n := p.w.ledger.missing(name, p.wanted); n > 0 {
			wants = append(wants, fmt.Sprintf("%s lacks %d", name, n))
		}
	}
	if p.jobs != nil {
		if n := len(p.jobs.undone()); n > 0 {
			wants = append(wants, fmt.Sprintf("%s: %d jobs undone", p.name, n))
		}
	}
	if p.more != nil {
		if more := p.more(); more != "" {
			wants = append(wants, more)
		}
	}
	return strings.Join(wants, ", ")
}

// check judges when all is over.
func (p *party) check() {
	for name, once := range p.receivers {
		p.w.ledger.checkReceiver(p.name, name, once, p.wanted)
	}
	if p.jobs != nil {
		p.jobs.check()
	}
}
