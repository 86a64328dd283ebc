package bridge_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// The core forgets in a crash that it has removed a message which had replaced
// another one, and the other one is back.
func TestWhatWasRemovedStaysRemovedAfterACrash(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	watcher, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, ClientID: "watcher", SessionExpiry: new(time.Hour)})
	_, err := watcher.Subscribe(within(t), packet.Filter{Topic: "will", QoS: 1})
	require.NoError(t, err)

	alone := func() {
		require.Eventually(t, func() bool { return g.bridge.Stats().Sessions == 1 }, patience, time.Millisecond)
	}
	for range 2 { // the second one replaces the records of the first
		c, _ := mqttClient(t, g, packet.Connect{
			Version: packet.V5, ClientID: "mortal", SessionExpiry: new(time.Hour),
			Will: &packet.Will{Topic: "will", QoS: 1, Payload: []byte("gone")},
		})
		_, err := c.Subscribe(within(t), packet.Filter{Topic: "x", QoS: 1})
		require.NoError(t, err)
		require.NoError(t, c.Close())
		alone()
	}
	last, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, ClientID: "mortal", CleanStart: true})
	require.NoError(t, last.Close())
	alone()
	sender, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "sender"})
	for _, body := range []string{"1", "2", ""} {
		require.NoError(t, sender.Publish(within(t), &packet.Publish{QoS: 1, Retain: true, Topic: "retained", Payload: []byte(body)}))
	}
	require.NoError(t, sender.Close())

	g = crash(t, &cfg)
	back, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, ClientID: "mortal", SessionExpiry: new(time.Hour)})
	require.False(t, back.Connack().SessionPresent)
	watcher, wills := mqttClient(t, g, packet.Connect{Version: packet.V5, ClientID: "watcher", SessionExpiry: new(time.Hour)})
	require.True(t, watcher.Connack().SessionPresent)
	_, err = watcher.Subscribe(within(t), packet.Filter{Topic: "retained", QoS: 1})
	require.NoError(t, err)
	require.NoError(t, watcher.Publish(within(t), &packet.Publish{QoS: 1, Topic: "will", Payload: []byte("end")}))
	require.Equal(t, "end", string(next(t, wills).body))
}
