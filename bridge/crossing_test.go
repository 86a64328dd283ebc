package bridge_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// crossing is a client of each protocol, subscribed to one topic.
type crossing struct {
	*line
	mqtt   func(packet.PublishProperties, string)
	packet func() *packet.Publish
}

func newCrossing(t *testing.T, g *gateway, v frame.Version, topic string) *crossing {
	t.Helper()
	x := &crossing{line: dialLine(t, g, v)}
	x.subscribe("1", "/topic/"+topic)
	c, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x" + strings.ReplaceAll(t.Name(), "/", "-")})
	_, err := c.Subscribe(within(t), packet.Filter{Topic: topic, QoS: 1})
	require.NoError(t, err)
	x.packet = func() *packet.Publish { return next(t, messages).packet }
	x.mqtt = func(p packet.PublishProperties, body string) {
		require.NoError(t, c.Publish(within(t), &packet.Publish{QoS: 1, Topic: topic, Payload: []byte(body), Properties: p}))
	}
	return x
}

func users(pairs ...string) (list []packet.UserProperty) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, packet.UserProperty{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// fields returns those of a MESSAGE that no receiver has for itself.
func fields(m *frame.Frame) (list []string) {
	for _, h := range m.Header {
		switch h.Name {
		case "subscription", "message-id", "destination", "content-length", "timestamp", "qos", "persistent":
		default:
			list = append(list, h.Name+":"+h.Value)
		}
	}
	return list
}

func TestHeadersCrossTheGateway(t *testing.T) {
	g := startGateway(t, testConfig(t))
	x := newCrossing(t, g, frame.V12, "cross")
	one, plain, csv, empty := uint8(1), "text/plain", "text/csv; charset=utf-8", ""
	for _, tt := range []struct {
		name   string
		sent   string // lines of SEND
		stomp  []string
		packet packet.PublishProperties
	}{
		{"nothing", "", nil, packet.PublishProperties{}},
		{"an empty content-type", "content-type:\n", []string{"content-type:"}, packet.PublishProperties{ContentType: &empty}},
		{"text", "content-type:text/plain\n", []string{"content-type:text/plain"}, packet.PublishProperties{ContentType: &plain, PayloadFormat: &one}},
		{"a charset", `content-type:text/csv; charset=utf-8` + "\n", []string{"content-type:text/csv; charset=utf-8"}, packet.PublishProperties{ContentType: &csv, PayloadFormat: &one}},
		{"amq-msg-type", "amq-msg-type:text\n", []string{"amq-msg-type:text"}, packet.PublishProperties{PayloadFormat: &one, User: users("amq-msg-type", "text")}},
		{"amq-msg-type of bytes", "amq-msg-type:bytes\n", []string{"amq-msg-type:bytes"}, packet.PublishProperties{User: users("amq-msg-type", "bytes")}},
		{"reply-to and correlation-id", "reply-to:/topic/answers.1\ncorrelation-id:7\n", []string{"reply-to:/topic/answers/1", "correlation-id:7"}, packet.PublishProperties{ResponseTopic: "answers/1", CorrelationData: []byte("7")}},
		{"a reply-to that is somebody else's", "reply-to:amq.rabbitmq.reply\n", []string{"reply-to:amq.rabbitmq.reply"}, packet.PublishProperties{User: users("reply-to", "amq.rabbitmq.reply")}},
		{"a binary correlation", "correlation-id:lost\ncorrelation-id-base64:AP8=\n", []string{"correlation-id-base64:AP8="}, packet.PublishProperties{CorrelationData: []byte{0, 255}}},
		{"a message-id of the sender's", "message-id:m1\noriginal-message-id:m0\n", []string{"original-message-id:m1"}, packet.PublishProperties{User: users("original-message-id", "m1")}},
		{"a time of the sender's", "timestamp:12\n", nil, packet.PublishProperties{User: users("timestamp", "12")}},
		{"what ends at the server", "transaction:\nid:1\nack:2\nsubscription:3\nredelivered:true\ndelivery-count:9\nretained:true\nreceipt-id:4\norigin-client:boss\nkept:yes\n", []string{"kept:yes"}, packet.PublishProperties{User: users("kept", "yes")}},
		{"escapes", `a\cb:c\cd\\e` + "\n" + `lines:1\n2\r3` + "\n", []string{`a:b:c:d\e`, "lines:1\n2\r3"}, packet.PublishProperties{User: users("a:b", `c:d\e`, "lines", "%esc:1%0A2%0D3")}},
		{"bytes that are not UTF-8", "latin:\xe9t\xe9\n", []string{"latin:\xe9t\xe9"}, packet.PublishProperties{User: users("latin", "%esc:%E9t%E9")}},
		{"what looks escaped", "percent:100%25\nodd:%esc:%2\nsame:%esc:%0A\n", []string{"percent:100%25", "odd:%esc:%2", "same:%esc:%0A"}, packet.PublishProperties{User: users("percent", "100%25", "odd", "%esc:%25esc:%252", "same", "%esc:%25esc:%250A")}},
		{"blanks are kept", "blank: padded \n", []string{"blank: padded "}, packet.PublishProperties{User: users("blank", " padded ")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x.ask("SEND\ndestination:/topic/cross\n%s\nbody^@", tt.sent)
			m, p := x.message(), x.packet()
			require.Equal(t, tt.stomp, fields(m))
			require.Equal(t, tt.packet, p.Properties)
			if strings.Contains(tt.sent, "timestamp") {
				require.Equal(t, "12", m.Header.Value("timestamp"))
			}

			// And back, by an MQTT client that forwards what it got.
			x.mqtt(p.Properties, "back")
			again, p2 := x.message(), x.packet()
			if tt.name != "amq-msg-type" && tt.name != "what ends at the server" {
				require.Equal(t, tt.stomp, fields(again))
			}
			require.Equal(t, p.Properties, p2.Properties, "MQTT to MQTT nothing changes")
		})
	}
}

func TestS52HeadersKeepOrderAndDuplicates(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, v := range stompVersions {
		t.Run(v.String(), func(t *testing.T) {
			x := newCrossing(t, g, v, fmt.Sprintf("order/%d", v))
			x.ask("SEND\nz:1\ndestination:/topic/order.%d\na:1\nz:2\nm:1\na:1\n\nbody^@", v)
			require.Equal(t, []string{"z:1", "a:1", "z:2", "m:1", "a:1"}, fields(x.message()))
			p := x.packet()
			require.Equal(t, users("z", "1", "a", "1", "z", "2", "m", "1", "a", "1"), p.Properties.User)
			x.mqtt(p.Properties, "")
			require.Equal(t, []string{"z:1", "a:1", "z:2", "m:1", "a:1"}, fields(x.message()))
		})
	}
}

// forgeries are user properties that an MQTT client sends to pass for the
// server, or to have receivers that echo headers do something.
var forgeries = users(
	"destination", "/queue/evil", "message-id", "1", "subscription", "9", "ack", "1", "redelivered", "true",
	"delivery-count", "7", "retained", "true", "content-length", "1", "receipt", "r", "receipt-id", "r",
	"transaction", "t", "id", "1", "requeue", "false", "qos", "2", "persistent", "true", "expires", "1", "content-type", "x",
	"correlation-id", "1", "origin-client", "boss", "", "empty",
	"redelivered:", "true", " transaction", "t", "receipt\n", "r", "a\n\nbody", "x", "x\r\nERROR", "y", "colon:in:name", "z", "message-id\r", "1",
)

func TestForgedHeadersAreHarmless(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, v := range stompVersions {
		t.Run(v.String(), func(t *testing.T) {
			x := newCrossing(t, g, v, "forged")
			x.mqtt(packet.PublishProperties{User: forgeries}, "body")
			m := x.message()
			require.Equal(t, "body", string(m.Body))
			require.Equal(t, "/topic/forged", m.Header.Value("destination"))
			require.Equal(t, "1", m.Header.Value("subscription"))
			require.Equal(t, "4", m.Header.Value("content-length"))
			require.Equal(t, "1", m.Header.Value("qos"))
			for _, name := range []string{
				"ack", "redelivered", "delivery-count", "retained", "receipt", "receipt-id", "transaction", "id", "requeue",
				"expires", "content-type", "correlation-id", "origin-client",
			} {
				for _, h := range m.Header {
					require.NotEqual(t, name, strings.Trim(h.Name, " :\r\n\t"), "%q", h)
				}
			}
			for _, name := range []string{"user-transaction", "user-redelivered", "user-", "user-id"} {
				require.NotEmpty(t, m.Header.Value(name), name)
			}
			got := x.packet().Properties.User
			require.Len(t, got, len(forgeries))
			for i, u := range got {
				if !strings.HasPrefix(u.Name, "%esc:") { // it holds control characters
					require.Equal(t, forgeries[i], u, "MQTT clients get them as they are")
				}
			}
			x.publish("/topic/forged", "next")
			require.Equal(t, "next", x.bodies(1), "the frames after it are whole")
		})
	}
}

// The PHP extension sends all headers of a MESSAGE back in its ACK.
func TestQ3EchoedHeadersDoNoHarm(t *testing.T) {
	g := startGateway(t, testConfig(t))
	c, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "sender"})
	for _, v := range stompVersions {
		l := dialLine(t, g, v)
		l.subscribe("1", "/queue/echo", "ack:client")
		require.NoError(t, c.Publish(within(t), &packet.Publish{
			QoS: 1, Topic: "queue/echo", Properties: packet.PublishProperties{User: users("transaction", "t", "receipt", "r", "id", "3", "subscription", "4")},
		}))
		m := l.message()
		echo := string(frame.Append(nil, v, &frame.Frame{Command: frame.Ack, Header: m.Header}))
		l.send(echo)
		l.leave()
		require.Empty(t, drain(t, g, "/queue/echo"))
	}
}

