package bridge_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// TestE2ManySubscriptionsAreRestored has more of them than one record takes,
// made and ended faster than they are written, and kills the gateway.
func TestE2ManySubscriptionsAreRestored(t *testing.T) {
	const n = 1500
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	first := dialWire(t, g, keep("many"))
	subscribeMany(first, n)
	var ended []string
	for i := range n {
		if i%3 == 0 {
			ended = append(ended, fmt.Sprintf("many/%d", i))
		}
	}
	first.send(&packet.Unsubscribe{PacketID: first.nextID(), Filters: ended})
	require.Len(t, want[*packet.Unsuback](first).Reasons, len(ended))
	first.subscribe(packet.Filter{Topic: "many/1", QoS: 2}, packet.Filter{Topic: "many/0", QoS: 0})

	g = crash(t, &cfg)
	second := dialWire(t, g, keep("many"))
	require.True(t, second.connack.SessionPresent)
	publisher := dialWire(t, g, fresh("publisher"))
	var expected, got []string
	for i := range n {
		topic := fmt.Sprintf("many/%d", i)
		publisher.publish(text(topic, topic, 2))
		switch {
		case i < 2:
			expected = append(expected, fmt.Sprintf("%s at QoS %d", topic, 2*i))
		case i%3 != 0:
			expected = append(expected, topic+" at QoS 1")
		}
	}
	for range expected {
		p := second.next()
		got = append(got, fmt.Sprintf("%s at QoS %d", p.Payload, p.QoS))
	}
	require.ElementsMatch(t, expected, got)
	second.quiet()
}
