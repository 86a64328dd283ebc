//go:build chaos

package chaos

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// source is a publisher's messages to one topic, numbered from 1.
type source struct{ from, topic string }

// sending is what a publisher knows of one message. Times are zero until then.
type sending struct {
	at, acked time.Time
	resent    bool // at least once
}

// terms are what a source may count on.
type terms struct {
	once      bool // stored once: QoS 2, or a sender that never sends again
	qos       packet.QoS
	unordered bool
}

// event is a message as a receiver saw it.
type event struct {
	source
	n   int
	at  time.Time
	via *visit
}

// ledger keeps who sent what, what was acknowledged, what was received, and
// what was done to the system meanwhile.
type ledger struct {
	world *world

	mu         sync.Mutex
	sent       map[source][]sending
	terms      map[source]terms
	received   map[string][]event // by receiver
	nodeLosses []time.Time
	faults     []disturbance
	violations map[string][]string // by promise
	notes      map[string]int
}

// disturbance is a fault as it happened.
type disturbance struct {
	fault
	from, to time.Time
}

func newLedger(w *world) *ledger {
	return &ledger{
		world: w,
		sent:  make(map[source][]sending), terms: make(map[source]terms), received: make(map[string][]event),
		violations: make(map[string][]string), notes: make(map[string]int),
	}
}

// maxReported is how many violations of a promise are reported.
const maxReported = 20

func (l *ledger) violate(promise, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated(promise, format, args...)
}

// violated is violate with the mutex held.
func (l *ledger) violated(promise, format string, args ...any) {
	l.violations[promise] = append(l.violations[promise], fmt.Sprintf(format, args...))
}

// note counts something that is worth knowing and breaks no promise.
func (l *ledger) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes[what]++
}

func (l *ledger) disturbed(f fault, from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, disturbance{f, from, to})
}

func (l *ledger) lostNode(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodeLosses = append(l.nodeLosses, at)
}

// send begins the next message of a source and returns its number.
func (l *ledger) send(s source, terms terms) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.terms[s] = terms
	l.sent[s] = append(l.sent[s], sending{at: time.Now()})
	return len(l.sent[s])
}

func (l *ledger) acked(s source, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry := &l.sent[s][n-1]; entry.acked.IsZero() {
		entry.acked = time.Now()
	}
}

func (l *ledger) refused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes["publishes refused"]++
}

func (l *ledger) resent(s source, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[s][n-1].resent = true
}

// receive notes a message that a receiver got for the first time in its session.
func (l *ledger) receive(receiver string, via *visit, body []byte) {
	s, n, err := parseBody(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || n < 1 || n > len(l.sent[s]) {
		l.violated("integrity", "%s got what nobody sent: %.80q", receiver, body)
		return
	}
	l.received[receiver] = append(l.received[receiver], event{s, n, time.Now(), via})
}

// from returns what a receiver got.
func (l *ledger) from(receiver string) []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.received[receiver])
}

// body is what a message carries; the padding makes sizes vary and shows what
// was cut.
func body(s source, n int) []byte {
	b := fmt.Appendf(nil, "%s %s %d ", s.from, s.topic, n)
	return append(b, bytes.Repeat([]byte{'.'}, padding(n))...)
}

func padding(n int) int {
	if n%97 == 0 {
		return 40_000
	}
	return n * 37 % 600
}

func parseBody(b []byte) (s source, n int, err error) {
	var dots string
	if _, err = fmt.Sscanf(string(b), "%s %s %d %s", &s.from, &s.topic, &n, &dots); padding(n) > 0 && err != nil {
		return s, n, err
	}
	if len(dots) != padding(n) || strings.Trim(dots, ".") != "" {
		return s, n, fmt.Errorf("padding of %d bytes", len(dots))
	}
	return s, n, nil
}

// missing returns how many acknowledged messages a receiver still lacks.
func (l *ledger) missing(receiver string, wanted func(source) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := make(map[source]map[int]bool)
	for _, e := range l.received[receiver] {
		if got[e.source] == nil {
			got[e.source] = make(map[int]bool)
		}
		got[e.source][e.n] = true
	}
	count := 0
	for s, list := range l.sent {
		if !wanted(s) {
			continue
		}
		for i, sending := range list {
			if !sending.acked.IsZero() && !got[s][i+1] {
				count++
			}
		}
	}
	return count
}

