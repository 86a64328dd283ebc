package mqtt

import (
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// Clients written by others agree with the server about the protocol.

func TestPahoOfMQTT3ExchangesMessages(t *testing.T) {
	address := serve(t, newFakeBroker())
	for name, level := range map[string]uint{"3.1": 3, "3.1.1": 4} {
		t.Run(name, func(t *testing.T) {
			server := &url.URL{Scheme: "tcp", Host: address}
			options := paho3.NewClientOptions()
			options.Servers = []*url.URL{server}
			options.SetClientID("paho" + name).SetProtocolVersion(level).SetCleanSession(true).SetAutoReconnect(false)
			client := paho3.NewClient(options)
			wait := func(token paho3.Token) {
				t.Helper()
				require.True(t, token.WaitTimeout(10*time.Second))
				require.NoError(t, token.Error())
			}
			wait(client.Connect())
			received := make(chan paho3.Message, 10)
			wait(client.Subscribe("a/#", 2, func(_ paho3.Client, m paho3.Message) { received <- m }))
			for qos := range byte(3) {
				wait(client.Publish("a/b", qos, false, []byte{qos}))
				m := <-received
				require.Equal(t, "a/b", m.Topic())
				require.Equal(t, qos, m.Qos())
				require.Equal(t, []byte{qos}, m.Payload())
			}
			wait(client.Unsubscribe("a/#"))
			client.Disconnect(1000)
		})
	}
}

func TestPahoOfMQTT5ExchangesMessages(t *testing.T) {
	b := newFakeBroker()
	nc, err := net.Dial("tcp", serve(t, b))
	require.NoError(t, err)
	received := make(chan *paho.Publish, 10)
	client := paho.NewClient(paho.ClientConfig{
		Conn: nc,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			received <- p.Packet
			return true, nil
		}},
	})
	connack, err := client.Connect(t.Context(), &paho.Connect{CleanStart: true, KeepAlive: 30})
	require.NoError(t, err)
	require.Equal(t, (<-b.connected).connect.ClientID, connack.Properties.AssignedClientID)
	_, err = client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/#", QoS: 2}}})
	require.NoError(t, err)
	for qos := range byte(3) {
		properties := &paho.PublishProperties{ContentType: "text/plain", CorrelationData: []byte{1}, ResponseTopic: "answers"}
		properties.User.Add("n", "v")
		_, err = client.Publish(t.Context(), &paho.Publish{Topic: "a/b", QoS: qos, Payload: []byte{qos}, Properties: properties})
		require.NoError(t, err)
		p := <-received
		require.Equal(t, "a/b", p.Topic)
		require.Equal(t, qos, p.QoS)
		require.Equal(t, []byte{qos}, p.Payload)
		require.Equal(t, "text/plain", p.Properties.ContentType)
		require.Equal(t, []byte{1}, p.Properties.CorrelationData)
		require.Equal(t, "answers", p.Properties.ResponseTopic)
		require.Equal(t, "v", p.Properties.User.Get("n"))
	}
	_, err = client.Unsubscribe(t.Context(), &paho.Unsubscribe{Topics: []string{"a/#"}})
	require.NoError(t, err)
	require.NoError(t, client.Disconnect(&paho.Disconnect{}))
	<-client.Done()
}
