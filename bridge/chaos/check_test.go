//go:build chaos

package chaos

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at is a moment of the tests below; 0 is never.
func at(second int) time.Time {
	if second == 0 {
		return time.Time{}
	}
	return time.Unix(int64(second), 0)
}

func TestCheckerSeesWhatIsWrong(t *testing.T) {
	sent := func(times ...[2]int) (list []sending) {
		for _, pair := range times {
			list = append(list, sending{at: at(pair[0]), acked: at(pair[1])})
		}
		return list
	}
	three := sent([2]int{1, 2}, [2]int{2, 3}, [2]int{3, 4})
	for _, test := range []struct {
		name       string
		sent       []sending
		received   []int
		nodeLosses []time.Time

		lost       []int
		again      []int
		disordered [][2]int
	}{
		{name: "all is well", sent: three, received: []int{1, 2, 3}},
		{name: "an acknowledged message is missing", sent: three, received: []int{1, 3}, lost: []int{2}},
		{name: "a message that was not acknowledged may be missing", sent: sent([2]int{1, 2}, [2]int{2, 0}), received: []int{1}},
		{name: "a message comes twice", sent: three, received: []int{1, 2, 1, 3}, again: []int{1}},
		{name: "a message comes too late", sent: three, received: []int{1, 3, 2}, disordered: [][2]int{{3, 2}}},
		{name: "a message comes again, out of order", sent: three, received: []int{1, 2, 3, 2}, again: []int{2}},
		{name: "a message that was not acknowledged may come late", sent: sent([2]int{1, 0}, [2]int{2, 3}), received: []int{2, 1}},
		{
			name: "what was unacknowledged together when a node was lost may change places",
			sent: sent([2]int{1, 9}, [2]int{2, 9}), received: []int{2, 1}, nodeLosses: []time.Time{at(5)},
		},
		{
			name: "what was acknowledged before a node was lost may not",
			sent: sent([2]int{1, 3}, [2]int{2, 9}), received: []int{2, 1}, nodeLosses: []time.Time{at(5)}, disordered: [][2]int{{2, 1}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var events []event
			for _, n := range test.received {
				events = append(events, event{n: n})
			}
			first, again := firsts(events)
			require.Equal(t, test.lost, lost(test.sent, first))
			var repeated []int
			for _, e := range again {
				repeated = append(repeated, e.n)
			}
			require.Equal(t, test.again, repeated)
			var pairs [][2]int
			for _, pair := range disordered(test.sent, first, test.nodeLosses) {
				pairs = append(pairs, [2]int{pair[0].n, pair[1].n})
			}
			require.Equal(t, test.disordered, pairs)
		})
	}
}

func TestCheckerSeesJobsThatAreDoneTwice(t *testing.T) {
	one, other := &gateway{}, &gateway{}
	w := &world{gateways: []*gateway{one, other}}
	w.ledger = newLedger(w)
	w.ledger.disturbed(fault{kind: freezeGateway, target: 1}, at(20), at(30))
	x := newJobs(&party{w: w}, "")
	for _, test := range []struct {
		name    string
		d       delivery
		repeats bool
	}{
		{"it was under way when the job was done", delivery{via: &visit{gateway: one, opened: at(1)}, at: at(10)}, false},
		{"it came later to a connection of before", delivery{via: &visit{gateway: one, opened: at(1)}, at: at(25)}, true},
		{"it came later through a gateway that was frozen", delivery{via: &visit{gateway: other, opened: at(1)}, at: at(25)}, false},
		{"it came to a connection that was made later", delivery{via: &visit{gateway: other, opened: at(12)}, at: at(12)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.repeats, x.repeats(&test.d, at(10)))
		})
	}
}

func TestBodiesTellWhatTheyAre(t *testing.T) {
	s := source{"someone", "a/topic"}
	for n := 1; n < 200; n++ {
		from, number, err := parseBody(body(s, n))
		require.NoError(t, err)
		require.Equal(t, s, from)
		require.Equal(t, n, number)
		if b := body(s, n); b[len(b)-1] == '.' {
			_, _, err = parseBody(b[:len(b)-1])
			require.Error(t, err)
		}
	}
}

func TestSeedDeterminesWhatHappens(t *testing.T) {
	for _, s := range scenarios {
		draw := func(seed uint64) []fault {
			return schedule(rand.New(rand.NewPCG(seed, 1)), s.threats, s.gateways, s.cores, s.gap, time.Minute)
		}
		faults := draw(1)
		require.Equal(t, faults, draw(1))
		require.NotEqual(t, faults, draw(2))
		require.NotEmpty(t, faults)
		busy := make(map[[2]any]time.Duration)
		for _, f := range faults {
			who := [2]any{f.ofCore(), f.target}
			if f.ofCore() {
				who[1] = 0 // one node at a time
			}
			require.GreaterOrEqual(t, f.at, busy[who], "%v", f)
			busy[who] = f.at + f.length
		}
	}
}
