package bridge_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func retained(topic, body string, qos packet.QoS) packet.Publish {
	return packet.Publish{Topic: topic, Payload: []byte(body), QoS: qos, Retain: true}
}

func TestR1RetainedMessageIsReplacedAndDeleted(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	live := dialWire(t, g, fresh("live"))
	live.subscribe(packet.Filter{Topic: "r", QoS: 2}, packet.Filter{Topic: "other", QoS: 0})
	for qos := range packet.QoS(3) {
		for i, body := range []string{"first", "second", ""} {
			publisher.publish(retained("r", body, qos))
			publisher.quiet()
			p := live.next()
			require.Equal(t, body, string(p.Payload), "an empty one is delivered, too")
			require.Equal(t, qos, p.QoS)
			require.False(t, p.Retain)

			late := dialWire(t, g, fresh(fmt.Sprintf("late-%d-%d", qos, i)))
			late.subscribe(packet.Filter{Topic: "r", QoS: 2})
			if body != "" {
				p := late.next()
				require.Equal(t, body, string(p.Payload))
				require.Equal(t, qos, p.QoS)
				require.True(t, p.Retain)
			}
			publisher.publish(text("r", "live", 1))
			require.Equal(t, "live", string(late.next().Payload), "nothing before it")
			require.Equal(t, "live", string(live.next().Payload))
			late.drop(g)
		}
	}
	publisher.publish(text("r", "not retained", 1))
	late := dialWire(t, g, fresh("late"))
	late.subscribe(packet.Filter{Topic: "r", QoS: 2})
	late.quiet()
}

func TestR2WildcardGetsAllRetained(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	topics := []string{"a", "a/b", "a/b/c", "a//c", "/a", "b/b", "$app/x"}
	for _, topic := range topics {
		publisher.publish(retained(topic, topic, 1))
	}
	tests := map[string][]string{
		"#":      {"a", "a/b", "a/b/c", "a//c", "/a", "b/b"},
		"a/#":    {"a", "a/b", "a/b/c", "a//c"},
		"+":      {"a"},
		"+/b":    {"a/b", "b/b"},
		"a/+/c":  {"a/b/c", "a//c"},
		"/+":     {"/a"},
		"$app/#": {"$app/x"},
		"c/#":    nil,
	}
	for filter, want := range tests {
		t.Run(filter, func(t *testing.T) {
			late := dialWire(t, g, fresh(""))
			late.subscribe(packet.Filter{Topic: filter, QoS: 1})
			require.ElementsMatch(t, want, append([]string(nil), late.bodies(len(want))...))
			publisher.publish(text("$sentinel", "end", 1))
			late.subscribe(packet.Filter{Topic: "$sentinel", QoS: 1})
			publisher.publish(text("$sentinel", "end", 1))
			require.Equal(t, "end", string(late.next().Payload))
		})
	}
}

// TestR2ManyRetainedMessagesReachASlowClient has more of them than one request
// of the core answers, and than may be on their way at once.
func TestR2ManyRetainedMessagesReachASlowClient(t *testing.T) {
	t.Parallel()
	const topics = 3000
	g := startGateway(t, testConfig(t))
	retainMany(t, g, topics)
	connect := fresh("slow")
	connect.ReceiveMaximum = 3
	slow := dialWire(t, g, connect)
	slow.subscribe(packet.Filter{Topic: "#", QoS: 1})
	seen := make(map[string]bool)
	for range topics {
		p := slow.next()
		require.True(t, p.Retain)
		require.False(t, seen[p.Topic], p.Topic)
		seen[p.Topic] = true
	}
	slow.publish(text("many/0", "live", 1))
	require.Equal(t, "live", string(slow.next().Payload))
}

// TestR2RetainedMessagesGoOnAfterReconnecting: what a SUBSCRIBE asked for is
// sent, though by several connections.
func TestR2RetainedMessagesGoOnAfterReconnecting(t *testing.T) {
	const topics = 700
	for _, how := range []string{"connection lost", "gateway ended", "gateway killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			retainMany(t, g, topics)
			connect := keep("resumes")
			connect.ReceiveMaximum = 3
			w := dialWire(t, g, connect)
			w.subscribe(packet.Filter{Topic: "many/+", QoS: 1})
			seen := make(map[string]bool)
			for len(seen) < 100 {
				seen[w.next().Topic] = true
			}
			switch how {
			case "connection lost":
				w.drop(g)
			case "gateway ended":
				g.stop()
				g = startGateway(t, cfg)
			case "gateway killed":
				w.drop(g)
				g = crash(t, &cfg)
			}
			w = dialWire(t, g, connect)
			for len(seen) < topics {
				p := w.next()
				require.True(t, p.Retain)
				require.True(t, !seen[p.Topic] || p.Dup, p.Topic)
				seen[p.Topic] = true
			}
			w.drop(g)
			w = dialWire(t, g, connect)
			w.quiet()
		})
	}
}

