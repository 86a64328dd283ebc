package bridge

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
)

// collector is a client that takes everything.
type collector chan delivery

func (c collector) offer(d delivery) bool {
	c <- d
	return true
}

func TestStoreThatFailedIsOpenedAgain(t *testing.T) {
	authenticator, err := auth.New(auth.Config{})
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.NATS.Store, cfg.NATS.MaxStore = t.TempDir(), 1<<30
	b, err := New(t.Context(), cfg, authenticator, slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close(t.Context())) }()

	got := make(collector, 10)
	s := &subscriber{b: b, sink: got, untold: true}
	sub := &subscription{of: s, filter: "a/#", qos: 1}
	require.NoError(t, b.matcher.add(sub))
	publish := func(body string) error {
		return b.await(func(done func(error)) {
			b.publish(&mapping.Envelope{Topic: "a/b", QoS: 1, Body: []byte(body)}, done)
		})
	}
	require.NoError(t, publish("before"))
	require.Equal(t, "before", string((<-got).msg.Body))

	b.health.observe(errTimeout)
	require.ErrorContains(t, b.Ready(), "does not store")
	require.Eventually(t, func() bool { return b.Ready() == nil }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return publish("after") == nil }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "after", string((<-got).msg.Body))
}
