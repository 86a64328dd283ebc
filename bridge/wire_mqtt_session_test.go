package bridge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestC4TakeOverEndsTheEarlierConnection(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, version := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		connect := keep("twin")
		connect.Version = version
		if version != packet.V5 {
			connect.SessionExpiry = nil
		}
		first := dialWire(t, g, connect)
		second := dialWire(t, g, connect)
		require.Equal(t, version != packet.V31, second.connack.SessionPresent)
		last := first.ended()
		if version == packet.V5 {
			require.Equal(t, packet.SessionTakenOver, last.Reason)
		} else {
			require.Nil(t, last)
		}
		second.quiet()
	}
}

func TestC4SessionBelongsToItsUser(t *testing.T) {
	g := startGateway(t, testConfig(t))
	as := func(user string) packet.Connect {
		connect := keep("owned")
		connect.Username, connect.Password = &user, []byte("secret")
		return connect
	}
	owner := dialWire(t, g, as("anna"))
	require.Equal(t, packet.NotAuthorized, openWire(t, g, as("bert")).connack.Reason, "while the owner is connected")
	owner.quiet()
	owner.drop(g)
	require.Equal(t, packet.NotAuthorized, openWire(t, g, as("bert")).connack.Reason, "while the session lives")
	clean := as("bert")
	clean.CleanStart = true
	require.Equal(t, packet.NotAuthorized, openWire(t, g, clean).connack.Reason, "nor may it be discarded")

	owner = dialWire(t, g, as("anna"))
	require.True(t, owner.connack.SessionPresent)
	owner.leave(g, packet.Disconnect{SessionExpiry: seconds(0)})
	require.False(t, dialWire(t, g, as("bert")).connack.SessionPresent, "after its end the name is free")
}

func TestE1SessionLivesAsLongAsItWasAskedTo(t *testing.T) {
	g := startGateway(t, testConfig(t))
	tests := []struct {
		name    string
		first   packet.Connect
		last    packet.Disconnect
		second  packet.Connect
		present bool
	}{
		{"an hour", packet.Connect{SessionExpiry: new(time.Hour)}, packet.Disconnect{}, packet.Connect{SessionExpiry: new(time.Hour)}, true},
		{"for ever", packet.Connect{SessionExpiry: new(packet.Forever)}, packet.Disconnect{}, packet.Connect{}, true},
		{"none", packet.Connect{}, packet.Disconnect{}, packet.Connect{SessionExpiry: new(time.Hour)}, false},
		{"an hour, none at DISCONNECT", packet.Connect{SessionExpiry: new(time.Hour)}, packet.Disconnect{SessionExpiry: seconds(0)}, packet.Connect{}, false},
		{"a second, an hour at DISCONNECT", packet.Connect{SessionExpiry: seconds(1)}, packet.Disconnect{SessionExpiry: new(time.Hour)}, packet.Connect{}, true},
		{"an hour, then a clean start", packet.Connect{SessionExpiry: new(time.Hour)}, packet.Disconnect{}, packet.Connect{CleanStart: true, SessionExpiry: new(time.Hour)}, false},
		{"3.1.1 without clean session", packet.Connect{Version: packet.V311}, packet.Disconnect{}, packet.Connect{Version: packet.V311}, true},
		{"3.1.1 with clean session", packet.Connect{Version: packet.V311, CleanStart: true}, packet.Disconnect{}, packet.Connect{Version: packet.V311}, false},
		{"3.1.1, then clean session", packet.Connect{Version: packet.V311}, packet.Disconnect{}, packet.Connect{Version: packet.V311, CleanStart: true}, false},
		{"3.1.1, then 5.0", packet.Connect{Version: packet.V311}, packet.Disconnect{}, packet.Connect{SessionExpiry: new(time.Hour)}, true},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.first.ClientID = fmt.Sprintf("lives-%d", i)
			test.second.ClientID = test.first.ClientID
			first := dialWire(t, g, test.first)
			require.False(t, first.connack.SessionPresent)
			require.Equal(t, []packet.ReasonCode{1}, first.subscribe(packet.Filter{Topic: test.first.ClientID, QoS: 1}))
			first.leave(g, test.last)

			second := dialWire(t, g, test.second)
			require.Equal(t, test.present, second.connack.SessionPresent)
			publisher := dialWire(t, g, fresh(""))
			publisher.publish(text(test.first.ClientID, "hello", 1))
			if test.present {
				require.Equal(t, "hello", string(second.next().Payload))
			}
			second.quiet()

			if test.second.SessionExpiry == nil && test.second.Version != packet.V311 { // it ends with this connection
				second.drop(g)
				require.False(t, dialWire(t, g, test.second).connack.SessionPresent)
			}
		})
	}
}

