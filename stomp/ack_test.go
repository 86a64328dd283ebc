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
				require.Equal(t, left, l.waiting)
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

// A client that subscribes to topics in mode client and never acknowledges is
// as common as one that means to.
func TestCopiesNobodyAcknowledgesAreSettledInTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		header  string
		copies  bool
		overdue int64
	}{
		{"a copy to a client that named no prefetch", "", true, 2},
		{"a copy to a client that named one", "prefetch-count:5000\n", true, 0},
		{"a message that only this client has", "", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFakeBroker()
			server, dial := startServer(t, b)
			p := dial()
			p.connect(v12)
			p.play(b, "> SUBSCRIBE\nid:1\ndestination:/q\nack:client-individual\nreceipt:s\n"+tt.header+"\n^@", subscribed)
			s := b.only()
			for subscription := range s.subscriptions {
				for token := range uint64(maxUnasked + 2) {
					d := Delivery{Message: &Message{Destination: "/q"}, Subscription: subscription, Token: token + 1, Copy: tt.copies}
					require.True(t, s.peer.Offer(d))
				}
			}
			for range maxUnasked + 2 {
				require.Equal(t, "MESSAGE", p.read().Command)
			}
			if tt.overdue == 0 {
				p.play(b, "> ACK\nid:$-1-1\nreceipt:a\n\n^@", "! settle 1 <nil>", "< RECEIPT receipt-id:a")
			} else {
				p.play(b, "! settle 1 <nil>", "! settle 2 <nil>", "> ACK\nid:$-1-1\nreceipt:a\n\n^@NACK\nid:$-1-2\nreceipt:b\n\n^@",
					"< RECEIPT receipt-id:a", "< RECEIPT receipt-id:b", "> ACK\nid:$-1-3\n\n^@", "! settle 3 <nil>")
			}
			require.Equal(t, tt.overdue, server.Stats().Overdue)
		})
	}
}
