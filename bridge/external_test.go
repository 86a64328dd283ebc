package bridge_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// startCore runs a NATS server of somebody else's.
func startCore(t *testing.T, address, store string) *server.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	s, err := server.NewServer(&server.Options{
		Host: host, Port: n, NoLog: true, NoSigs: true, JetStream: true, StoreDir: store,
	})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	t.Cleanup(func() { stopCore(s) })
	return s
}

func stopCore(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func TestCoreThatIsAwayLosesNothing(t *testing.T) {
	address, store := freeAddress(t), t.TempDir()
	core := startCore(t, address, store)
	cfg := bridge.DefaultConfig()
	cfg.Name, cfg.NATS.URL, cfg.NATS.Patience = "gw", "nats://"+address, 20*time.Second
	g := startGateway(t, cfg)

	subscriber, messages := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "sub"})
	_, err := subscriber.Subscribe(within(t), packet.Filter{Topic: "count", QoS: 1})
	require.NoError(t, err)
	publisher, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "pub"})

	const n = 2000
	acked := make(chan error, n)
	for i := range n {
		if i == n/2 {
			stopCore(core)
			require.Eventually(t, func() bool { return g.bridge.Ready() != nil }, patience, time.Millisecond)
		}
		if i == n/2+50 { // those wait for it
			core = startCore(t, address, store)
		}
		p := &packet.Publish{QoS: 1, Topic: "count", Payload: []byte(strconv.Itoa(i))}
		require.NoError(t, publisher.PublishAsync(t.Context(), p, func(err error) { acked <- err }))
	}
	for range n {
		require.NoError(t, <-acked)
	}
	for i := range n {
		require.Equal(t, strconv.Itoa(i), string(next(t, messages).body))
	}
	require.NoError(t, g.bridge.Ready())
	g.stop()
}

func TestGatewaysOnAnExternalCoreAreOneSystem(t *testing.T) {
	url := startCore(t, "127.0.0.1:-1", t.TempDir()).ClientURL()
	start := func(name string) *gateway {
		cfg := bridge.DefaultConfig()
		cfg.Name, cfg.NATS.URL = name, url
		return startGateway(t, cfg)
	}
	a, b := start("a"), start("b")

	t.Run("what the core takes bounds a message", func(t *testing.T) {
		require.Equal(t, 1<<20-128<<10, a.bridge.MaxMessage())
	})
	t.Run("a topic reaches the clients of both", func(t *testing.T) {
		here := stompSubscribe(t, stompClient(t, a, frame.V12), frame.Field{Name: "destination", Value: "/topic/x"})
		c, there := mqttClient(t, b, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "there"})
		_, err := c.Subscribe(within(t), packet.Filter{Topic: "x", QoS: 1})
		require.NoError(t, err)
		require.NoError(t, c.Publish(within(t), &packet.Publish{QoS: 1, Topic: "x", Payload: []byte("1")}))
		require.Equal(t, "1", string(next(t, here).body))
		require.Equal(t, "1", string(next(t, there).body))
	})
	t.Run("a session goes on at the other gateway, with what it missed", func(t *testing.T) {
		connect := packet.Connect{Version: packet.V311, ClientID: "mover"}
		c, _ := mqttClient(t, a, connect)
		_, err := c.Subscribe(within(t), packet.Filter{Topic: "moving/+", QoS: 1})
		require.NoError(t, err)
		require.NoError(t, c.Close())
		sender := stompClient(t, b, frame.V12)
		require.NoError(t, sender.Send(within(t), &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/topic/moving.1"}}, Body: []byte("missed")}))
		back, messages := mqttClient(t, b, connect)
		require.True(t, back.Connack().SessionPresent)
		require.Equal(t, "missed", string(next(t, messages).body))
	})
	t.Run("a session that is connected at one gateway is taken over by the other, and its client told", func(t *testing.T) {
		connect := packet.Connect{Version: packet.V5, ClientID: "restless", SessionExpiry: new(time.Hour)}
		first, _ := mqttClient(t, a, connect)
		_, err := first.Subscribe(within(t), packet.Filter{Topic: "restless", QoS: 1})
		require.NoError(t, err)
		second, messages := mqttClient(t, b, connect)
		require.True(t, second.Connack().SessionPresent)
		<-first.Done()
		var end *mqtt.Error
		require.ErrorAs(t, first.Err(), &end)
		require.Equal(t, packet.SessionTakenOver, end.Reason)
		require.NoError(t, second.Publish(within(t), &packet.Publish{QoS: 1, Topic: "restless", Payload: []byte("1")}))
		require.Equal(t, "1", string(next(t, messages).body))
	})
	t.Run("a queue is one queue", func(t *testing.T) {
		sender := stompClient(t, a, frame.V12)
		require.NoError(t, sender.Send(within(t), &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/queue/q"}}, Body: []byte("job")}))
		jobs := stompSubscribe(t, stompClient(t, b, frame.V12), frame.Field{Name: "destination", Value: "/queue/q"})
		require.Equal(t, "job", string(next(t, jobs).body))
	})
	t.Run("a reply finds a temporary destination of the other gateway", func(t *testing.T) {
		asks := stompClient(t, a, frame.V12)
		replies := stompSubscribe(t, asks, frame.Field{Name: "destination", Value: "/temp-queue/r"})
		requests := stompSubscribe(t, stompClient(t, b, frame.V12), frame.Field{Name: "destination", Value: "/topic/service"})
		require.NoError(t, asks.Send(within(t), &frame.Frame{Header: frame.Header{
			{Name: "destination", Value: "/topic/service"}, {Name: "reply-to", Value: "/temp-queue/r"},
		}}))
		to := next(t, requests).header.Value("reply-to")
		require.NoError(t, stompClient(t, b, frame.V11).Send(within(t), &frame.Frame{Header: frame.Header{{Name: "destination", Value: to}}, Body: []byte("answer")}))
		require.Equal(t, "answer", string(next(t, replies).body))
	})
}
