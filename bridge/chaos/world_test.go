//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = time.Minute      // for a gateway to start, and for a core to take it
	dialLimit  = 3 * time.Second  // for a client to connect
	shakeLimit = 15 * time.Second // for CONNACK, CONNECTED, SUBACK: a take-over takes time
	silence    = 5 * time.Second  // after which a client takes its gateway for dead
	beat       = time.Second      // between signs of life
)

// world is the system under test with all who use it.
type world struct {
	t        *testing.T
	seed     uint64
	began    time.Time
	gateways []*gateway
	cores    []*node
	ledger   *ledger

	producing atomic.Bool // publishers may begin new messages
	unruly    atomic.Bool // clients leave, change gateways and read slowly
	actors    sync.WaitGroup
	watchers  sync.WaitGroup // of processes
}

// random returns the source of one actor, which depends on nothing but the
// seed and its name.
func (w *world) random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// between draws a duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// gateway is a gateway process with the network around it.
type gateway struct {
	*process
	w           *world
	mqtt, stomp *proxy
	core        []*proxy // its ways to the nodes of the core
	planned     atomic.Bool
}

func (w *world) addGateway(binary, name string, flags ...string) {
	g := &gateway{w: w, mqtt: newProxy(w.t, ""), stomp: newProxy(w.t, "")}
	args := append([]string{
		"serve", "--name=" + name, "--stomp.listen=127.0.0.1:0", "--mqtt.listen=127.0.0.1:0", "--websocket.listen=", "--http.listen=", "--stomp.heart_beat=" + beat.String(),
	}, flags...)
	var urls []string
	for _, n := range w.cores {
		p := newProxy(w.t, n.address)
		g.core = append(g.core, p)
		urls = append(urls, "nats://"+p.address())
	}
	if len(urls) > 0 {
		args = append(args, "--nats.url="+strings.Join(urls, ","), fmt.Sprintf("--nats.replicas=%d", len(urls)))
	} else {
		args = append(args, "--nats.store="+w.t.TempDir(), "--nats.max_store=1GiB")
	}
	g.process = newProcess(w.t, name, binary, nil, args...)
	w.gateways = append(w.gateways, g)
}

// up starts the gateway, again and again as a supervisor does. One that ends
// by itself afterwards has broken its promise.
func (g *gateway) up() {
	limit := time.Now().Add(startLimit)
	for time.Now().Before(limit) {
		g.planned.Store(false)
		stdout, err := g.start()
		if err != nil {
			g.w.ledger.violate("processes", "%s: %v", g.name, err)
			return
		}
		ended := g.ended()
		late := time.AfterFunc(time.Until(limit), g.kill)
		said := startUp(stdout)
		late.Stop()
		if said == nil {
			<-ended
			pause(context.Background(), 200*time.Millisecond)
			continue
		}
		g.mqtt.cut(said["mqtt.listen"])
		g.stomp.cut(said["stomp.listen"])
		g.w.watchers.Go(func() {
			<-ended
			if !g.planned.Load() {
				g.w.ledger.violate("processes", "%s ended by itself, see %s", g.name, g.log.Name())
				g.up()
			}
		})
		return
	}
	g.w.ledger.violate("processes", "%s does not start, see %s", g.name, g.log.Name())
}

// down ends the gateway and reports whether it ended in peace.
func (g *gateway) down(s syscall.Signal) bool {
	g.planned.Store(true)
	peace := g.end(s)
	g.mqtt.cut("")
	g.stomp.cut("")
	return peace
}

// choose returns the gateway a client connects to: usually its own.
func (w *world) choose(r *rand.Rand, home int) *gateway {
	if len(w.gateways) > 1 && r.IntN(3) == 0 {
		home = r.IntN(len(w.gateways))
	}
	return w.gateways[home%len(w.gateways)]
}

// since is how old the world is, for reports.
func (w *world) since(at time.Time) string { return fmt.Sprintf("%.2fs", at.Sub(w.began).Seconds()) }

// startNode starts a node of the core and waits until it listens.
func (w *world) startNode(n *node) {
	stdout, err := n.start()
	if err != nil {
		w.ledger.violate("processes", "%s: %v", n.name, err)
		return
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	for limit := time.Now().Add(startLimit); time.Now().Before(limit); pause(w.t.Context(), 50*time.Millisecond) {
		nc, err := net.DialTimeout("tcp", n.address, time.Second)
		if err == nil {
			nc.Close()
			return
		}
	}
	w.ledger.violate("processes", "%s does not start, see %s", n.name, n.log.Name())
}

// stop ends all processes; gateways must end in peace.
func (w *world) stop() {
	for _, g := range w.gateways {
		if !g.down(syscall.SIGTERM) {
			w.ledger.violate("processes", "%s did not end in peace, see %s", g.name, g.log.Name())
		}
	}
	for _, n := range w.cores {
		n.end(syscall.SIGTERM)
	}
	w.watchers.Wait()
}
