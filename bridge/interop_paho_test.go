//go:build interop

package bridge_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// testPaho tests with both libraries of Eclipse Paho for Go, and PHP at the other end.
func testPaho(t *testing.T, p *process) {
	t.Helper()
	for name, connection := range map[string]struct {
		level uint
		url   string
	}{
		"3.1": {3, "tcp://" + p.said["mqtt.listen"]}, "3.1.1": {4, "tcp://" + p.said["mqtt.listen"]},
		"3.1 over WebSocket": {3, p.env("MQTT_URL")}, "3.1.1 over WebSocket": {4, p.env("MQTT_URL")},
	} {
		t.Run("paho.mqtt.golang in "+name, func(t *testing.T) {
			t.Parallel()
			scheme, _, _ := strings.Cut(connection.url, ":")
			id := fmt.Sprint("paho", connection.level, scheme)
			root := id + "/"
			got := make(chan paho3.Message, 2000)
			connect := func() paho3.Client {
				client := paho3.NewClient(paho3.NewClientOptions().AddBroker(connection.url).SetProtocolVersion(connection.level).
					SetClientID(id).SetCleanSession(false).SetAutoReconnect(false).
					SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- m }))
				await(t, client.Connect())
				return client
			}
			client := connect()
			await(t, client.SubscribeMultiple(map[string]byte{root + "a/#": 2, root + "b": 1}, nil))
			for qos := range byte(3) {
				await(t, client.Publish(root+"a/x", qos, false, everyByte()))
				m := receive(t, got)
				require.Equal(t, root+"a/x", m.Topic())
				require.Equal(t, qos, m.Qos())
				require.Equal(t, everyByte(), string(m.Payload()))
			}

			// Many at a time, all acknowledged, all delivered in order.
			tokens := make([]paho3.Token, 1000)
			for i := range tokens {
				tokens[i] = client.Publish(root+"b", 1, false, fmt.Sprint(i))
			}
			for i, token := range tokens {
				await(t, token)
				require.Equal(t, fmt.Sprint(i), string(receive(t, got).Payload()))
			}

			// What PHP sends while the client is away.
			client.Disconnect(100)
			for i := range 3 {
				p.phpSends(t, fmt.Sprint(i), "/topic/"+root+"a/php")
			}
			client = connect()
			for i := range 3 {
				m := receive(t, got)
				for m.Duplicate() { // the client went before it acknowledged its last ones
					m = receive(t, got)
				}
				require.Equal(t, fmt.Sprint(i), string(m.Payload()))
			}
			await(t, client.Unsubscribe(root+"a/#", root+"b"))
			client.Disconnect(100)
		})
	}
	t.Run("paho.golang in 5.0", func(t *testing.T) {
		t.Parallel()
		got := make(chan *paho.Publish, 100)
		// A client that acknowledges by hand.
		connect := func(ctx context.Context, clean bool) (*paho.Client, *paho.Connack) {
			conn, err := net.Dial("tcp", p.said["mqtt.listen"])
			require.NoError(t, err)
			client := paho.NewClient(paho.ClientConfig{
				Conn: conn, EnableManualAcknowledgment: true,
				OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
					got <- r.Packet
					return true, nil
				}},
			})
			expiry, maximum := uint32(600), uint16(5)
			connack, err := client.Connect(ctx, &paho.Connect{
				ClientID: "paho5", CleanStart: clean, KeepAlive: 30,
				Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &maximum},
			})
			require.NoError(t, err)
			return client, connack
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		client, connack := connect(ctx, true)
		require.False(t, connack.SessionPresent)
		identifier := 42
		suback, err := client.Subscribe(ctx, &paho.Subscribe{
			Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: &identifier},
			Subscriptions: []paho.SubscribeOptions{{Topic: "paho5/#", QoS: 2}, {Topic: "$share/g/queue/paho5", QoS: 2}},
		})
		require.NoError(t, err)
		require.Equal(t, []byte{2, 1}, suback.Reasons, "consumers of a queue get QoS 1")

		// Properties of PHP's, and not more at a time than the client takes.
		for i := range 12 {
			p.phpSends(t, fmt.Sprint(i), "/topic/paho5/x", "qos="+fmt.Sprint(i%2+1), "n="+fmt.Sprint(i), "content-type=text/plain")
		}
		for i := range 12 {
			m := receive(t, got)
			require.Equal(t, fmt.Sprint(i), string(m.Payload))
			require.Equal(t, fmt.Sprint(i), m.Properties.User.Get("n"))
			require.Equal(t, "text/plain", m.Properties.ContentType)
			require.Equal(t, 42, *m.Properties.SubscriptionIdentifier)
			require.NoError(t, client.Ack(m))
		}

		// What it has not acknowledged when it is lost comes again.
		p.phpSends(t, "again", "/topic/paho5/x")
		p.phpSends(t, "work", "/queue/paho5")
		first := map[string]bool{string(receive(t, got).Payload): true, string(receive(t, got).Payload): true}
		require.Equal(t, map[string]bool{"again": true, "work": true}, first)
		require.NoError(t, client.Disconnect(&paho.Disconnect{ReasonCode: 4}))
		<-client.Done()
		client, connack = connect(ctx, false)
		require.True(t, connack.SessionPresent)
		for len(first) > 0 {
			// Its last acknowledgements may not have left either.
			m := receive(t, got)
			delete(first, string(m.Payload))
			require.NoError(t, client.Ack(m))
		}

		// To PHP, with the answer to a publish that nobody hears.
		php := p.phpReceives(t, "1", "/queue/from-paho5")
		properties := &paho.PublishProperties{ContentType: "application/json", ResponseTopic: "answers/5", CorrelationData: []byte{0xff, 0}}
		properties.User.Add("k", "v")
		response, err := client.Publish(ctx, &paho.Publish{Topic: "queue/from-paho5", QoS: 2, Payload: []byte("{}"), Properties: properties})
		require.NoError(t, err)
		require.Zero(t, response.ReasonCode)
		m := php.hears(t)
		require.Equal(t, "{}", string(m.Body))
		for name, value := range map[string]string{
			"k": "v", "content-type": "application/json", "reply-to": "/topic/answers/5", "correlation-id-base64": "/wA=",
		} {
			require.Equal(t, value, m.Headers[name], name)
		}
		php.done(t)
		_, err = client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"paho5/#", "$share/g/queue/paho5"}})
		require.NoError(t, err)
		require.NoError(t, client.Disconnect(&paho.Disconnect{}))
		<-client.Done()
	})
}

// await waits for a step of paho.mqtt.golang.
func await(t *testing.T, token paho3.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(soon))
	require.NoError(t, token.Error())
}

// receive returns what comes next.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(soon):
		require.FailNow(t, "nothing more comes")
		panic("unreachable")
	}
}
