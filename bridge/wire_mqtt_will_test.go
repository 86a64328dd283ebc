package bridge_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// willed is a CONNECT with a will.
func willed(client string, expiry int, will packet.Will) packet.Connect {
	connect := packet.Connect{ClientID: client, Will: &will}
	if expiry > 0 {
		connect.SessionExpiry = seconds(expiry)
	}
	return connect
}

func TestW1WillIsPublishedWhenItMust(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	watcher := dialWire(t, g, fresh("watcher"))
	watcher.subscribe(packet.Filter{Topic: "will/+", QoS: 2})
	frames := stompSubscribe(t, stompClient(t, g, frame.V12), frame.Field{Name: "destination", Value: "/topic/will.*"})
	tests := []struct {
		name    string
		version packet.Version
		end     func(*wire)
		sent    bool
	}{
		{"the connection is lost", packet.V5, func(w *wire) { w.drop(g) }, true},
		{"the connection of 3.1.1 is lost", packet.V311, func(w *wire) { w.drop(g) }, true},
		{"DISCONNECT", packet.V5, func(w *wire) { w.leave(g, packet.Disconnect{}) }, false},
		{"DISCONNECT of 3.1.1", packet.V311, func(w *wire) { w.leave(g, packet.Disconnect{}) }, false},
		{"DISCONNECT with will", packet.V5, func(w *wire) { w.leave(g, packet.Disconnect{Reason: packet.DisconnectWithWill}) }, true},
		{"the client breaks the rules", packet.V5, func(w *wire) { w.gone(g, func() { w.send(&packet.Connect{Version: packet.V5}) }) }, true},
		{"keep alive", packet.V5, func(w *wire) { w.gone(g, func() {}) }, true},
	}
	for qos := range packet.QoS(3) {
		for _, test := range tests {
			if test.name == "keep alive" && qos != 1 {
				continue
			}
			connect := willed("dying", 0, packet.Will{Topic: "will/t", Payload: []byte(test.name), QoS: qos})
			connect.Version, connect.CleanStart, connect.KeepAlive = test.version, true, time.Second
			test.end(dialWire(t, g, connect))
			if test.sent {
				p := watcher.next()
				require.Equal(t, test.name, string(p.Payload))
				require.Equal(t, qos, p.QoS)
				m := next(t, frames)
				require.Equal(t, test.name, string(m.body))
				require.Equal(t, "/topic/will/t", m.name)
			}
			watcher.quiet()
		}
	}
	none(t, frames)

	retained := willed("dying", 0, packet.Will{Topic: "will/retained", Payload: []byte("still here"), QoS: 1, Retain: true})
	dialWire(t, g, retained).drop(g)
	require.Equal(t, "still here", string(watcher.next().Payload))
	late := dialWire(t, g, fresh("late"))
	late.subscribe(packet.Filter{Topic: "will/retained", QoS: 1})
	require.True(t, late.next().Retain)
}

func TestW2DelayedWill(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	watcher := dialWire(t, g, fresh("watcher"))
	watcher.subscribe(packet.Filter{Topic: "will", QoS: 1})
	will := func(body string, delay int) packet.Will {
		return packet.Will{Topic: "will", Payload: []byte(body), QoS: 1, Delay: *seconds(delay)}
	}
	start := time.Now()
	cancelled := dialWire(t, g, willed("cancelled", 60, will("cancelled", 1)))
	cancelled.drop(g)
	dialWire(t, g, willed("delayed", 60, will("delayed", 2))).drop(g)
	dialWire(t, g, willed("expired", 1, will("expired", 60))).drop(g)
	dialWire(t, g, willed("at once", 0, will("at once", 60))).drop(g)
	require.Equal(t, "at once", string(watcher.next().Payload), "the session ends with its connection")
	back := dialWire(t, g, willed("cancelled", 60, will("cancelled", 1)))
	require.True(t, back.connack.SessionPresent)

	require.Equal(t, "expired", string(watcher.next().Payload))
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.Equal(t, "delayed", string(watcher.next().Payload))
	require.GreaterOrEqual(t, time.Since(start), 2*time.Second)
	back.leave(g, packet.Disconnect{})
	watcher.quiet()

	// A clean start ends the session, and that is when the will is due.
	dialWire(t, g, willed("restarted", 60, will("restarted", 60))).drop(g)
	restarted := willed("restarted", 60, will("restarted again", 60))
	restarted.CleanStart = true
	again := dialWire(t, g, restarted)
	require.Equal(t, "restarted", string(watcher.next().Payload))
	again.leave(g, packet.Disconnect{Reason: packet.DisconnectWithWill, SessionExpiry: seconds(0)})
	require.Equal(t, "restarted again", string(watcher.next().Payload))
}