func TestLongHeadersReachMQTT(t *testing.T) {
	g := startGateway(t, testConfig(t))
	x := newCrossing(t, g, frame.V12, "long")
	long := strings.Repeat("é", 40_000)
	x.ask("SEND\ndestination:/topic/long\nlong:%s\n\nbody^@", long)
	require.Equal(t, []string{"long:" + long}, fields(x.message()))
	p := x.packet()
	require.Equal(t, "body", string(p.Payload))
	require.True(t, strings.HasPrefix(p.Properties.User[0].Value, "%cut:éé"))

	x.ask("SEND\ndestination:/topic/long\ncorrelation-id:%s\n\nbody^@", long)
	require.Equal(t, []string{"correlation-id:" + long}, fields(x.message()))
	require.Equal(t, "body", string(x.packet().Payload), "a correlation that MQTT cannot carry does not cost the message")
}

func TestEveryByteValueCrosses(t *testing.T) {
	g := startGateway(t, testConfig(t))
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, v := range stompVersions {
		x := newCrossing(t, g, v, "bytes/"+strconv.Itoa(int(v)))
		x.send(fmt.Sprintf("SEND\ndestination:/topic/bytes/%d\ncontent-length:256\n\n", v) + string(all) + "^@")
		require.True(t, bytes.Equal(all, x.message().Body))
		require.True(t, bytes.Equal(all, x.packet().Payload))
		x.mqtt(packet.PublishProperties{}, string(all))
		require.True(t, bytes.Equal(all, x.message().Body))
	}
}

