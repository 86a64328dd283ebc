package bridge_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestP2DeliveredQoSIsTheLowerOne(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	for granted := range packet.QoS(3) {
		w := dialWire(t, g, fresh(""))
		require.Equal(t, []packet.ReasonCode{packet.ReasonCode(granted)}, w.subscribe(packet.Filter{Topic: "t", QoS: granted}))
		for published := range packet.QoS(3) {
			publisher.publish(text("t", "x", published))
			require.Equal(t, min(granted, published), w.next().QoS)
		}
		w.drop(g)
	}
}

func TestB1FiltersMatchWholeLevels(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	topics := []string{"a", "a/", "/a", "a/b", "a/b/c", "aa", "$a", "$a/b", "a/$b", "a b", "ä/ö", "a.b", "a*b/>", "a/=41"}
	tests := map[string][]string{
		"#":      {"a", "a/", "/a", "a/b", "a/b/c", "aa", "a/$b", "a b", "ä/ö", "a.b", "a*b/>", "a/=41"},
		"+":      {"a", "aa", "a b", "a.b"},
		"a/#":    {"a", "a/", "a/b", "a/b/c", "a/$b", "a/=41"},
		"a/+":    {"a/", "a/b", "a/$b", "a/=41"},
		"+/+":    {"a/", "/a", "a/b", "a/$b", "ä/ö", "a*b/>", "a/=41"},
		"+/b":    {"a/b"},
		"+/b/#":  {"a/b", "a/b/c"},
		"/#":     {"/a"},
		"$a":     {"$a"},
		"$a/#":   {"$a", "$a/b"},
		"$a/+":   {"$a/b"},
		"a/$b":   {"a/$b"},
		"a.b":    {"a.b"},
		"a*b/>":  {"a*b/>"},
		"a/=41":  {"a/=41"},
		"a/b/c/": nil,
	}
	clients := make(map[string]*wire)
	for filter := range tests {
		clients[filter] = dialWire(t, g, fresh(""))
		clients[filter].subscribe(packet.Filter{Topic: filter, QoS: 1}, packet.Filter{Topic: "the/very/end", QoS: 1})
	}
	for qos := range packet.QoS(2) {
		for _, topic := range topics {
			publisher.publish(text(topic, "x", qos))
		}
		publisher.publish(text("the/very/end", "x", qos))
		for filter, want := range tests {
			var got []string
			for p := clients[filter].next(); p.Topic != "the/very/end"; p = clients[filter].next() {
				got = append(got, p.Topic)
			}
			require.Equal(t, want, got, "%s at QoS %d", filter, qos)
		}
	}
}

func TestB3EveryFilterHasItsReason(t *testing.T) {
	g := startGateway(t, testConfig(t))
	long := strings.Repeat("x", 65_000)
	filters := []struct {
		filter packet.Filter
		reason packet.ReasonCode
	}{
		{packet.Filter{Topic: "a", QoS: 2}, 2},
		{packet.Filter{Topic: "a/#/b", QoS: 2}, packet.TopicFilterInvalid},
		{packet.Filter{Topic: "b", QoS: 0}, 0},
		{packet.Filter{Topic: "a+", QoS: 1}, packet.TopicFilterInvalid},
		{packet.Filter{Topic: "$share/g/t", QoS: 2}, 1},
		{packet.Filter{Topic: "$share/g", QoS: 1}, packet.TopicFilterInvalid},
		{packet.Filter{Topic: "$share//t", QoS: 1}, packet.TopicFilterInvalid},
		{packet.Filter{Topic: "$share/+/t", QoS: 1}, packet.TopicFilterInvalid},
		{packet.Filter{Topic: "queue/tapped/#", QoS: 2}, 0},
		{packet.Filter{Topic: "$share/g/queue/x", QoS: 2}, 1},
		{packet.Filter{Topic: "$queue/queue/y", QoS: 2}, 1},
		{packet.Filter{Topic: long, QoS: 1}, packet.QuotaExceeded},
		{packet.Filter{Topic: "$share/g/" + long, QoS: 1}, packet.QuotaExceeded},
		{packet.Filter{Topic: "$temp/gateway/0123456789abcdef01234567/replies", QoS: 1}, packet.NotAuthorized},
		{packet.Filter{Topic: "$temp/+/+/+", QoS: 1}, packet.NotAuthorized},
		{packet.Filter{Topic: "$temp/#", QoS: 0}, packet.NotAuthorized},
		{packet.Filter{Topic: "$share/g/$temp/#", QoS: 1}, packet.NotAuthorized},
		{packet.Filter{Topic: "$queue/$temp/a/b/c", QoS: 1}, packet.NotAuthorized},
		{packet.Filter{Topic: "c", QoS: 1}, 1},
	}
	for _, version := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		w := dialWire(t, g, packet.Connect{Version: version, ClientID: "asks", CleanStart: true})
		var ask []packet.Filter
		var want []packet.ReasonCode
		for _, f := range filters {
			if version != packet.V5 && f.reason >= packet.UnspecifiedError {
				if version == packet.V31 {
					continue // 3.1 has no way to say so
				}
				f.reason = packet.UnspecifiedError
			}
			ask, want = append(ask, f.filter), append(want, f.reason)
		}
		require.Equal(t, want, w.subscribe(ask...))
		w.publish(text("c", "in force", 1))
		require.Equal(t, "in force", string(w.next().Payload))
		w.publish(text("$SYS/x", "refused", 0))
		w.drop(g)
	}
}

