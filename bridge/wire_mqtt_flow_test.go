package bridge_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// publishMany publishes the numbers below n at QoS 1 and closes the channel it
// returns when all are stored. Whoever receives them notices a failure.
func publishMany(t *testing.T, g *gateway, topic string, n int) <-chan struct{} {
	t.Helper()
	publisher, _ := mqttClient(t, g, packet.Connect{CleanStart: true})
	published := make(chan struct{})
	go func() {
		defer close(published)
		var stored sync.WaitGroup
		for i := range n {
			p := text(topic, strconv.Itoa(i), 1)
			stored.Add(1)
			if publisher.PublishAsync(t.Context(), &p, func(error) { stored.Done() }) != nil {
				return
			}
		}
		stored.Wait()
	}()
	return published
}

// TestF1SlowSubscriberGetsAllInOrder has one subscriber that answers nothing
// until all is published, which is far more than what is kept for it in
// memory, and then goes on with a narrow window; another one keeps up.
func TestF1SlowSubscriberGetsAllInOrder(t *testing.T) {
	t.Parallel()
	const n = 20_000
	g := startGateway(t, testConfig(t))
	for _, qos := range []packet.QoS{1, 2} {
		connect := packet.Connect{CleanStart: true, ReceiveMaximum: 5}
		slow := dialWire(t, g, connect)
		slow.subscribe(packet.Filter{Topic: "n/+", QoS: qos})
		fast, messages := mqttClient(t, g, packet.Connect{CleanStart: true})
		_, err := fast.Subscribe(within(t), packet.Filter{Topic: "n/#", QoS: 1})
		require.NoError(t, err)
		<-publishMany(t, g, "n/x", n)
		for i := range n {
			require.Equal(t, strconv.Itoa(i), string(next(t, messages).body), "nobody holds the fast one up")
		}
		for i := range 5 {
			slow.waiting = append(slow.waiting, want[*packet.Publish](slow))
			require.Equal(t, strconv.Itoa(i), string(slow.waiting[i].Payload))
		}
		slow.send(&packet.Pingreq{})
		want[*packet.Pingresp](slow)
		require.Len(t, slow.waiting, 5, "its window")
		for i := range n {
			require.Equal(t, strconv.Itoa(i), string(slow.next().Payload))
		}
		slow.publish(text("n/y", "end", 1))
		require.Equal(t, "end", string(slow.next().Payload))
		slow.drop(g)
		require.NoError(t, fast.Close())
	}
}

// TestF1ReconnectsLoseNothing is the same with a session whose connection is
// lost again and again, while messages go on coming.
func TestF1ReconnectsLoseNothing(t *testing.T) {
	t.Parallel()
	const n = 20_000
	g := startGateway(t, testConfig(t))
	connect := keep("unsteady")
	connect.ReceiveMaximum = 5
	w := dialWire(t, g, connect)
	w.subscribe(packet.Filter{Topic: "n", QoS: 1})
	published := publishMany(t, g, "n", n)
	seen := 0
	for batch := 0; seen < n; batch++ {
		for range min(n-seen, 1+batch*97%3000) {
			p := w.next()
			value, err := strconv.Atoi(string(p.Payload))
			require.NoError(t, err)
			if value < seen {
				require.True(t, p.Dup, "only what was in flight comes again: %d after %d", value, seen)
				continue
			}
			require.Equal(t, seen, value)
			seen++
		}
		w.drop(g)
		w = dialWire(t, g, connect)
		require.True(t, w.connack.SessionPresent)
	}
	<-published
	w.send(&packet.Pingreq{})
	want[*packet.Pingresp](w)
	for _, p := range w.waiting {
		require.True(t, p.Dup, "what was in flight at the end")
	}
}

func TestF2SlowSubscriberAtQoS0LosesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	const n, size = 4000, 16 << 10
	g := startGateway(t, testConfig(t))
	slow := dialWire(t, g, fresh("slow"))
	slow.subscribe(packet.Filter{Topic: "n", QoS: 0}, packet.Filter{Topic: "end", QoS: 1})
	fast := dialWire(t, g, fresh("fast"))
	fast.subscribe(packet.Filter{Topic: "n", QoS: 1})
	publisher := dialWire(t, g, fresh("publisher"))
	body := make([]byte, size)
	for range n {
		publisher.publish(packet.Publish{Topic: "n", Payload: body, QoS: 1})
		require.Len(t, fast.next().Payload, size)
	}
	require.NotZero(t, g.bridge.Stats().Dropped)
	publisher.publish(text("end", "", 1))
	got := 0
	for p := slow.next(); p.Topic != "end"; p = slow.next() {
		got++
	}
	require.Equal(t, n, got+int(g.bridge.Stats().Dropped))
	slow.quiet()
}

func TestF1ClientThatExceedsReceiveMaximumIsDisconnected(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	w := dialWire(t, g, fresh("eager"))
	limit := int(w.connack.ReceiveMaximum)
	require.Equal(t, 100, limit)
	var packets []packet.Packet
	for i := range limit {
		packets = append(packets, &packet.Publish{Topic: "t", QoS: 2, PacketID: uint16(i + 1)})
	}
	w.send(packets...)
	for range limit {
		require.Equal(t, packet.Success, want[*packet.Pubrec](w).Reason)
	}
	w.send(&packet.Publish{Topic: "t", QoS: 2, PacketID: uint16(limit + 1)})
	require.Equal(t, packet.ReceiveMaximumExceeded, w.ended().Reason)
}
