package bridge

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge/auth"
)

// TestMembershipEndsThoughItsConnectionHas: the last one takes the group's
// consumers with it, whatever became of who asked for that.
func TestMembershipEndsThoughItsConnectionHas(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, leave := range map[string]func(*sessions) error{
		"unsubscribed": func(x *sessions) error { x.leftGroup(gone, "m-c", "g", "a/b"); return nil },
		"expired":      func(x *sessions) error { return x.leaveGroups(gone, "m-c") },
	} {
		t.Run(name, func(t *testing.T) {
			authenticator, err := auth.New(auth.Config{})
			require.NoError(t, err)
			b, err := New(t.Context(), queueConfig(t), authenticator, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			t.Cleanup(func() { _ = b.Close(context.WithoutCancel(t.Context())) })
			x, q := &b.sessions, &queueTest{t, b.queues}
			k := q.taker(1)
			require.NoError(t, q.wait(func(done func(error)) { x.joinedGroup("m-c", "g", "a/b", done) }))
			q.joins(k, func(done func(error)) { q.joinGroup(k.consumer, "g", "a/b", done) })
			specs, err := q.groupSpecs("g", "a/b")
			require.NoError(t, err)
			_, err = q.core.js.Consumer(t.Context(), specs[0].places[0].stream, specs[0].name)
			require.NoError(t, err)
			q.leaves(k, true)
			require.NoError(t, leave(x))
			members, err := x.members(t.Context(), "g.*.*")
			require.NoError(t, err)
			require.Empty(t, members)
			_, err = q.core.js.Consumer(t.Context(), specs[0].places[0].stream, specs[0].name)
			require.ErrorIs(t, err, jetstream.ErrConsumerNotFound)
		})
	}
}

// TestReaderThatIsGivenUpLeavesNoConsumer: the core may have created it.
func TestReaderThatIsGivenUpLeavesNoConsumer(t *testing.T) {
	x := startQueues(t, defaultPace)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.core.openReader(gone, x.core.names.log(), map[string]any{"deliver_policy": "all"})
	require.ErrorIs(t, err, context.Canceled)
	x.eventually("none is left", func() bool {
		s, err := x.core.js.Stream(t.Context(), x.core.names.log())
		return err == nil && s.CachedInfo().State.Consumers == 0
	})
}