func TestB4SubscribeReplaces(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	publisher.publish(retained("r", "retained", 2))
	for _, version := range []packet.Version{packet.V311, packet.V5} {
		w := dialWire(t, g, packet.Connect{Version: version, ClientID: "again", CleanStart: true})
		for _, qos := range []packet.QoS{0, 2, 1} {
			w.subscribe(packet.Filter{Topic: "r", QoS: qos})
			p := w.next()
			require.True(t, p.Retain)
			require.Equal(t, qos, p.QoS)
			publisher.publish(text("r", "live", 2))
			p = w.next()
			require.Equal(t, "live", string(p.Payload))
			require.Equal(t, qos, p.QoS)
			w.quiet()
		}
		w.drop(g)
	}
}

// TestB4ReplacingLosesNothing replaces a subscription while messages for it
// wait for the client's acknowledgements.
func TestB4ReplacingLosesNothing(t *testing.T) {
	g := startGateway(t, testConfig(t))
	connect := fresh("again")
	connect.ReceiveMaximum = 1
	w := dialWire(t, g, connect)
	w.subscribe(packet.Filter{Topic: "r", QoS: 1})
	publisher := dialWire(t, g, fresh("publisher"))
	for _, body := range []string{"1", "2", "3"} {
		publisher.publish(retained("r", body, 1))
	}
	first := w.message()
	w.subscribe(packet.Filter{Topic: "r", QoS: 1})
	w.settle(first)
	publisher.publish(text("r", "4", 1))
	live := []string{string(first.Payload)}
	for len(live) < 4 {
		if p := w.next(); !p.Retain {
			live = append(live, string(p.Payload))
		}
	}
	require.Equal(t, []string{"1", "2", "3", "4"}, live)
	w.quiet()
}

func TestB5OverlappingSubscriptionsGetOneCopy(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("overlaps"))
	for i, f := range []packet.Filter{{Topic: "o/#", QoS: 0}, {Topic: "o/+", QoS: 2}, {Topic: "o/x", QoS: 1}, {Topic: "other", QoS: 2}} {
		w.ask(&packet.Subscribe{PacketID: w.nextID(), Identifier: uint32(i + 1), Filters: []packet.Filter{f}})
	}
	publisher := dialWire(t, g, fresh("publisher"))
	for qos := range packet.QoS(3) {
		publisher.publish(text("o/x", "x", qos))
		p := w.next()
		require.Equal(t, qos, p.QoS)
		require.ElementsMatch(t, []uint32{1, 2, 3}, p.Properties.Identifiers)
		w.quiet()
	}
	w.ask(&packet.Subscribe{PacketID: w.nextID(), Filters: []packet.Filter{{Topic: "o/x", QoS: 0}}})
	w.send(&packet.Unsubscribe{PacketID: w.nextID(), Filters: []string{"o/+"}})
	want[*packet.Unsuback](w)
	publisher.publish(text("o/x", "x", 2))
	p := w.next()
	require.Equal(t, packet.QoS(0), p.QoS)
	require.Equal(t, []uint32{1}, p.Properties.Identifiers)
}

func TestB6NoLocal(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, keep("own"))
	w.subscribe(packet.Filter{Topic: "n/#", QoS: 1, NoLocal: true})
	other := dialWire(t, g, fresh("other"))
	w.publish(text("n/a", "own", 0))
	w.publish(text("n/a", "own", 1))
	other.publish(text("n/a", "another's", 1))
	require.Equal(t, "another's", string(w.next().Payload))

	// Nor after reconnecting, whether sent before or after.
	w.publish(retained("n/b", "own, retained", 1))
	w.drop(g)
	w = dialWire(t, g, keep("own"))
	w.publish(text("n/a", "own", 1))
	w.subscribe(packet.Filter{Topic: "n/#", QoS: 1, NoLocal: true})
	w.quiet()

	// A second subscription without No Local matches like any other.
	w.subscribe(packet.Filter{Topic: "n/a", QoS: 1})
	w.publish(text("n/a", "own", 1))
	require.Equal(t, "own", string(w.next().Payload))
	other.publish(text("n/b", "another's", 1))
	require.Equal(t, "another's", string(w.next().Payload))
}

func TestB6RetainAsPublished(t *testing.T) {
	g := startGateway(t, testConfig(t))
	as := dialWire(t, g, fresh("as"))
	as.subscribe(packet.Filter{Topic: "r", QoS: 1, RetainAsPublished: true})
	plain := dialWire(t, g, fresh("plain"))
	plain.subscribe(packet.Filter{Topic: "r", QoS: 1})
	publisher := dialWire(t, g, fresh("publisher"))
	for _, qos := range []packet.QoS{0, 1} {
		for _, p := range []packet.Publish{retained("r", "x", qos), text("r", "y", qos), retained("r", "", qos)} {
			publisher.publish(p)
			require.Equal(t, p.Retain, as.next().Retain)
			require.False(t, plain.next().Retain)
		}
	}
}

func TestB9UnsubscribedFilterIsGone(t *testing.T) {
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("leaves"))
	w.subscribe(packet.Filter{Topic: "a", QoS: 1}, packet.Filter{Topic: "$share/g/b", QoS: 1})
	w.send(&packet.Unsubscribe{PacketID: 8, Filters: []string{"a", "never", "$share/g/b", "a/#/b", "a"}})
	require.Equal(t, []packet.ReasonCode{
		packet.Success, packet.NoSubscriptionExisted, packet.Success, packet.TopicFilterInvalid, packet.NoSubscriptionExisted,
	}, want[*packet.Unsuback](w).Reasons)
	for _, qos := range []packet.QoS{0, 1} {
		w.publish(text("a", "x", qos))
		w.publish(text("b", "x", qos))
	}
	w.quiet()
}
