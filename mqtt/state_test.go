package mqtt

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// stateModel says what a State must do, in plain maps.
type stateModel struct {
	state  *State
	window int
	limit  int
	tokens map[uint16]uint64 // in flight, by identifier
	stages map[uint16]stage
	counts map[uint16]bool // takes room in the window
	kept   map[uint64]uint16

	receipts map[uint16]inboundStage
	counted  map[uint16]bool
	open     int // publishes at QoS 1 that are unanswered
}

func newStateModel(window, limit int) *stateModel {
	return &stateModel{
		state: NewState(window, limit), window: window, limit: limit,
		tokens: map[uint16]uint64{}, stages: map[uint16]stage{}, counts: map[uint16]bool{}, kept: map[uint64]uint16{},
		receipts: map[uint16]inboundStage{}, counted: map[uint16]bool{},
	}
}

func (m *stateModel) inFlight() int { return len(m.counts) }

func (m *stateModel) unanswered() int { return m.open + len(m.counted) }

func (m *stateModel) has(token uint64) bool {
	for _, t := range m.tokens {
		if t == token {
			return true
		}
	}
	return false
}

func TestStateKeepsTheRulesOfPacketIdentifiers(t *testing.T) {
	// Few tokens and identifiers, so that they collide.
	tokens := rapid.Custom(func(t *rapid.T) uint64 {
		token := rapid.Uint64Range(0, 3).Draw(t, "low") + 65535*rapid.Uint64Range(0, 1).Draw(t, "lap")
		if rapid.Bool().Draw(t, "high") {
			token |= 1 << 63
		}
		return token
	})
	ids := rapid.Uint16Range(1, 5)

	rapid.Check(t, func(t *rapid.T) {
		m := newStateModel(rapid.IntRange(1, 4).Draw(t, "window"), rapid.IntRange(0, 3).Draw(t, "limit"))
		began := func(t *rapid.T, id uint16, token uint64) {
			require.NotZero(t, id)
			require.NotContains(t, m.tokens, id, "identifier in use")
			if token>>63 == 0 {
				require.Equal(t, uint16(1+token%65535), id)
			} else if kept, ok := m.kept[token]; ok {
				if _, taken := m.tokens[kept]; !taken {
					require.Equal(t, kept, id)
				}
			} else {
				require.NotContains(t, slices.Collect(maps.Values(m.kept)), id, "kept for another")
			}
			m.tokens[id] = token
			delete(m.kept, token)
		}
		settled := func(t *rapid.T, id uint16, at stage, token uint64, err error) {
			stage, known := m.stages[id]
			switch {
			case !known:
				require.ErrorIs(t, err, errUnknown)
			case stage != at:
				require.ErrorIs(t, err, errWrongStep)
			default:
				require.NoError(t, err)
				require.Equal(t, m.tokens[id], token)
				delete(m.tokens, id)
				delete(m.stages, id)
				delete(m.counts, id)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				token, qos := tokens.Draw(t, "token"), packet.QoS(rapid.IntRange(1, 2).Draw(t, "qos"))
				if m.has(token) {
					t.Skip("in flight")
				}
				id, ok := m.state.Send(token, qos)
				if m.inFlight() >= m.window {
					require.False(t, ok)
					return
				}
				if !ok {
					require.Zero(t, token>>63)
					require.Contains(t, m.tokens, uint16(1+token%65535))
					return
				}
				began(t, id, token)
				m.stages[id] = awaitPuback
				if qos == 2 {
					m.stages[id] = awaitPubrec
				}
				m.counts[id] = true
				if rapid.IntRange(0, 9).Draw(t, "not written") == 0 {
					m.state.Cancel(id)
					delete(m.tokens, id)
					delete(m.stages, id)
					delete(m.counts, id)
				}
			},
			"resume": func(t *rapid.T) {
				token := tokens.Draw(t, "token")
				if m.has(token) {
					t.Skip("in flight")
				}
				if id, ok := m.state.Resume(token); ok {
					began(t, id, token)
					m.stages[id] = awaitPubcomp
				}
			},
			"puback": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				token, err := m.state.Acknowledge(id)
				settled(t, id, awaitPuback, token, err)
			},
			"pubrec with an error": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				token, err := m.state.Reject(id)
				settled(t, id, awaitPubrec, token, err)
			},
			"pubcomp": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				token, err := m.state.Complete(id)
				settled(t, id, awaitPubcomp, token, err)
			},
			"pubrec": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				token, receipt, err := m.state.Receipted(id)
				switch at, known := m.stages[id]; {
				case !known:
					require.ErrorIs(t, err, errUnknown)
				case at == awaitPuback:
					require.ErrorIs(t, err, errWrongStep)
				default:
					require.NoError(t, err)
					require.Equal(t, m.tokens[id], token)
					require.Equal(t, map[stage]Receipt{awaitPubrec: Fresh, awaitRelease: Pending, awaitPubcomp: Repeated}[at], receipt)
					if receipt == Fresh {
						m.stages[id] = awaitRelease
					}
				}
			},
			"released": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if m.stages[id] == awaitRelease {
					m.state.Released(id)
					m.stages[id] = awaitPubcomp
				}
			},
			"publish at QoS 1": func(t *rapid.T) {
				receipt, err := m.state.Receive(ids.Draw(t, "id"), 1)
				if m.limit > 0 && m.unanswered() >= m.limit {
					require.ErrorIs(t, err, errWindow)
					return
				}
				require.NoError(t, err)
				require.Equal(t, Fresh, receipt)
				m.open++
			},
			"puback is sent": func(*rapid.T) {
				if m.open > 0 {
					m.state.Acknowledged()
					m.open--
				}
			},
			"publish at QoS 2": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				receipt, err := m.state.Receive(id, 2)
				stage, known := m.receipts[id]
				switch {
				case known && stage == forgetting:
					require.ErrorIs(t, err, errReused)
				case known:
					require.NoError(t, err)
					require.Equal(t, map[inboundStage]Receipt{publishing: Pending, awaitPubrel: Repeated}[stage], receipt)
				case m.limit > 0 && m.unanswered() >= m.limit:
					require.ErrorIs(t, err, errWindow)
				default:
					require.NoError(t, err)
					require.Equal(t, Fresh, receipt)
					m.receipts[id], m.counted[id] = publishing, true
				}
			},
			"pubrec is sent": func(t *rapid.T) {
				id, accepted := ids.Draw(t, "id"), rapid.Bool().Draw(t, "accepted")
				if stage, known := m.receipts[id]; !known || stage != publishing {
					t.Skip("no publish")
				}
				m.state.Received(id, accepted)
				m.receipts[id] = awaitPubrel
				if !accepted {
					delete(m.receipts, id)
					delete(m.counted, id)
				}
			},
			"pubrel": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				receipt, err := m.state.Forget(id)
				switch stage, known := m.receipts[id]; {
				case !known:
					require.ErrorIs(t, err, errUnknown)
				case stage == publishing:
					require.ErrorIs(t, err, errWrongStep)
				case stage == forgetting:
					require.Equal(t, Pending, receipt)
				default:
					require.Equal(t, Fresh, receipt)
					m.receipts[id] = forgetting
				}
			},
			"pubcomp is sent": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if stage, known := m.receipts[id]; known && stage == forgetting {
					m.state.Forgotten(id)
					delete(m.receipts, id)
					delete(m.counted, id)
				}
			},
			"reconnect": func(t *rapid.T) {
				next := newStateModel(m.window, m.limit)
				require.NoError(t, next.state.Restore(m.state.Snapshot()))
				next.kept = maps.Clone(m.kept)
				for id, token := range m.tokens {
					if token>>63 == 1 {
						next.kept[token] = id
					}
				}
				for id, stage := range m.receipts {
					if stage == awaitPubrel { // a release under way is persisted by the snapshot
						next.receipts[id] = awaitPubrel
					}
				}
				require.True(t, maps.Equal(next.kept, next.state.kept), "%v %v", next.kept, next.state.kept)
				*m = *next
			},
			"": func(t *rapid.T) {
				require.Equal(t, m.inFlight() < m.window, m.state.Room())
			},
		})
	})
}