func TestE1ExpiredSessionIsForgotten(t *testing.T) {
	t.Parallel()
	g := startGateway(t, testConfig(t))
	watcher := dialWire(t, g, fresh("watcher"))
	watcher.subscribe(packet.Filter{Topic: "gone", QoS: 1})
	// The will, whose delay is longer, is published when the session ends.
	connect := keep("short")
	connect.SessionExpiry = seconds(1)
	connect.Will = &packet.Will{Topic: "gone", Payload: []byte("expired"), QoS: 1, Delay: time.Hour}
	first := dialWire(t, g, connect)
	first.subscribe(packet.Filter{Topic: "a", QoS: 1})
	first.drop(g)
	require.Equal(t, "expired", string(watcher.next().Payload))

	second := dialWire(t, g, connect)
	require.False(t, second.connack.SessionPresent)
	watcher.publish(text("a", "not for the new session", 1))
	second.quiet()
	watcher.quiet()
}

func TestE2SubscriptionsAreRestored(t *testing.T) {
	g := startGateway(t, testConfig(t))
	first := dialWire(t, g, keep("restored"))
	first.ask(&packet.Subscribe{PacketID: 1, Identifier: 7, Filters: []packet.Filter{{Topic: "kept/+", QoS: 1, RetainAsPublished: true}}})
	first.subscribe(packet.Filter{Topic: "kept/not", QoS: 2}, packet.Filter{Topic: "own", QoS: 1, NoLocal: true})
	first.send(&packet.Unsubscribe{PacketID: 9, Filters: []string{"kept/not"}})
	require.Equal(t, []packet.ReasonCode{packet.Success}, want[*packet.Unsuback](first).Reasons)
	first.drop(g)

	publisher := dialWire(t, g, fresh("publisher"))
	publisher.publish(packet.Publish{Topic: "kept/a", Payload: []byte("1"), QoS: 2, Retain: true})
	publisher.publish(text("kept/not", "2", 2))
	second := dialWire(t, g, keep("restored"))
	for _, body := range []string{"1", "2"} {
		p := second.next()
		require.Equal(t, body, string(p.Payload))
		require.Equal(t, packet.QoS(1), p.QoS)
		require.Equal(t, []uint32{7}, p.Properties.Identifiers)
		require.Equal(t, body == "1", p.Retain)
	}
	second.publish(text("own", "not local", 1))
	second.quiet()
}

// TestE2SessionSurvivesTheGateway has messages for a session that is offline,
// and ends the gateway, properly or not.
func TestE2SessionSurvivesTheGateway(t *testing.T) {
	const offline = 300
	for _, how := range []string{"ended", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			first := dialWire(t, g, keep("survivor"))
			first.subscribe(packet.Filter{Topic: "s/#", QoS: 2}, packet.Filter{Topic: "s/1", QoS: 1})
			first.drop(g)
			publisher := dialWire(t, g, fresh("publisher"))
			publisher.publish(packet.Publish{Topic: "r", Payload: []byte("retained"), QoS: 1, Retain: true})
			for i := range offline {
				publisher.publish(text(fmt.Sprintf("s/%d", i%3), fmt.Sprint(i), packet.QoS(1+i%2)))
			}
			publisher.publish(text("s/0", "QoS 0 is not kept", 0))
			publisher.quiet()

			if how == "ended" {
				g.stop()
				g = startGateway(t, cfg)
			} else {
				g = crash(t, &cfg)
			}
			second := dialWire(t, g, keep("survivor"))
			require.True(t, second.connack.SessionPresent)
			for i := range offline {
				p := second.next()
				require.Equal(t, fmt.Sprint(i), string(p.Payload))
				require.Equal(t, packet.QoS(1+i%2), p.QoS)
				require.False(t, p.Dup)
			}
			second.quiet()
			second.subscribe(packet.Filter{Topic: "r", QoS: 1})
			require.Equal(t, "retained", string(second.next().Payload))
		})
	}
}

