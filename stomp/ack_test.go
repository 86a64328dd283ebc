package stomp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The ledger does what a map of stages would.
func TestLedgerAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		var added uint64
		model := make(map[uint64]stage)
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				added += rapid.Uint64Range(1, 3).Draw(t, "step")
				l.add(added, added*10)
				model[added] = outstanding
			},
			"acknowledge": func(t *rapid.T) {
				number := rapid.Uint64Range(0, added+1).Draw(t, "number")
				cumulative := rapid.Bool().Draw(t, "cumulative")
				to := rapid.SampledFrom([]stage{held, settled}).Draw(t, "to")
				var want []uint64
				before, known := model[number]
				if known && before == outstanding {
					for n := uint64(1); n <= number; n++ {
						if s, ok := model[n]; ok && s == outstanding && (cumulative || n == number) {
							want = append(want, n)
							model[n] = to
						}
					}
				}
				claimed, ok := l.claim(number, cumulative, to, nil)
				require.Equal(t, want != nil, ok)
				var got []uint64
				for _, u := range claimed {
					require.Equal(t, u.number*10, u.token)
					got = append(got, u.number)
				}
				require.Equal(t, want, got)
			},
			"end a transaction": func(t *rapid.T) {
				number := rapid.Uint64Range(0, added).Draw(t, "number")
				if model[number] == held {
					to := rapid.SampledFrom([]stage{outstanding, settled}).Draw(t, "to")
					l.move(number, to)
					model[number] = to
				}
			},
			"": func(t *rapid.T) {
				left := 0
				for _, s := range model {
					if s != settled {
						left++
					}
				}
				require.Equal(t, left == 0, l.empty())
				require.GreaterOrEqual(t, len(l.entries)-l.head, left)
			},
		})
	})
}

func TestALedgerForgetsWhatIsNeverAcknowledged(t *testing.T) {
	var l ledger
	for n := uint64(1); n <= maxLedger+10; n++ {
		l.add(n, n)
	}
	require.LessOrEqual(t, len(l.entries), 2*maxLedger)
	claimed, ok := l.claim(10, true, settled, nil)
	require.True(t, ok, "it was delivered")
	require.Empty(t, claimed, "but the broker gives it back in the end")
	claimed, ok = l.claim(12, true, settled, nil)
	require.True(t, ok)
	require.Len(t, claimed, 2)
}
