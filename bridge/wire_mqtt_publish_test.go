package bridge_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestP6TopicsOfTheServerAreRefused(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("intruder"))
	w.subscribe(packet.Filter{Topic: "$SYS/#", QoS: 1}, packet.Filter{Topic: "ok", QoS: 1})
	for _, topic := range []string{"$SYS/broker/load", "$share/g/t", "$queue/t"} {
		for qos := range packet.QoS(3) {
			p := text(topic, "forged", qos)
			if qos == 0 {
				w.publish(p)
			} else {
				require.Equal(t, packet.TopicNameInvalid, w.publish(p), topic)
			}
		}
	}
	require.Equal(t, packet.TopicNameInvalid, openWire(t, g, willed("w", 0, packet.Will{Topic: "$SYS/x"})).connack.Reason)
	w.publish(text("ok", "alive", 1))
	require.Equal(t, "alive", string(w.next().Payload))
}

func TestP6NamesThatAreTooLong(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("longwinded"))
	w.subscribe(packet.Filter{Topic: "#", QoS: 2})
	longest := strings.Repeat("x", 64_990)
	for qos := range packet.QoS(3) {
		w.publish(text(longest, "fits", qos))
		require.Equal(t, longest, w.next().Topic)
	}
	for _, topic := range []string{strings.Repeat("x", 65_535), strings.Repeat(" ", 40_000)} {
		require.Equal(t, packet.TopicNameInvalid, w.publish(text(topic, "x", 1)))
		require.Equal(t, packet.TopicNameInvalid, w.publish(text(topic, "x", 2)))
		require.Equal(t, packet.TopicNameInvalid, w.publish(retained(topic, "x", 1)))
		w.publish(text(topic, "x", 0))
	}
	old := dialWire(t, g, packet.Connect{Version: packet.V311, ClientID: "old", CleanStart: true})
	require.Equal(t, packet.Success, old.publish(text(strings.Repeat("x", 65_535), "x", 1)), "3.1.1 cannot say no")
	require.NoError(t, g.bridge.Ready())
	w.publish(text("short", "alive", 1))
	require.Equal(t, "alive", string(w.next().Payload))
	w.quiet()

	client := strings.Repeat("c", 65_000)
	dialWire(t, g, keep(client)).drop(g)
	require.True(t, dialWire(t, g, keep(client)).connack.SessionPresent, "client identifiers may be of any length")
}

func TestP10LargestMessagePasses(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, keep("big"))
	w.subscribe(packet.Filter{Topic: "big", QoS: 2})
	// The limit is on the packet: fixed header, topic, identifier, no properties.
	largest := bytes.Repeat([]byte("x"), 16<<20-5-5-2-1)
	for qos := range packet.QoS(3) {
		w.publish(packet.Publish{Topic: "big", Payload: largest, QoS: qos})
		require.True(t, bytes.Equal(largest, w.next().Payload))
	}
	w.publish(packet.Publish{Topic: "big", Payload: nil, QoS: 1})
	require.Empty(t, w.next().Payload)

	w.drop(g)
	publisher := dialWire(t, g, fresh("publisher"))
	publisher.publish(packet.Publish{Topic: "big", Payload: largest, QoS: 1})
	w = dialWire(t, g, keep("big"))
	require.True(t, bytes.Equal(largest, w.next().Payload), "also from the log")

	b, err := packet.Append(nil, packet.V5, &packet.Publish{Topic: "big", Payload: make([]byte, 16<<20), QoS: 1, PacketID: 1})
	require.NoError(t, err)
	go func() { _, _ = publisher.nc.Write(b) }()
	require.Equal(t, packet.PacketTooLarge, publisher.ended().Reason)
	w.quiet()
}