// TestE4RedeliveryKeepsOrderAndIdentifiers leaves deliveries unanswered, and
// ends the connection, or the gateway as well.
func TestE4RedeliveryKeepsOrderAndIdentifiers(t *testing.T) {
	for _, how := range []string{"connection lost", "gateway ended", "gateway killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			connect := keep("redelivered")
			connect.ReceiveMaximum = 4
			first := dialWire(t, g, connect)
			first.subscribe(packet.Filter{Topic: "t", QoS: 2})
			publisher := dialWire(t, g, fresh("publisher"))
			for i := range 8 {
				publisher.publish(text("t", fmt.Sprint(i), packet.QoS(1+i%2)))
			}
			var sent []*packet.Publish
			for range 4 {
				sent = append(sent, first.message())
			}
			// The third, at QoS 1, is settled; then comes the fifth.
			first.send(&packet.Puback{Answer: packet.Answer{PacketID: sent[2].PacketID}})
			sent = append(sent[:2], sent[3], first.message())
			switch how {
			case "connection lost":
				first.drop(g)
			case "gateway ended":
				g.stop()
				g = startGateway(t, cfg)
			case "gateway killed":
				first.drop(g) // that it was written is what a crash may not change
				g = crash(t, &cfg)
			}
			second := dialWire(t, g, connect)
			require.True(t, second.connack.SessionPresent)
			var again []*packet.Publish
			for range 4 {
				again = append(again, second.message())
			}
			for i, p := range again {
				require.Equal(t, sent[i].Payload, p.Payload)
				require.Equal(t, sent[i].PacketID, p.PacketID)
				require.True(t, p.Dup)
			}
			second.quiet()
			for _, p := range again {
				second.settle(p)
			}
			require.Equal(t, []string{"5", "6", "7"}, second.bodies(3))
			second.quiet()
		})
	}
}

func TestE4QoS2GoesOnWhereItWas(t *testing.T) {
	for _, how := range []string{"connection lost", "gateway killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			first := dialWire(t, g, keep("exact"))
			first.subscribe(packet.Filter{Topic: "t", QoS: 2})
			publisher := dialWire(t, g, fresh("publisher"))
			publisher.publish(text("t", "received", 2))
			publisher.publish(text("t", "complete", 2))
			publisher.publish(text("t", "sent", 2))
			received := first.message()
			complete := first.message()
			sent := first.message()
			first.settle(complete)
			first.send(&packet.Pubrec{Answer: packet.Answer{PacketID: received.PacketID}})
			require.Equal(t, received.PacketID, want[*packet.Pubrel](first).PacketID)
			if how == "gateway killed" {
				g = crash(t, &cfg) // with the connection as it is
			} else {
				first.drop(g)
			}

			second := dialWire(t, g, keep("exact"))
			released := map[uint16]bool{}
			var p *packet.Publish
			for p == nil {
				switch in := second.read().(type) {
				case *packet.Pubrel:
					released[in.PacketID] = true
					second.send(&packet.Pubcomp{Answer: packet.Answer{PacketID: in.PacketID}})
				case *packet.Publish:
					p = in
				}
			}
			require.True(t, released[received.PacketID], "PUBREL is repeated, the message is not")
			require.Equal(t, "sent", string(p.Payload))
			require.Equal(t, sent.PacketID, p.PacketID)
			second.settle(p)
			second.quiet()
		})
	}
}

func TestE2UnfinishedPublishAtQoS2IsNotRepeated(t *testing.T) {
	for _, how := range []string{"connection lost", "gateway killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			publisher := dialWire(t, g, keep("exact"))
			watcher := dialWire(t, g, keep("watcher"))
			watcher.subscribe(packet.Filter{Topic: "t", QoS: 2})
			once := packet.Publish{Topic: "t", Payload: []byte("once"), QoS: 2, PacketID: 10}
			publisher.send(&once)
			require.Equal(t, packet.Success, want[*packet.Pubrec](publisher).Reason)
			if how == "gateway killed" {
				g = crash(t, &cfg)
			} else {
				publisher.drop(g)
				watcher.drop(g)
			}

			publisher = dialWire(t, g, keep("exact"))
			require.True(t, publisher.connack.SessionPresent)
			once.Dup = true
			publisher.send(&once)
			require.Equal(t, packet.Success, want[*packet.Pubrec](publisher).Reason)
			publisher.send(&packet.Pubrel{Answer: packet.Answer{PacketID: 10}})
			require.Equal(t, packet.Success, want[*packet.Pubcomp](publisher).Reason)
			// The identifier is free, also for a gateway that dies now.
			if how == "gateway killed" {
				g = crash(t, &cfg)
				publisher = dialWire(t, g, keep("exact"))
			}
			publisher.send(&packet.Publish{Topic: "t", Payload: []byte("another"), QoS: 2, PacketID: 10})
			require.Equal(t, packet.Success, want[*packet.Pubrec](publisher).Reason)

			watcher = dialWire(t, g, keep("watcher"))
			require.Equal(t, []string{"once", "another"}, watcher.bodies(2))
			watcher.quiet()
		})
	}
}
