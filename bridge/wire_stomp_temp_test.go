package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestRequestsBetweenSTOMPClients(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, asks := range stompVersions {
		for _, answers := range stompVersions {
			t.Run(fmt.Sprintf("%v asks %v", asks, answers), func(t *testing.T) {
				service := dialLine(t, g, answers)
				service.subscribe("1", "/queue/service", "ack:client")
				client := dialLine(t, g, asks)
				client.subscribe("1", "/temp-queue/answers")
				other := dialLine(t, g, asks)
				other.subscribe("1", "/temp-queue/answers") // another's, though of the same name
				for i := range 3 {
					client.ask("SEND\ndestination:/queue/service\nreply-to:/temp-queue/answers\ncorrelation-id:c %d\n\nquestion^@", i)
					m := service.message()
					require.NotContains(t, m.Header.Value("reply-to"), "/temp-queue/answers", "that would be the service's own")
					service.ask("SEND\ndestination:%s\ncorrelation-id:%s\n\nanswer %d^@", m.Header.Value("reply-to"), m.Header.Value("correlation-id"), i)
					service.ack(m)
					m = client.message()
					require.Equal(t, fmt.Sprintf("answer %d", i), string(m.Body))
					require.Equal(t, fmt.Sprintf("c %d", i), m.Header.Value("correlation-id"))
					require.Equal(t, "1", m.Header.Value("subscription"))
				}
				other.quiet()
				service.leave()
				client.leave()
			})
		}
	}
}

func TestTransactionalAnswers(t *testing.T) {
	g := startGateway(t, testConfig(t))
	service := dialLine(t, g, frame.V12)
	service.subscribe("1", "/queue/service", "ack:client")
	client := dialLine(t, g, frame.V12)
	client.subscribe("1", "/temp-topic/answers", "ack:client-individual", "prefetch-count:1")
	client.ask("SEND\ndestination:/queue/service\nreply-to:/temp-topic/answers\n\nquestion^@")
	m := service.message()
	service.ask("BEGIN\ntransaction:t\n\n^@")
	for i := range 3 {
		service.ask("SEND\ntransaction:t\ndestination:%s\n\n%d^@", m.Header.Value("reply-to"), i)
	}
	service.ask("SEND\ntransaction:t\ndestination:/queue/audit\n\ndone^@")
	service.ack(m, "transaction:t")
	client.quiet()
	service.ask("COMMIT\ntransaction:t\n\n^@")
	service.ask("SEND\ndestination:%s\n\n3^@", m.Header.Value("reply-to"))
	for i := range 4 {
		answer := client.message()
		require.Equal(t, fmt.Sprint(i), string(answer.Body))
		client.quiet()
		client.ack(answer)
	}
	service.leave()
	require.Empty(t, drain(t, g, "/queue/service"))
	require.Equal(t, "done", drain(t, g, "/queue/audit"))
}

func TestTemporaryDestinationsEndWithTheirConnection(t *testing.T) {
	g := startGateway(t, testConfig(t))
	peer := dialLine(t, g, frame.V12)
	peer.subscribe("1", "/queue/service")
	reply := func(client *line) string {
		client.ask("SEND\ndestination:/queue/service\nreply-to:/temp-queue/a\n\n^@")
		return peer.message().Header.Value("reply-to")
	}
	client := dialLine(t, g, frame.V12)
	client.subscribe("1", "/temp-queue/a")
	address := reply(client)
	peer.publish(address, "x")
	require.Equal(t, "x", client.bodies(1))

	thief := dialLine(t, g, frame.V12)
	thief.send("SUBSCRIBE\nid:1\ndestination:" + address + "\n\n^@")
	thief.refused("not your temporary destination")
	m, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "thief"})
	for _, filter := range []string{"$temp/#", "$temp/" + strings.TrimPrefix(address, "/remote-temp-queue/")} {
		reasons, err := m.Subscribe(within(t), packet.Filter{Topic: filter, QoS: 1})
		require.NoError(t, err)
		require.GreaterOrEqual(t, reasons[0], packet.UnspecifiedError, filter)
	}

	twice := dialLine(t, g, frame.V12)
	twice.subscribe("1", "/temp-queue/a")
	twice.send("SUBSCRIBE\nid:2\ndestination:/temp-queue/a\n\n^@")
	twice.refused("already has a subscription")

	client.ask("UNSUBSCRIBE\nid:1\n\n^@")
	client.subscribe("2", "/temp-queue/a")
	peer.publish(address, "y")
	require.Equal(t, "y", client.bodies(1))
	client.leave()
	peer.send("SEND\ndestination:" + address + "\nreceipt:r\n\n^@")
	peer.refused("no such temporary destination")
}

