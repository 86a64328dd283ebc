package bridge_test

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestNativeApplicationsTakePart(t *testing.T) {
	cfg := testConfig(t)
	cfg.NATS.Listen = freeAddress(t)
	g := startGateway(t, cfg)
	app, err := nats.Connect("nats://" + cfg.NATS.Listen)
	require.NoError(t, err)
	t.Cleanup(app.Close)

	t.Run("what they publish to cw.n reaches both protocols with its headers, and nothing forged", func(t *testing.T) {
		c, toMQTT := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "device"})
		_, err := c.Subscribe(within(t), packet.Filter{Topic: "plant/#", QoS: 1})
		require.NoError(t, err)
		toSTOMP := stompSubscribe(t, stompClient(t, g, frame.V12), frame.Field{Name: "destination", Value: "/topic/plant.>"})
		m := nats.NewMsg("cw.n.plant.line=2E1")
		m.Data = []byte("running")
		m.Header.Set("shift", "night")
		m.Header.Set("Causeway", "1forged")
		_, err = app.RequestMsgWithContext(within(t), m)
		require.NoError(t, err)
		got := next(t, toMQTT)
		require.Equal(t, "plant/line.1", got.name)
		require.Equal(t, "running", string(got.body))
		require.Equal(t, []packet.UserProperty{{Name: "shift", Value: "night"}}, got.packet.Properties.User)
		require.Equal(t, "/topic/plant/line%2E1", next(t, toSTOMP).name)
	})

	t.Run("they read what clients publish", func(t *testing.T) {
		live, err := app.SubscribeSync("cw.t.>")
		require.NoError(t, err)
		stored, err := app.SubscribeSync("cw.d.>")
		require.NoError(t, err)
		require.NoError(t, app.Flush())
		c, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "meter"})
		require.NoError(t, c.Publish(within(t), &packet.Publish{Topic: "a/b", Payload: []byte("0")}))
		require.NoError(t, c.Publish(within(t), &packet.Publish{QoS: 1, Topic: "a/b", Payload: []byte("1")}))
		m, err := live.NextMsgWithContext(within(t))
		require.NoError(t, err)
		require.Equal(t, "cw.t.a.b", m.Subject)
		m, err = stored.NextMsgWithContext(within(t))
		require.NoError(t, err)
		require.Equal(t, "cw.d.a.b", m.Subject)
		require.Equal(t, "1", string(m.Data))
	})

	t.Run("they may not write what gateways write", func(t *testing.T) {
		refused := make(chan error, 10)
		app.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
		for _, subject := range []string{"cw.t.a", "cw.d.a", "cw.r.a", "$KV.CW_SESSIONS.s.m-x", "$JS.API.STREAM.PURGE.CW_LOG"} {
			require.NoError(t, app.Publish(subject, nil))
			require.NoError(t, app.Flush())
			var err error
			select {
			case err = <-refused:
			case <-time.After(patience):
			}
			require.ErrorContains(t, err, "Permissions Violation", subject)
		}
	})
}
