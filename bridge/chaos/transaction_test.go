//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// transactions: of what one COMMIT sends to two queues and a topic, all is
// there once or nothing is.
func transactions(p *party) {
	p.prefix = "tx/"
	p.jobs = newJobs(p, "queue/tx/")
	names := []string{"commit-1", "commit-2"}
	for i, name := range names {
		s := &sender{w: p.w, name: name, home: i, gap: 2 * usual}
		s.send = func(ctx context.Context, r *rand.Rand, to *stompVisit) error { return to.commit(ctx, r, parts(name)) }
		p.actors = append(p.actors, s)
		p.unfinished = append(p.unfinished, s.unfinished)
	}
	witness := &device{name: "tx-witness", home: 1, version: packet.V5, filters: []packet.Filter{{Topic: "tx/#", QoS: 2}}}
	p.receiver(witness)
	p.consumer("tx-work-1", 0, "/queue/tx/a", "/queue/tx/b")
	p.consumer("tx-work-2", 1, "/queue/tx/a", "/queue/tx/b")
	partial := func() (broken []string) {
		for _, name := range names {
			broken = append(broken, p.partial(parts(name), witness.name)...)
		}
		return broken
	}
	p.more = func() string { return strings.Join(partial(), ", ") } // the rest may be on its way
	p.settle = append(p.settle, func() {
		for _, transaction := range partial() {
			p.w.ledger.violate(p.name, "%s", transaction)
		}
	})
}

// parts are the sources of a transaction's messages; all parts of one have
// the same number.
func parts(name string) []source {
	return []source{{name, "queue/tx/a"}, {name, "tx/" + name}, {name, "queue/tx/b"}}
}

