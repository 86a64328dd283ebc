package bridge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

const (
	// leaseTTL is how long a gateway that says nothing is taken for alive.
	leaseTTL = 10 * time.Second
	// leaseBeat is how often it says that it is.
	leaseBeat = 3 * time.Second
	// takeOverPatience is how long an owner may take to let a session go.
	takeOverPatience = 2 * time.Second
)

// gateways are those that share a core: each run of one holds a lease, and
// owns the sessions that are connected to it. When a lease ends without a
// farewell, the others take its sessions back.
type gateways struct {
	b       *Bridge
	records records
	self    string // this run of this gateway: the owner of its sessions

	// Owned by run.
	revision uint64 // of the lease
	renewed  time.Time
	quiet    time.Time       // nobody is taken for dead before
	known    map[string]bool // leases that were there
}

// lease is the record of a gateway that is alive.
type lease struct {
	Gateway string    `json:"gateway"`
	Since   time.Time `json:"since"`
}

// openGateways takes the lease, if there can be others, and answers those who
// want a session of ours.
func openGateways(ctx context.Context, b *Bridge) (*gateways, error) {
	g := &gateways{
		b: b, self: mapping.Key(b.name) + "-" + strings.ToLower(rand.Text()[:8]),
		records: records{b.core, b.append, b.core.names.gateways()}, known: make(map[string]bool),
	}
	if b.core.server != nil {
		return g, nil // alone
	}
	if _, err := b.core.sub.Subscribe(b.core.names.gateway(g.self), g.asked); err != nil {
		return nil, err
	}
	if err := g.renew(); err != nil {
		return nil, err
	}
	_, err := g.others(ctx)
	return g, err
}

// run renews the lease, and takes back the sessions of gateways that died,
// until ctx ends. The lease ends with it.
func (g *gateways) run(ctx context.Context) {
	if g.b.core.server != nil {
		return
	}
	tick := time.NewTicker(leaseBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if late := time.Since(g.renewed) > 2*leaseBeat; late {
			// The core was away, or this process was. Others may have been
			// as well, and may have taken this gateway for dead.
			g.quiet = time.Now().Add(leaseTTL)
		}
		lost := false
		err := g.renew()
		if errors.Is(err, errConflict) {
			lost, g.revision = true, 0
			err = g.renew()
		}
		if err == nil && lost {
			err = g.b.sessions.dropSwept(ctx)
		}
		if err == nil {
			err = g.bury(ctx)
		}
		if err != nil && ctx.Err() == nil {
			g.b.logger.Warn("lease of the gateway", "error", err)
		}
	}
}

// renew writes the lease, if nobody has since it was last written.
func (g *gateways) renew() error {
	data, err := json.Marshal(lease{Gateway: g.b.name, Since: time.Now()})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	return g.b.await(func(done func(error)) {
		g.b.append.append(&nats.Msg{
			Subject: g.records.subject(g.self), Data: data,
			Header: nats.Header{
				"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(g.revision, 10)},
				"Nats-TTL":                            {strconv.Itoa(int(leaseTTL / time.Second))},
			},
		}, func(seq uint64, err error) {
			mu.Lock()
			defer mu.Unlock()
			if errorCode(err) == errLastSequence {
				err = errConflict
			}
			if err == nil {
				g.revision, g.renewed = seq, time.Now()
			}
			done(err)
		})
	})
}

// others reads the leases that are there.
func (g *gateways) others(ctx context.Context) (alive map[string]bool, err error) {
	alive = map[string]bool{g.self: true}
	err = g.records.each(ctx, "*", func(key string, value []byte, _ uint64) error {
		if len(value) > 0 {
			alive[key] = true
			g.known[key] = true
		}
		return nil
	})
	return alive, err
}

// bury takes back the sessions of gateways whose lease has ended.
func (g *gateways) bury(ctx context.Context) error {
	alive, err := g.others(ctx)
	if err != nil || time.Now().Before(g.quiet) {
		return err
	}
	dead := false
	for owner := range g.known {
		dead = dead || !alive[owner]
	}
	if !dead {
		return nil
	}
	if err := g.b.sessions.sweep(ctx, func(owner string) bool { return !alive[owner] }); err != nil {
		return err
	}
	g.known = alive
	return nil
}

// close ends the lease: everything it stood for is finished.
func (g *gateways) close(ctx context.Context) {
	if g.b.core.server == nil {
		_ = g.records.remove(ctx, g.self, 0)
	}
}

// take asks the owner of a session to let it go. It returns when the owner
// has, has not answered, or is not there.
func (g *gateways) take(ctx context.Context, owner, key string) {
	ctx, cancel := context.WithTimeout(ctx, takeOverPatience)
	defer cancel()
	if _, err := g.b.core.sub.RequestWithContext(ctx, g.b.core.names.gateway(owner), []byte(key)); err != nil {
		g.b.logger.Info("session taken over by force", "owner", owner, "error", err)
	}
}

// asked lets a session go that another gateway wants.
func (g *gateways) asked(m *nats.Msg) {
	g.b.work.Go(func() {
		if s := g.b.sessions.find(string(m.Data)); s != nil {
			s.peer.End(errTakenOver)
			select {
			case <-s.gone:
			case <-g.b.ctx.Done():
			}
		}
		_ = m.Respond(nil)
	})
}