func TestRequestsCrossTheProtocols(t *testing.T) {
	g := startGateway(t, testConfig(t))
	t.Run("STOMP asks MQTT 5", func(t *testing.T) {
		service, questions := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "service"})
		_, err := service.Subscribe(within(t), packet.Filter{Topic: "service/mqtt", QoS: 1})
		require.NoError(t, err)
		client := dialLine(t, g, frame.V12)
		client.subscribe("1", "/temp-queue/answers")
		client.ask("SEND\ndestination:/topic/service.mqtt\nreply-to:/temp-queue/answers\ncorrelation-id:7\n\nquestion^@")
		p := next(t, questions).packet
		require.Equal(t, []byte("7"), p.Properties.CorrelationData)
		require.NoError(t, service.Publish(within(t), &packet.Publish{
			QoS: 1, Topic: p.Properties.ResponseTopic, Payload: []byte("answer"),
			Properties: packet.PublishProperties{CorrelationData: p.Properties.CorrelationData},
		}))
		m := client.message()
		require.Equal(t, "answer", string(m.Body))
		require.Equal(t, "7", m.Header.Value("correlation-id"))
		client.leave()
		require.Error(t, service.Publish(within(t), &packet.Publish{QoS: 1, Topic: p.Properties.ResponseTopic}), "nobody is there any more")
	})
	t.Run("MQTT 5 asks STOMP", func(t *testing.T) {
		binary := []byte{0, 255, ':', '\n'}
		client, answers := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "client"})
		_, err := client.Subscribe(within(t), packet.Filter{Topic: "answers/client", QoS: 1})
		require.NoError(t, err)
		for _, v := range stompVersions {
			service := dialLine(t, g, v)
			service.subscribe("1", "/queue/service.stomp")
			require.NoError(t, client.Publish(within(t), &packet.Publish{
				QoS: 1, Topic: "queue/service/stomp", Payload: []byte("question"),
				Properties: packet.PublishProperties{CorrelationData: binary, ResponseTopic: "answers/client"},
			}))
			m := service.message()
			require.Equal(t, "/topic/answers/client", m.Header.Value("reply-to"))
			require.Empty(t, m.Header.Value("correlation-id"))
			service.ask("SEND\ndestination:%s\ncorrelation-id-base64:%s\n\nanswer^@",
				m.Header.Value("reply-to"), m.Header.Value("correlation-id-base64"))
			answer := next(t, answers)
			require.Equal(t, "answer", string(answer.body))
			require.Equal(t, binary, answer.packet.Properties.CorrelationData)
			service.leave()
		}
	})
}

func TestSlowReceiverOfATemporaryDestinationIsNotFilledUp(t *testing.T) {
	g := startGateway(t, testConfig(t))
	client := dialLine(t, g, frame.V12)
	client.subscribe("1", "/temp-queue/a", "ack:client-individual", "prefetch-count:1")
	peer := dialLine(t, g, frame.V12)
	peer.subscribe("1", "/queue/service")
	client.ask("SEND\ndestination:/queue/service\nreply-to:/temp-queue/a\n\n^@")
	address := peer.message().Header.Value("reply-to")
	large := strings.Repeat("x", 8<<20)
	for range 5 { // one is with the client, four wait
		peer.publish(address, large)
	}
	peer.send("SEND\ndestination:" + address + "\nreceipt:r\n\n^@")
	peer.refused("temporary destination")
	for range 5 {
		client.ack(client.message())
	}
}
