package bridge_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// TestQ4DurableSubscriptions covers the three spellings of a STOMP
// subscription to topics that outlives its connection.
func TestQ4DurableSubscriptions(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	original := g
	publish := func(t *testing.T, topic string, bodies ...string) {
		t.Helper()
		c, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "sender"})
		for _, body := range bodies {
			require.NoError(t, c.Publish(within(t), &packet.Publish{QoS: 1, Topic: topic, Payload: []byte(body)}))
		}
		require.NoError(t, c.Close())
	}
	field := func(name, value string) frame.Field { return frame.Field{Name: name, Value: value} }
	for _, tt := range []struct {
		name, topic string
		client      string // client-id
		header      frame.Header
	}{
		{"RabbitMQ: durable and id", "rabbit/1", "", frame.Header{field("id", "mine"), field("durable", "true")}},
		{"RabbitMQ: persistent and x-queue-name", "rabbit/2", "", frame.Header{field("persistent", "true"), field("x-queue-name", "q")}},
		{"ActiveMQ: client-id and subscriptionName", "active/1", "app", frame.Header{field("activemq.subscriptionName", "news")}},
		{"Artemis: client-id and durable-subscription-name", "artemis/1", "app2", frame.Header{field("durable-subscription-name", "news")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			connect := func() *stomp.Client {
				c, err := stomp.Dial(within(t), g.stomp, stomp.Options{ClientID: tt.client})
				require.NoError(t, err)
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			header := append(frame.Header{field("destination", "/topic/"+tt.topic), field("ack", "client-individual")}, tt.header...)
			subscribe := func(c *stomp.Client) <-chan received { return stompSubscribe(t, c, header...) }

			first := connect()
			messages := subscribe(first)
			publish(t, tt.topic, "1", "2")
			require.NoError(t, first.Ack(within(t), next(t, messages).frame))
			require.Equal(t, "2", string(next(t, messages).body))
			require.NoError(t, first.Close())
			publish(t, tt.topic, "3")

			second := connect()
			messages = subscribe(second)
			for _, want := range []string{"2", "3"} {
				m := next(t, messages)
				require.Equal(t, want, string(m.body))
				require.NoError(t, second.Ack(within(t), m.frame))
			}
			third := connect()
			_, err := third.Subscribe(within(t), append(frame.Header{field("destination", "/topic/"+tt.topic)}, tt.header...), func(*frame.Frame) {})
			if tt.client == "" {
				require.NoError(t, err, "RabbitMQ's are shared")
			} else {
				require.ErrorContains(t, err, "in use")
			}
			_ = third.Close()
			require.NoError(t, second.Close())
			publish(t, tt.topic, "4")

			after := cfg
			g = crash(t, &after)
			publish(t, tt.topic, "5")
			messages = subscribe(connect())
			m := next(t, messages)
			for m.header.Value("redelivered") == "true" || string(m.body) < "4" {
				m = next(t, messages) // the crash came before the core wrote down what is acknowledged
			}
			require.Equal(t, "4", string(m.body))
			require.Equal(t, "5", string(next(t, messages).body))
			g.stop()
			g = original
		})
	}
	t.Run("a name without a client-id is refused", func(t *testing.T) {
		_, err := stompClient(t, g, frame.V12).Subscribe(within(t),
			frame.Header{field("destination", "/topic/x"), field("activemq.subscriptionName", "n")}, func(*frame.Frame) {})
		require.ErrorContains(t, err, "client-id missing")
	})
}