// retainMany has n retained messages, one each on the topics many/….
func retainMany(t *testing.T, g *gateway, n int) {
	t.Helper()
	publisher, _ := mqttClient(t, g, fresh("publisher"))
	var stored sync.WaitGroup
	for i := range n {
		stored.Add(1)
		p := retained(fmt.Sprintf("many/%d", i), strconv.Itoa(i), 1)
		require.NoError(t, publisher.PublishAsync(within(t), &p, func(err error) {
			assert.NoError(t, err)
			stored.Done()
		}))
	}
	stored.Wait()
}

// TestR2RetainedAndLiveAreSeenOnce subscribes while somebody publishes: the
// retained message and what follows it are one ascending series, which ends
// with the last value.
func TestR2RetainedAndLiveAreSeenOnce(t *testing.T) {
	t.Parallel()
	const subscribers, values = 25, 4000
	g := startGateway(t, testConfig(t))
	for _, qos := range []packet.QoS{0, 1} {
		publisher, _ := mqttClient(t, g, fresh(fmt.Sprintf("publisher-%d", qos)))
		topic := fmt.Sprintf("value/%d", qos)
		published := make(chan struct{})
		go func() {
			defer close(published)
			var stored sync.WaitGroup
			for i := range values {
				p := retained(topic, strconv.Itoa(i), 1)
				stored.Add(1)
				if publisher.PublishAsync(t.Context(), &p, func(error) { stored.Done() }) != nil {
					return
				}
			}
			stored.Wait()
		}()
		var series []<-chan received
		for i := range subscribers {
			c, messages := mqttClient(t, g, fresh(fmt.Sprintf("subscriber-%d-%d", qos, i)))
			_, err := c.Subscribe(within(t), packet.Filter{Topic: "value/+", QoS: qos, RetainAsPublished: i%2 == 0})
			require.NoError(t, err)
			series = append(series, messages)
		}
		<-published
		for _, messages := range series {
			last, first := -1, true
			for last != values-1 {
				m := next(t, messages)
				if m.name != topic {
					continue
				}
				value, err := strconv.Atoi(string(m.body))
				require.NoError(t, err)
				require.Greater(t, value, last)
				if !first {
					require.Equal(t, last+1, value, "nothing is missing after the first")
				}
				first, last = false, value
			}
		}
	}
}

func TestR3RetainHandling(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	publisher.publish(retained("r", "retained", 1))
	tests := map[packet.RetainHandling][]bool{ // at the first SUBSCRIBE, and at the second
		packet.RetainSend:      {true, true},
		packet.RetainSendIfNew: {true, false},
		packet.RetainIgnore:    {false, false},
	}
	for handling, sent := range tests {
		w := dialWire(t, g, fresh(""))
		for _, expected := range sent {
			w.subscribe(packet.Filter{Topic: "r", QoS: 1, RetainHandling: handling})
			if expected {
				require.Equal(t, "retained", string(w.next().Payload))
			}
			publisher.publish(text("r", "live", 1))
			require.Equal(t, "live", string(w.next().Payload))
		}
	}
}

func TestR4RetainedMessageExpires(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	p := retained("r", "short-lived", 1)
	p.Properties.MessageExpiry = seconds(2)
	publisher.publish(p)
	early := dialWire(t, g, fresh("early"))
	early.subscribe(packet.Filter{Topic: "r", QoS: 1})
	require.LessOrEqual(t, *early.next().Properties.MessageExpiry, *seconds(2))

	// A will that comes later than that.
	timer := fresh("timer")
	timer.SessionExpiry = seconds(60)
	timer.Will = &packet.Will{Topic: "later", QoS: 1, Delay: *seconds(3)}
	early.subscribe(packet.Filter{Topic: "later", QoS: 1})
	dialWire(t, g, timer).drop(g)
	require.Equal(t, "later", early.next().Topic)

	late := dialWire(t, g, fresh("late"))
	late.subscribe(packet.Filter{Topic: "r", QoS: 1})
	publisher.publish(text("r", "live", 1))
	require.Equal(t, "live", string(late.next().Payload))
}

func TestR5GroupGetsNothingRetained(t *testing.T) {
	g := startGateway(t, testConfig(t))
	publisher := dialWire(t, g, fresh("publisher"))
	publisher.publish(retained("r", "retained", 1))
	member := dialWire(t, g, fresh("member"))
	require.Equal(t, []packet.ReasonCode{1}, member.subscribe(packet.Filter{Topic: "$share/g/r", QoS: 1}))
	publisher.publish(text("r", "live", 1))
	require.Equal(t, "live", string(member.next().Payload))
}