func TestStateRefusesDamagedSnapshots(t *testing.T) {
	for name, snapshot := range map[string]string{
		"another version":             "02 00",
		"no count":                    "01",
		"fewer deliveries than said":  "01 02 8000000000000001 0001",
		"half a receipt":              "01 00 00",
		"a count beyond all sessions": "01 ffffff7f",
		"an identifier of 0":          "01 01 8000000000000001 0000",
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, NewState(1, 0).Restore(unhex(t, snapshot)), errSnapshot)
		})
	}
}

func TestStateSnapshotIsReadByLaterVersions(t *testing.T) {
	s := NewState(10, 0)
	require.NoError(t, s.Restore(unhex(t, "01 01 8000000000000007 0102 0003 ffff")))
	id, ok := s.Send(1<<63|7, 2)
	require.True(t, ok)
	require.Equal(t, uint16(0x0102), id)
	for _, id := range []uint16{3, 65535} {
		receipt, err := s.Receive(id, 2)
		require.NoError(t, err)
		require.Equal(t, Repeated, receipt)
	}
	require.Equal(t, unhex(t, "01 01 8000000000000007 0102 0003 ffff"), s.Snapshot())
	require.Nil(t, NewState(10, 0).Snapshot())
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte{1, 0, 0, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewState(10, 0)
		if s.Restore(b) != nil {
			return
		}
		again := NewState(10, 0)
		require.NoError(t, again.Restore(s.Snapshot()))
		require.Equal(t, s.Snapshot(), again.Snapshot())
	})
}