// checkReceiver judges what a receiver got: everything acknowledged, in order,
// and once where that was promised.
func (l *ledger) checkReceiver(promise, receiver string, once bool, wanted func(source) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bySource := make(map[source][]event)
	for _, e := range l.received[receiver] {
		if !wanted(e.source) {
			l.violated(promise, "%s got %v %d, which it did not subscribe to", receiver, e.source, e.n)
		}
		bySource[e.source] = append(bySource[e.source], e)
	}
	for s, list := range l.sent {
		if !wanted(s) {
			continue
		}
		first, again := firsts(bySource[s])
		for _, n := range lost(list, first) {
			l.violated(promise, "%s never got %v %d, sent at %s, acknowledged at %s",
				receiver, s, n, l.world.since(list[n-1].at), l.world.since(list[n-1].acked))
		}
		for _, pair := range disordered(list, first, l.nodeLosses) {
			if l.terms[s].unordered {
				break
			}
			l.violated(promise, "%s got %v %d at %s before %d at %s, sent at %s and %s, acknowledged at %s and %s", receiver, s,
				pair[0].n, l.met(pair[0]), pair[1].n, l.met(pair[1]),
				l.world.since(list[pair[0].n-1].at), l.world.since(list[pair[1].n-1].at),
				l.world.since(list[pair[0].n-1].acked), l.world.since(list[pair[1].n-1].acked))
		}
		if once && l.terms[s].once && l.terms[s].qos == 2 {
			for _, e := range again {
				before := first[slices.IndexFunc(first, func(f event) bool { return f.n == e.n })]
				l.violated(promise, "%s got %v %d at %s, again at %s; sent at %s, acknowledged at %s", receiver, s, e.n,
					l.met(before), l.met(e), l.world.since(list[e.n-1].at), l.world.since(list[e.n-1].acked))
			}
		} else {
			l.notes["received again"] += len(again)
		}
		l.notes["received"] += len(first)
	}
}

// met says when and where a message was received.
func (l *ledger) met(e event) string {
	return fmt.Sprintf("%s (%s, connected at %s)", l.world.since(e.at), e.via.gateway.name, l.world.since(e.via.opened))
}

// firsts separates first receptions from later ones.
func firsts(events []event) (first, again []event) {
	seen := make(map[int]bool)
	for _, e := range events {
		if seen[e.n] {
			again = append(again, e)
		} else {
			seen[e.n] = true
			first = append(first, e)
		}
	}
	return first, again
}

// lost returns the acknowledged messages that were not received.
func lost(sent []sending, first []event) []int {
	got := make(map[int]bool)
	for _, e := range first {
		got[e.n] = true
	}
	var missing []int
	for i, s := range sent {
		if !s.acked.IsZero() && !got[i+1] {
			missing = append(missing, i+1)
		}
	}
	return missing
}

// disordered returns pairs of acknowledged messages that came in the wrong
// order, except what was unacknowledged together when a node was lost.
func disordered(sent []sending, first []event, nodeLosses []time.Time) [][2]event {
	var pairs [][2]event
	var last event
	for _, e := range first {
		if sent[e.n-1].acked.IsZero() {
			continue
		}
		if e.n < last.n && !together(sent[e.n-1], sent[last.n-1], nodeLosses) {
			pairs = append(pairs, [2]event{last, e})
		}
		if e.n > last.n {
			last = e
		}
	}
	return pairs
}

// together reports whether two messages were unacknowledged when a node was lost.
func together(a, b sending, nodeLosses []time.Time) bool {
	for _, at := range nodeLosses {
		if !a.at.After(at) && !b.at.After(at) && !a.acked.Before(at) && !b.acked.Before(at) {
			return true
		}
	}
	return false
}

// noted returns what was counted.
func (l *ledger) noted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var notes []string
	for what, n := range l.notes {
		notes = append(notes, fmt.Sprintf("%6d %s", n, what))
	}
	sort.Strings(notes)
	return notes
}

// report returns the violations of a promise, the first ones in full.
func (l *ledger) report(promise string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.violations[promise]
	sort.Strings(list)
	if len(list) > maxReported {
		list = append(list[:maxReported:maxReported], fmt.Sprintf("and %d more", len(l.violations[promise])-maxReported))
	}
	return strings.Join(list, "\n")
}
