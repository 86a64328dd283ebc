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
	"strings"
	"sync"
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
	gap             time.Duration     // between two faults, on average
	pending         map[string]string // promises that do not hold here yet, and why
}

// Why promises do not hold yet.
const (
	queuesTwice = "a publish that is sent again after a crash is not looked for in queues"
	noRecords   = "a transaction over several streams, or with ACK, is not one record"
	standstill  = "sessions stand still for good, and miss messages, when a node of the core was lost"
	late        = "what a dead or frozen gateway held of a durable subscription comes back behind later messages"
	noFence     = "a gateway that was frozen publishes what it had read before, although others have its sessions"
)

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
		gap: 2 * time.Second,
		pending: map[string]string{
			"QoS 2 into queues":     queuesTwice,
			"durable subscriptions": late,
			"transactions":          noRecords,
			"transfers":             noRecords,
		},
	},
	{
		name: "two gateways on one core", gateways: 2, cores: 1,
		threats: []threat{
			{killGateway, 4, 0, 3 * time.Second},
			{killGateway, 1, 12 * time.Second, 14 * time.Second}, // longer than its lease
			{restartGateway, 1, 0, time.Second},
			{freezeGateway, 2, 100 * time.Millisecond, 1500 * time.Millisecond},
			{cutClients, 2, 0, 0},
			{stallClients, 1, 100 * time.Millisecond, 2 * time.Second},
			{cutCore, 2, 0, 3 * time.Second},
			{stallCore, 2, 100 * time.Millisecond, 1500 * time.Millisecond},
			{killCore, 1, 0, 2 * time.Second},
			{freezeCore, 1, 100 * time.Millisecond, 3 * time.Second},
		},
		gap: 1500 * time.Millisecond,
		pending: map[string]string{
			"QoS 2 into queues":     queuesTwice,
			"durable subscriptions": late,
			"transactions":          noRecords,
			"transfers":             noRecords,
		},
	},
	{
		// Others take a frozen gateway's sessions after 2 s, and take it for
		// dead after 10.
		name: "two gateways that freeze", gateways: 2, cores: 1,
		threats: []threat{
			{freezeGateway, 3, 2 * time.Second, 7 * time.Second},
			{freezeGateway, 2, 12 * time.Second, 14 * time.Second},
			{cutCore, 2, 12 * time.Second, 14 * time.Second},
			{stallCore, 2, 2 * time.Second, 7 * time.Second},
			{killGateway, 2, 0, time.Second},
			{cutClients, 2, 0, 0},
		},
		gap: 2 * time.Second,
		pending: map[string]string{
			"topics":                noFence,
			"retained messages":     noFence,
			"QoS 2 into queues":     queuesTwice,
			"durable subscriptions": late,
			"transactions":          noRecords,
			"transfers":             noRecords,
		},
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
		gap: 3 * time.Second,
		pending: map[string]string{
			"topics":                standstill,
			"queues":                standstill,
			"QoS 2 into queues":     queuesTwice,
			"durable subscriptions": late,
			"retained messages":     standstill,
			"transactions":          noRecords,
			"transfers":             noRecords,
			"wills":                 standstill,
		},
	},
}

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
	if !slices.ContainsFunc(promises, func(p promise) bool { return s.left(p) == "" }) {
		w.verdict(t, s, seed)
		return
	}
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
	ctx, cancel := context.WithCancel(t.Context())
	end := sync.OnceFunc(func() {
		cancel()
		w.actors.Wait()
		w.stop()
	})
	defer end()
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
		for _, settle := range p.settle {
			settle()
		}
		p.check()
	}
	end()
	w.verdict(t, s, seed)
}

// begin lets the clients in; receivers are there before the first message.
func (s *scenario) begin(ctx context.Context, w *world) []*party {
	var parties []*party
	for _, p := range promises {
		if s.left(p) != "" {
			continue
		}
		joined := &party{w: w, name: p.name, receivers: make(map[string]bool)}
		p.join(joined)
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
func (w *world) drain(parties []*party) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(drainLimit)
	for range tick.C {
		var wants []string
		for _, p := range parties {
			if want := p.wants(); want != "" {
				wants = append(wants, want)
			}
		}
		switch {
		case len(wants) == 0:
			return
		case time.Now().After(limit):
			w.t.Logf("still wanted at %s: %s", w.since(time.Now()), strings.Join(wants, "; "))
			return
		}
	}
}

// verdict fails the test of each promise that was broken.
func (w *world) verdict(t *testing.T, s *scenario, seed uint64) {
	t.Helper()
	for _, note := range w.ledger.noted() {
		t.Log(note)
	}
	judge := func(t *testing.T, promise string) {
		t.Helper()
		if broken := w.ledger.report(promise); broken != "" {
			t.Errorf("CHAOS_SEED=%d: %s: %s\n%s", seed, s.name, promise, broken)
		}
	}
	for _, general := range []string{"processes", "protocol", "sessions", "integrity"} {
		judge(t, general)
	}
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			if reason := s.left(p); reason != "" {
				t.Skip("not tried, it does not hold yet: " + reason)
			}
			judge(t, p.name)
		})
	}
}

// left says why a promise is not tried; "": it is.
func (s *scenario) left(p promise) string {
	if os.Getenv("CHAOS_PENDING") != "" {
		return ""
	}
	return s.pending[p.name]
}
