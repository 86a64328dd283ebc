//go:build chaos

// Package chaos tests what an acknowledgement promises: gateways and cores are
// killed, frozen and cut off by a schedule that a seed determines, while
// clients of both protocols keep account of what they were told.
//
//	CHAOS_SEED=7     repeat a schedule
//	CHAOS_TIME=60s   how long faults happen in each scenario
//	CHAOS_PENDING=1  try what is known not to hold yet, too
package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if cfg := os.Getenv(coreVariable); cfg != "" {
		if err := runCore(cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	defaultTime = 20 * time.Second // of faults
	drainLimit  = 60 * time.Second // for everything to arrive, once all is whole
)

// scenario is a system and what happens to it.
type scenario struct {
	name            string
	gateways, cores int
	threats         []threat
	gap             time.Duration // between two faults, on average
	promises        []promise
	pending         map[string]string // promises that do not hold here yet, and why
}

var scenarios = []scenario{
	{
		name: "one gateway with its own core", gateways: 1,
		threats: []threat{
			{killGateway, 6, 0, time.Second},
			{restartGateway, 1, 0, time.Second},
			{freezeGateway, 2, 100 * time.Millisecond, 4 * time.Second},
			{cutClients, 2, 0, 0},
			{stallClients, 1, 100 * time.Millisecond, 2 * time.Second},
		},
		gap:      2 * time.Second,
		promises: promises,
	},
	{
		name: "two gateways on one core", gateways: 2, cores: 1,
		threats: []threat{
			{killGateway, 4, 0, 3 * time.Second},
			{killGateway, 1, 12 * time.Second, 14 * time.Second}, // longer than its lease
			{restartGateway, 1, 0, time.Second},
			{freezeGateway, 2, 100 * time.Millisecond, 4 * time.Second},
			{freezeGateway, 1, 12 * time.Second, 14 * time.Second},
			{cutClients, 2, 0, 0},
			{stallClients, 1, 100 * time.Millisecond, 2 * time.Second},
			{cutCore, 2, 0, 3 * time.Second},
			{cutCore, 1, 12 * time.Second, 14 * time.Second},
			{stallCore, 2, 100 * time.Millisecond, 4 * time.Second},
			{killCore, 1, 0, 2 * time.Second},
			{freezeCore, 1, 100 * time.Millisecond, 3 * time.Second},
		},
		gap:      1500 * time.Millisecond,
		promises: promises,
	},
	{
		name: "two gateways on a core of three nodes", gateways: 2, cores: 3,
		threats: []threat{
			{killCore, 3, 0, 4 * time.Second},
			{freezeCore, 1, 100 * time.Millisecond, 4 * time.Second},
			{killGateway, 2, 0, 2 * time.Second},
			{cutClients, 1, 0, 0},
			{cutCore, 1, 0, 3 * time.Second},
		},
		gap:      3 * time.Second,
		promises: promises,
	},
}

// promises are what every scenario tries.
var promises = []promise{{"topics", topics}, {"queues", queues}}

func TestChaos(t *testing.T) {
	seed := rand.Uint64() >> 32
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	length := defaultTime
	if text := os.Getenv("CHAOS_TIME"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	t.Logf("CHAOS_SEED=%d", seed)
	binary := filepath.Join(t.TempDir(), "causeway")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/causeway").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t, binary, seed, length) })
	}
}

// run lets a scenario happen and judges it.
func (s *scenario) run(t *testing.T, binary string, seed uint64, length time.Duration) {
	t.Helper()
	w := &world{t: t, seed: seed, began: time.Now()}
	w.ledger = newLedger(w)
	w.cores = newCores(t, s.cores)
	for i := range s.gateways {
		w.addGateway(binary, fmt.Sprintf("gateway%d", i+1))
	}
	for _, n := range w.cores {
		w.startNode(n)
	}
	for _, g := range w.gateways {
		g.up()
	}
	defer w.stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer w.actors.Wait()
	defer cancel()
	parties := s.begin(ctx, w)

	w.producing.Store(true)
	w.unruly.Store(true)
	w.suffer(schedule(w.random(s.name), s.threats, s.gateways, s.cores, s.gap, length))
	w.unruly.Store(false)
	w.producing.Store(false)
	w.drain(parties)
	// What a crash makes a gateway repeat must not come twice, and what comes
	// afterwards must still come.
	for _, g := range w.gateways {
		g.mqtt.cut(g.mqtt.point())
		g.stomp.cut(g.stomp.point())
	}
	w.producing.Store(true)
	pause(ctx, 2*time.Second)
	w.producing.Store(false)
	w.drain(parties)
	for _, p := range parties {
		p.check()
	}
	w.verdict(t, s, seed)
}

// begin lets the clients in; receivers are there before the first message.
func (s *scenario) begin(ctx context.Context, w *world) []party {
	var parties []party
	for _, p := range s.promises {
		if reason, pending := s.pending[p.name]; pending && os.Getenv("CHAOS_PENDING") == "" {
			w.t.Logf("%s: not tried, it does not hold yet: %s", p.name, reason)
			continue
		}
		joined := p.join(w)
		for _, a := range joined.actors {
			w.actors.Go(func() { a.run(ctx) })
		}
		parties = append(parties, joined)
	}
	limit := time.After(startLimit)
	for _, p := range parties {
		for _, ready := range p.ready {
			select {
			case <-ready:
			case <-limit:
				require.FailNow(w.t, "a client could not subscribe")
			}
		}
	}
	return parties
}

// drain waits until nobody lacks anything, or nothing has come for too long.
func (w *world) drain(parties []party) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(drainLimit)
	for range tick.C {
		wants := ""
		for _, p := range parties {
			wants += p.wants()
		}
		switch {
		case wants == "":
			return
		case time.Now().After(limit):
			w.t.Logf("still wanted at %s: %s", w.since(time.Now()), wants)
			return
		}
	}
}

// verdict fails the test of each promise that was broken.
func (w *world) verdict(t *testing.T, s *scenario, seed uint64) {
	t.Helper()
	w.ledger.mu.Lock()
	notes := make([]string, 0, len(w.ledger.notes))
	for what, n := range w.ledger.notes {
		notes = append(notes, fmt.Sprintf("%6d %s", n, what))
	}
	var broken []string
	for promise := range w.ledger.violations {
		broken = append(broken, promise)
	}
	w.ledger.mu.Unlock()
	slices.Sort(notes)
	for _, note := range notes {
		t.Log(note)
	}
	slices.Sort(broken)
	for _, promise := range broken {
		t.Errorf("CHAOS_SEED=%d: %s: %s\n%s", seed, s.name, promise, w.ledger.report(promise))
	}
}