func TestW2WillCarriesItsProperties(t *testing.T) {
	g := startGateway(t, testConfig(t))
	watcher := dialWire(t, g, fresh("watcher"))
	watcher.subscribe(packet.Filter{Topic: "will", QoS: 1})
	properties := packet.PublishProperties{
		PayloadFormat: new(uint8(1)), MessageExpiry: seconds(60), ContentType: new("text/plain"), ResponseTopic: "answers/42",
		CorrelationData: []byte{0, 0xff}, User: []packet.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "3"}},
	}
	dialWire(t, g, willed("dying", 0, packet.Will{Topic: "will", Payload: []byte("bye"), QoS: 1, Properties: properties})).drop(g)
	got := watcher.next().Properties
	require.InDelta(t, *seconds(60), *got.MessageExpiry, float64(*seconds(2)))
	got.MessageExpiry = properties.MessageExpiry
	require.Equal(t, properties, got)
}

func TestW3WillOfATakenOverConnection(t *testing.T) {
	g := startGateway(t, testConfig(t))
	watcher := dialWire(t, g, fresh("watcher"))
	watcher.subscribe(packet.Filter{Topic: "will", QoS: 1})
	dialWire(t, g, willed("twin", 60, packet.Will{Topic: "will", Payload: []byte("first"), QoS: 1}))
	dialWire(t, g, willed("twin", 60, packet.Will{Topic: "will", Payload: []byte("second"), QoS: 1, Delay: time.Minute}))
	require.Equal(t, "first", string(watcher.next().Payload))
	third := dialWire(t, g, willed("twin", 0, packet.Will{Topic: "will", Payload: []byte("third"), QoS: 1}))
	watcher.quiet() // the second is cancelled: its client came back in time
	third.drop(g)
	require.Equal(t, "third", string(watcher.next().Payload))
}

func TestW3WillsOutliveTheGateway(t *testing.T) {
	for _, how := range []string{"ended", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			watcher := dialWire(t, g, keep("watcher"))
			watcher.subscribe(packet.Filter{Topic: "will/#", QoS: 1})
			dialWire(t, g, willed("clean", 0, packet.Will{Topic: "will/a", Payload: []byte("clean"), QoS: 1}))
			dialWire(t, g, willed("kept", 60, packet.Will{Topic: "will/b", Payload: []byte("kept"), QoS: 1}))
			dialWire(t, g, willed("delayed", 60, packet.Will{Topic: "will/c", Payload: []byte("delayed"), QoS: 1, Delay: time.Second}))
			dialWire(t, g, willed("expiring", 1, packet.Will{Topic: "will/d", Payload: []byte("expiring"), QoS: 1, Delay: time.Minute}))
			if how == "ended" {
				g.stop()
				g = startGateway(t, cfg)
			} else {
				g = crash(t, &cfg)
			}
			watcher = dialWire(t, g, keep("watcher"))
			require.ElementsMatch(t, []string{"clean", "kept"}, watcher.bodies(2))
			require.ElementsMatch(t, []string{"delayed", "expiring"}, watcher.bodies(2))
			watcher.quiet()
		})
	}
}
