package bridge

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// sequences is a client that takes everything.
type sequences []uint64

func (q *sequences) offer(d delivery) bool {
	*q = append(*q, d.msg.seq)
	return true
}

// The scan reads the log by itself, and may be further than the tail when a
// subscriber goes from one to the other: nothing comes twice, nothing is lost.
func TestSubscriberThatRejoinsSeesNothingTwice(t *testing.T) {
	for _, test := range []struct {
		name     string
		position uint64 // of the tail
		want     []uint64
	}{
		{"a tail that has come further collects what follows", 8, []uint64{3, 4, 5, 6, 7, 8, 9}},
		{"a tail that is as far", 5, []uint64{3, 4, 5, 6, 7, 8, 9}},
		{"a tail that comes later is no news", 2, []uint64{3, 4, 5, 6, 7, 8, 9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &Bridge{core: &core{}, matcher: newMatcher()}
			b.log = &msgLog{b: b, cache: newCache(1 << 20)}
			b.log.scan = newScanner(b.log)
			var got sequences
			s := &subscriber{b: b, sink: &got, untold: true, lagging: true, next: 3}
			sub := &subscription{of: s, filter: "t", qos: 1}
			target := &target{to: s, subs: []*subscription{sub}, qos: 1, simple: true}
			read := func(seq uint64) *message {
				m := &message{Envelope: mapping.Envelope{Topic: "t", QoS: 1}, seq: seq}
				b.log.cache.put(m)
				return m
			}
			scan := func(from, to uint64) {
				s.joinPass(from, to > 5)
				for seq := from; seq <= to; seq++ {
					if s.scans(seq) {
						s.scanned(read(seq), target)
					}
				}
				s.advance(to+1, false)
			}
			tail := func(from, to uint64) {
				for seq := from; seq <= to; seq++ {
					b.log.position.Store(seq)
					s.tail(read(seq), target)
				}
			}
			scan(3, 5)
			tail(1, test.position)
			s.joinPass(6, true)
			scan(6, 8)
			tail(test.position+1, 9)
			require.Equal(t, test.want, []uint64(got))
		})
	}
}
