//go:build chaos

package chaos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// threat is a kind of fault that a scenario draws from.
type threat struct {
	kind     string
	weight   int
	min, max time.Duration // how long it lasts
}

// The faults of a gateway and of its network, and those of a core's node.
const (
	killGateway    = "kill -9"
	restartGateway = "restart"
	freezeGateway  = "freeze"
	cutClients     = "cut the clients of"
	stallClients   = "stall the clients of"
	cutCore        = "cut the core off"
	stallCore      = "stall the core's link of"
	killCore       = "kill -9 core"
	freezeCore     = "freeze core"
)

// fault is one thing that happens.
type fault struct {
	at, length time.Duration
	kind       string
	target     int // gateway or node
}

func (f fault) ofCore() bool { return f.kind == killCore || f.kind == freezeCore }

func (f fault) String() string {
	return fmt.Sprintf("%6.2fs %s %d for %.2fs", f.at.Seconds(), f.kind, f.target+1, f.length.Seconds())
}

// schedule draws what will happen. Two faults never overlap on one gateway,
// nor anywhere in the core, which gets time to recover.
func schedule(r *rand.Rand, threats []threat, gateways, cores int, gap, length time.Duration) []fault {
	const recovery = 8 * time.Second
	total := 0
	for _, t := range threats {
		total += t.weight
	}
	var faults []fault
	busy := make(map[[2]int]time.Duration)
	for at := between(r, gap/2, gap); at < length; at += between(r, gap/2, gap*3/2) {
		draw := r.IntN(total)
		i := 0
		for ; draw >= threats[i].weight; i++ {
			draw -= threats[i].weight
		}
		f := fault{at: at, length: between(r, threats[i].min, threats[i].max), kind: threats[i].kind}
		key, rest := [2]int{1, 0}, recovery
		if f.ofCore() {
			f.target = r.IntN(cores)
		} else {
			f.target = r.IntN(gateways)
			key, rest = [2]int{0, f.target}, 500*time.Millisecond
		}
		if at < busy[key] {
			continue
		}
		busy[key] = at + f.length + rest
		faults = append(faults, f)
	}
	return faults
}

// suffer lets the faults happen, and returns when all is whole again.
func (w *world) suffer(faults []fault) {
	var under sync.WaitGroup
	locks := make(map[[2]any]*sync.Mutex)
	began := time.Now()
	for _, f := range faults {
		key := [2]any{f.ofCore(), f.target}
		if locks[key] == nil {
			locks[key] = new(sync.Mutex)
		}
		lock := locks[key]
		pause(w.t.Context(), time.Until(began.Add(f.at)))
		under.Go(func() {
			lock.Lock() // a gateway may take long to start
			defer lock.Unlock()
			from := time.Now()
			w.begin(f)
			pause(w.t.Context(), f.length)
			w.undo(f)
			w.ledger.disturbed(f, from, time.Now())
			w.t.Logf("%v, over at %s", f, w.since(time.Now()))
		})
	}
	under.Wait()
}

func (w *world) begin(f fault) {
	if f.ofCore() {
		n := w.cores[f.target]
		if f.kind == killCore {
			w.ledger.lostNode(time.Now())
			n.kill()
		} else {
			w.ledger.lostNode(time.Now())
			n.signal(syscall.SIGSTOP)
		}
		return
	}
	g := w.gateways[f.target]
	switch f.kind {
	case killGateway:
		g.down(syscall.SIGKILL)
	case restartGateway:
		g.down(syscall.SIGTERM)
	case freezeGateway:
		g.signal(syscall.SIGSTOP)
	case cutClients:
		mqtt, stomp := g.mqtt.point(), g.stomp.point()
		g.mqtt.cut(mqtt)
		g.stomp.cut(stomp)
	case stallClients:
		g.mqtt.stall()
		g.stomp.stall()
	case cutCore:
		for _, p := range g.core {
			p.cut("")
		}
	case stallCore:
		for _, p := range g.core {
			p.stall()
		}
	}
}

func (w *world) undo(f fault) {
	if f.ofCore() {
		n := w.cores[f.target]
		if f.kind == killCore {
			w.startNode(n)
		} else {
			n.signal(syscall.SIGCONT)
		}
		return
	}
	g := w.gateways[f.target]
	switch f.kind {
	case killGateway, restartGateway:
		g.up()
	case freezeGateway:
		g.signal(syscall.SIGCONT)
	case stallClients:
		g.mqtt.resume()
		g.stomp.resume()
	case cutCore:
		for i, p := range g.core {
			p.cut(w.cores[i].address)
		}
	case stallCore:
		for _, p := range g.core {
			p.resume()
		}
	}
}