// commit sends one transaction and waits for its receipt.
func (v *stompVisit) commit(ctx context.Context, r *rand.Rand, parts []source) error {
	if err := v.begin(); err != nil {
		return err
	}
	defer v.finish()
	ctx, cancel := context.WithTimeout(ctx, 2*shakeLimit)
	defer cancel()
	tx, err := v.Begin(ctx)
	if err != nil {
		return err
	}
	ledger := v.s.w.ledger
	n := 0
	for _, part := range parts {
		n = ledger.send(part, terms{once: true, qos: 2})
		if err := tx.Send(ctx, message(part, n, frame.Field{Name: "qos", Value: "2"})); err != nil {
			return err
		}
	}
	if r.IntN(10) == 0 {
		return tx.Abort(ctx)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	for _, part := range parts {
		ledger.acked(part, n)
	}
	return nil
}

// partial returns the transactions that took effect in part.
func (p *party) partial(parts []source, witness string) (broken []string) {
	seen := make(map[int]map[source]bool)
	see := func(s source, n int) {
		if seen[n] == nil {
			seen[n] = make(map[source]bool)
		}
		seen[n][s] = true
	}
	for j := range p.jobs.delivered() {
		if j.from == parts[0].from {
			see(j.source, j.n)
		}
	}
	for _, e := range p.w.ledger.from(witness) {
		if e.from == parts[0].from {
			see(e.source, e.n)
		}
	}
	for n, found := range seen {
		if len(found) != len(parts) {
			broken = append(broken, fmt.Sprintf("of transaction %d of %s only %v took effect", n, parts[0].from, found))
		}
	}
	return broken
}

// transfers: who takes a job, and in one transaction acknowledges it and sends
// its result, makes one result of each job.
func transfers(p *party) {
	p.prefix = "queue/in/"
	p.jobs = newJobs(p, "queue/out/")
	p.sender("transfer-1", 0, 1) // which store each job once: they never send again
	p.sender("transfer-2", 1, 1)
	x := &moves{p: p, of: make(map[job]job), aborted: make(map[job]bool)}
	for i := range 2 {
		p.actors = append(p.actors, &mover{moves: x, name: fmt.Sprintf("move-%d", i), home: i})
	}
	p.consumer("move-witness", 1, "/queue/out/moved")
	p.more = x.wants
	p.settle = append(p.settle, x.check)
}

// moves knows which result is of which job.
type moves struct {
	p *party

	mu      sync.Mutex
	of      map[job]job // by result
	aborted map[job]bool
}

// results counts the results that were seen, by job.
func (x *moves) results() map[job][]job {
	seen := make(map[job][]job)
	x.mu.Lock()
	defer x.mu.Unlock()
	for result := range x.p.jobs.delivered() {
		if of, ok := x.of[result]; ok {
			seen[of] = append(seen[of], result)
		}
	}
	return seen
}

func (x *moves) wants() string {
	seen := x.results()
	count := 0
	for j := range x.p.w.ledger.stored(x.p.prefix) {
		if len(seen[j]) == 0 {
			count++
		}
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %d jobs without result", x.p.name, count)
}

func (x *moves) check() {
	seen := x.results()
	for j := range x.p.w.ledger.stored(x.p.prefix) {
		if len(seen[j]) == 0 {
			x.p.w.ledger.violate(x.p.name, "%v has no result", j)
		}
	}
	for j, results := range seen {
		if len(results) > 1 {
			x.p.w.ledger.violate(x.p.name, "%v has %d results: %v", j, len(results), results)
		}
		for _, result := range results {
			if x.aborted[result] {
				x.p.w.ledger.violate(x.p.name, "%v has a result of an aborted transaction", j)
			}
		}
	}
}

// mover is a STOMP client that turns jobs into results.
type mover struct {
	*moves
	name string
	home int
}

func (m *mover) run(ctx context.Context) {
	w := m.p.w
	r := w.random(m.name)
	for ctx.Err() == nil {
		if err := m.visit(ctx, r); err != nil {
			w.ledger.note("movers that ended: " + brief(err))
		}
		pause(ctx, between(r, 20*time.Millisecond, 500*time.Millisecond))
	}
}

func (m *mover) visit(ctx context.Context, r *rand.Rand) error {
	const prefetch = 5
	w := m.p.w
	c, err := w.dial(ctx, w.choose(r, m.home), "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	begin, cancel := context.WithTimeout(ctx, shakeLimit)
	defer cancel()
	got := make(chan *frame.Frame, 3*prefetch)
	for i := range 3 {
		_, err := c.Subscribe(begin, frame.Header{
			{Name: "destination", Value: fmt.Sprintf("/queue/in/%d", i)},
			{Name: "ack", Value: "client-individual"},
			{Name: "prefetch-count", Value: fmt.Sprint(prefetch)},
		}, func(f *frame.Frame) { got <- f })
		if err != nil {
			return err
		}
	}
	stay := time.NewTimer(between(r, time.Second, 12*time.Second))
	defer stay.Stop()
	for {
		select {
		case f := <-got:
			for moved := false; !moved; {
				tx, err := c.Begin(ctx)
				if err != nil {
					return err
				}
				result, err := m.prepare(ctx, f, tx.Send)
				if err != nil {
					return err
				}
				if r.IntN(20) == 0 {
					m.mu.Lock()
					m.aborted[result] = true
					m.mu.Unlock()
					if err := tx.Abort(ctx); err != nil {
						return err
					}
					continue
				}
				if err := tx.Ack(ctx, f); err != nil {
					return err
				}
				if err := tx.Commit(ctx); err != nil {
					return err
				}
				w.ledger.acked(result.source, result.n)
				moved = true
			}
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return nil
		case <-stay.C:
			if w.unruly.Load() {
				return nil
			}
		}
	}
}

// prepare sends a job's result.
func (m *mover) prepare(ctx context.Context, f *frame.Frame, send func(context.Context, *frame.Frame) error) (job, error) {
	ledger := m.p.w.ledger
	of, err := ledger.job(f.Body)
	if err != nil {
		ledger.violate("integrity", "%s: %v", m.name, err)
	}
	result := job{source: source{m.name, "queue/out/moved"}}
	m.mu.Lock()
	result.n = ledger.send(result.source, terms{once: true})
	m.of[result] = of
	m.mu.Unlock()
	return result, send(ctx, message(result.source, result.n))
}