func TestV1PropertiesPassUnchanged(t *testing.T) {
	g := startGateway(t, testConfig(t))
	tests := map[string]packet.PublishProperties{
		"all": {
			PayloadFormat: new(uint8(1)), ContentType: new("application/json; charset=utf-8"),
			ResponseTopic: "answers/a b/|^%", CorrelationData: []byte{0, 1, 0xff, '|'},
			User: []packet.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: ""}, {Name: "", Value: "|^% =ä"}, {Name: "b", Value: "1"}},
		},
		"none":               {},
		"empty ones":         {ContentType: new(""), CorrelationData: []byte{}, User: []packet.UserProperty{{}}},
		"many":               {User: manyProperties(2000)},
		"those of STOMP":     {User: []packet.UserProperty{{Name: "destination", Value: "/queue/x"}, {Name: "message-id", Value: "7"}, {Name: "receipt", Value: "r"}}},
		"those of the core":  {User: []packet.UserProperty{{Name: "Nats-TTL", Value: "1"}, {Name: "Nats-Msg-Id", Value: "1"}, {Name: "Causeway", Value: "1|"}}},
		"a format of octets": {PayloadFormat: new(uint8(0))},
	}
	for name, properties := range tests {
		t.Run(name, func(t *testing.T) {
			w := dialWire(t, g, keep("properties"))
			w.subscribe(packet.Filter{Topic: "p", QoS: 2, RetainHandling: packet.RetainIgnore}, packet.Filter{Topic: "$share/g/p", QoS: 1})
			want := properties
			if f := want.PayloadFormat; f != nil && *f == 0 {
				want.PayloadFormat = nil // which says the same
			}
			for qos := range packet.QoS(3) {
				w.publish(packet.Publish{Topic: "p", Payload: []byte("21,5 °C"), QoS: qos, Retain: qos == 1, Properties: properties})
				for range 2 {
					require.Equal(t, want, w.next().Properties)
				}
			}
			w.drop(g)
			publisher := dialWire(t, g, fresh("publisher"))
			publisher.publish(packet.Publish{Topic: "p", Payload: []byte("offline"), QoS: 1, Properties: properties})
			w = dialWire(t, g, keep("properties"))
			for range 2 {
				require.Equal(t, want, w.next().Properties)
			}
			w.subscribe(packet.Filter{Topic: "p", QoS: 1})
			p := w.next()
			require.True(t, p.Retain)
			require.Equal(t, want, p.Properties)
			w.leave(g, packet.Disconnect{SessionExpiry: seconds(0)})
		})
	}
}

func manyProperties(n int) []packet.UserProperty {
	list := make([]packet.UserProperty, n)
	for i := range list {
		list[i] = packet.UserProperty{Name: "name", Value: strings.Repeat("v", i%60)}
	}
	return list
}

func TestV2PayloadThatIsNotUTF8IsRefused(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("liar"))
	w.subscribe(packet.Filter{Topic: "p", QoS: 1})
	p := packet.Publish{Topic: "p", Payload: []byte{0xff}, Properties: packet.PublishProperties{PayloadFormat: new(uint8(1))}}
	for qos := range packet.QoS(3) {
		p.QoS = qos
		if reason := w.publish(p); qos > 0 {
			require.Equal(t, packet.PayloadFormatInvalid, reason)
		}
	}
	w.quiet()
}

// TestV4ExpiryCountsDown lets two seconds pass while messages wait: for a
// session that is offline, for a window, as retained ones.
func TestV4ExpiryCountsDown(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	offline := dialWire(t, g, keep("offline"))
	offline.subscribe(packet.Filter{Topic: "e/#", QoS: 1})
	offline.drop(g)
	narrow := fresh("narrow")
	narrow.ReceiveMaximum = 1
	waiting := dialWire(t, g, narrow)
	waiting.subscribe(packet.Filter{Topic: "e/#", QoS: 1})

	publisher := dialWire(t, g, fresh("publisher"))
	publisher.subscribe(packet.Filter{Topic: "later", QoS: 1})
	start := time.Now()
	publish := func(topic string, expiry int) {
		p := retained(topic, topic, 1)
		p.Properties.MessageExpiry = seconds(expiry)
		publisher.publish(p)
	}
	publish("e/first", 60)
	publish("e/short", 1)
	publish("e/long", 60)
	first := waiting.message()
	require.Equal(t, "e/first", first.Topic)
	require.Equal(t, *seconds(60), *first.Properties.MessageExpiry)
	dialWire(t, g, willed("timer", 60, packet.Will{Topic: "later", QoS: 1, Delay: *seconds(2)})).drop(g)
	publisher.next()

	check := func(p *packet.Publish, topic string) {
		t.Helper()
		require.Equal(t, topic, p.Topic)
		passed := time.Since(start)
		require.LessOrEqual(t, *p.Properties.MessageExpiry, 60*time.Second-passed.Truncate(time.Second)+time.Second)
		require.Less(t, *p.Properties.MessageExpiry, 60*time.Second)
	}
	waiting.settle(first)
	check(waiting.next(), "e/long")
	waiting.quiet()
	offline = dialWire(t, g, keep("offline"))
	check(offline.next(), "e/first")
	check(offline.next(), "e/long")
	offline.quiet()
	late := dialWire(t, g, fresh("late"))
	late.subscribe(packet.Filter{Topic: "e/#", QoS: 1})
	check(late.next(), "e/first")
	check(late.next(), "e/long")
	publisher.publish(text("e/end", "", 1))
	require.Equal(t, "e/end", late.next().Topic)
	publisher.send(&packet.Publish{Topic: "e/zero", Properties: packet.PublishProperties{MessageExpiry: seconds(0)}})
	publisher.quiet()
	late.quiet()
}
