package bridge

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyWhoWasRefusedIsToldOfRoom(t *testing.T) {
	var r refusals[string]
	yes, no := func() bool { return true }, func() bool { return false }
	require.True(t, r.offer("a", yes))
	require.False(t, r.offer("b", no))
	require.False(t, r.offer("b", no))
	require.False(t, r.offer("c", no))
	require.ElementsMatch(t, []string{"b", "c"}, slices.Collect(maps.Keys(r.take())))
	require.Empty(t, r.take())
}

func TestRoomThatComesDuringARefusalIsUsed(t *testing.T) {
	var r refusals[string]
	offers := 0
	require.True(t, r.offer("a", func() bool {
		offers++
		if offers == 1 {
			require.Empty(t, r.take()) // the client has room just before the refusal is noted
		}
		return offers > 1
	}))
	require.Equal(t, 2, offers)
	require.Empty(t, r.take())
}
