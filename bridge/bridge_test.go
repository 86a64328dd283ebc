package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a running bridge with both front-ends on loopback.
type gateway struct {
	bridge *bridge.Bridge
	stomp  string // address
	mqtt   string
	stop   func()
}

// testConfig is a gateway's configuration with a store of the test's.
func testConfig(t testing.TB) bridge.Config {
	t.Helper()
	cfg := bridge.DefaultConfig()
	cfg.NATS.Store = t.TempDir()
	cfg.NATS.MaxStore = 4 << 30
	cfg.NATS.Patience = 10 * time.Second
	return cfg
}

func startGateway(t testing.TB, cfg bridge.Config) *gateway {
	t.Helper()
	return startFrontEnds(t, cfg, stomp.DefaultConfig(), mqtt.DefaultConfig())
}

// startFrontEnds is startGateway for servers that are told something.
func startFrontEnds(t testing.TB, cfg bridge.Config, s stomp.Config, m mqtt.Config) *gateway {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	authenticator, err := auth.New(auth.Config{})
	require.NoError(t, err)
	b, err := bridge.New(t.Context(), cfg, authenticator, log)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listen := func(serve func(context.Context, net.Listener) error) (string, <-chan struct{}) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = serve(ctx, l)
		}()
		return l.Addr().String(), ended
	}
	g := &gateway{bridge: b}
	var stompEnded, mqttEnded <-chan struct{}
	g.stomp, stompEnded = listen((&stomp.Server{Config: s, Broker: b.STOMP(), Logger: log}).Serve)
	g.mqtt, mqttEnded = listen((&mqtt.Server{Config: m, Broker: b.MQTT(), Logger: log}).Serve)
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-stompEnded
		<-mqttEnded
		require.NoError(t, b.Close(context.WithoutCancel(t.Context())))
	}
	t.Cleanup(g.stop)
	return g
}

// received is a message as a client of either protocol got it.
type received struct {
	name   string // destination or topic
	body   []byte
	header frame.Header    // STOMP
	packet *packet.Publish // MQTT
	frame  *frame.Frame
}

// party is a connected client of either protocol, in the words of both.
type party struct {
	publish   func(topic string, body []byte) error // acknowledged when it returns
	subscribe func(filter string) <-chan received
}

const patience = 10 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func stompClient(t testing.TB, g *gateway, v frame.Version) *stomp.Client {
	t.Helper()
	c, err := stomp.Dial(within(t), g.stomp, stomp.Options{Version: v})
	require.NoError(t, err)
	require.Equal(t, v, c.Version())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func stompSubscribe(t testing.TB, c *stomp.Client, header ...frame.Field) <-chan received {
	t.Helper()
	messages := make(chan received, 100_000)
	_, err := c.Subscribe(within(t), header, func(f *frame.Frame) {
		messages <- received{name: f.Header.Value("destination"), body: f.Body, header: f.Header, frame: f}
	})
	require.NoError(t, err)
	return messages
}

func stompParty(t testing.TB, g *gateway, v frame.Version) party {
	t.Helper()
	c := stompClient(t, g, v)
	return party{
		publish: func(topic string, body []byte) error {
			return c.Send(within(t), &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/topic/" + topic}}, Body: body})
		},
		subscribe: func(filter string) <-chan received {
			return stompSubscribe(t, c, frame.Field{Name: "destination", Value: "/topic/" + filter})
		},
	}
}

// mqttClient connects; what it receives arrives on the channel.
func mqttClient(t testing.TB, g *gateway, connect packet.Connect) (*mqtt.Client, <-chan received) {
	t.Helper()
	messages := make(chan received, 100_000)
	c, err := mqtt.Dial(within(t), g.mqtt, mqtt.Options{Connect: connect, Receive: func(p *packet.Publish, done func(error)) {
		messages <- received{name: p.Topic, body: p.Payload, packet: p}
		if done != nil {
			done(nil)
		}
	}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c, messages
}

func mqttParty(t testing.TB, g *gateway, v packet.Version, qos packet.QoS) party {
	t.Helper()
	c, messages := mqttClient(t, g, packet.Connect{Version: v, CleanStart: true, ClientID: fmt.Sprintf("c%d", time.Now().UnixNano())})
	return party{
		publish: func(topic string, body []byte) error {
			return c.Publish(within(t), &packet.Publish{QoS: qos, Topic: topic, Payload: body})
		},
		subscribe: func(filter string) <-chan received {
			reasons, err := c.Subscribe(within(t), packet.Filter{Topic: filter, QoS: qos})
			require.NoError(t, err)
			require.Equal(t, []packet.ReasonCode{packet.ReasonCode(qos)}, reasons)
			return messages
		},
	}
}

func next(t testing.TB, messages <-chan received) received {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message arrived")
		return received{}
	}
}

// none checks that nothing is waiting: the caller has made sure that it would
// have arrived.
func none(t testing.TB, messages <-chan received) {
	t.Helper()
	select {
	case m := <-messages:
		require.FailNowf(t, "a message too many", "%s: %.40q", m.name, m.body)
	default:
	}
}

func bodies() map[string][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string][]byte{
		"text": []byte("21,5 °C"), "all byte values": all, "empty": {}, "1 MiB": bytes.Repeat([]byte("causeway"), 1<<17),
	}
}

// TestEveryVersionReachesEveryOther is the product's main job: each version of
// both protocols as sender and receiver, with every kind of body.
func TestEveryVersionReachesEveryOther(t *testing.T) {
	g := startGateway(t, testConfig(t))
	versions := map[string]func(*testing.T) party{
		"STOMP 1.0":  func(t *testing.T) party { t.Helper(); return stompParty(t, g, frame.V10) },
		"STOMP 1.1":  func(t *testing.T) party { t.Helper(); return stompParty(t, g, frame.V11) },
		"STOMP 1.2":  func(t *testing.T) party { t.Helper(); return stompParty(t, g, frame.V12) },
		"MQTT 3.1":   func(t *testing.T) party { t.Helper(); return mqttParty(t, g, packet.V31, 1) },
		"MQTT 3.1.1": func(t *testing.T) party { t.Helper(); return mqttParty(t, g, packet.V311, 2) },
		"MQTT 5.0":   func(t *testing.T) party { t.Helper(); return mqttParty(t, g, packet.V5, 2) },
	}
	n := 0
	for from, sender := range versions {
		for to, receiver := range versions {
			n++
			root := fmt.Sprintf("matrix/%d", n)
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				messages := receiver(t).subscribe(root + "/+")
				s := sender(t)
				for name, body := range bodies() {
					require.NoError(t, s.publish(root+"/x", body), name)
					m := next(t, messages)
					require.True(t, bytes.Equal(body, m.body), "%s: %d bytes became %d", name, len(body), len(m.body))
					require.Equal(t, root+"/x", strings.TrimPrefix(m.name, "/topic/"))
				}
			})
		}
	}
}