// A header may hold what no MQTT string can; strict clients hang up at one.
func TestControlCharactersBecomeLegalStrings(t *testing.T) {
	g := startGateway(t, testConfig(t))
	x := newCrossing(t, g, frame.V12, "control")
	for c := range 0x20 {
		if c == '\n' || c == '\r' {
			continue // they need an escape
		}
		x.send(fmt.Sprintf("SEND\ndestination:/topic/control\nv:a%cb\nn%cn:v\n\nbody^@", c, c))
		m := x.message()
		for _, u := range x.packet().Properties.User {
			for _, text := range []string{u.Name, u.Value} {
				require.Equal(t, -1, strings.IndexFunc(text, func(r rune) bool { return r < ' ' }), "%q", text)
			}
		}
		if c == 0 {
			require.Equal(t, "%esc:a%00b", m.Header.Value("v"), "NUL would end the frame for most clients")
		} else {
			require.Equal(t, "a"+string(rune(c))+"b", m.Header.Value("v"))
		}
	}
}

func TestMappingRulesOfTheUser(t *testing.T) {
	cfg := testConfig(t)
	cfg.Mapping = []mapping.Rule{
		{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set"},
		{STOMP: "/queue/telemetry", MQTT: "$share/telemetry/sensors/+/temp"},
		{STOMP: "/queue/jobs.{name...}", MQTT: "work/{name...}", Kind: "queue"},
	}
	g := startGateway(t, cfg)
	sensor, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "sensor"})
	_, err := sensor.Subscribe(within(t), packet.Filter{Topic: "sensors/7/set", QoS: 1})
	require.NoError(t, err)
	php := dialLine(t, g, frame.V10)
	php.publish("/queue/sensors.7.set", "on")
	require.Equal(t, "on", string(next(t, messages).body))

	workers := []*line{dialLine(t, g, frame.V10), dialLine(t, g, frame.V12)}
	for _, l := range workers {
		l.subscribe("1", "/queue/telemetry", "ack:client-individual", "prefetch-count:1")
	}
	for i := range 10 {
		require.NoError(t, sensor.Publish(within(t), &packet.Publish{QoS: 1, Topic: fmt.Sprintf("sensors/%d/temp", i), Payload: []byte("20")}))
	}
	seen := make(map[string]int)
	for range 5 {
		for _, l := range workers {
			m := l.message()
			seen[m.Header.Value("destination")]++
			l.ack(m)
		}
	}
	require.Len(t, seen, 10, "each went to one of them")
	php.send("SEND\ndestination:/queue/telemetry\n\n^@")
	php.refused("receive-only")

	job, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "job"})
	require.NoError(t, job.Publish(within(t), &packet.Publish{QoS: 1, Topic: "work/a/b", Payload: []byte("1")}))
	l := dialLine(t, g, frame.V12)
	l.publish("/queue/jobs.a.b", "2")
	require.Equal(t, "1 2", drain(t, g, "/queue/jobs.a.b"))
	l.publish("/queue/jobs.c", "3")
	l.subscribe("1", "/queue/jobs.*")
	require.Equal(t, "3", l.bodies(1))
}

func TestGroupsAreOneForBothProtocols(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	l.subscribe("1", "/topic/shared.*", "group:workers", "ack:client-individual", "prefetch-count:1")
	c, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "worker"})
	_, err := c.Subscribe(within(t), packet.Filter{Topic: "$share/workers/shared/+", QoS: 1})
	require.NoError(t, err)
	sender := dialLine(t, g, frame.V12)
	for i := range 10 {
		sender.publish("/topic/shared.x", strconv.Itoa(i))
	}
	seen := make(map[string]bool)
	m := l.message()
	seen[string(m.Body)] = true
	for range 9 { // STOMP's one place is taken
		seen[string(next(t, messages).body)] = true
	}
	require.Len(t, seen, 10)
	l.ack(m)
	l.leave()
	sender.publish("/topic/shared.x", "last")
	require.Equal(t, "last", string(next(t, messages).body))
}
