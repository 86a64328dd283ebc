package bridge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// TestB8GroupSharesMessages has three members of one group, one of another and
// a plain subscriber.
func TestB8GroupSharesMessages(t *testing.T) {
	const each = 300
	g := startGateway(t, testConfig(t))
	for _, qos := range []packet.QoS{0, 1} {
		for _, filter := range []string{"j/+", "j/#", "j/x"} {
			var members []<-chan received
			var clients []*mqtt.Client
			subscribe := func(filter string) <-chan received {
				c, messages := mqttClient(t, g, packet.Connect{CleanStart: true})
				reasons, err := c.Subscribe(within(t), packet.Filter{Topic: filter, QoS: qos})
				require.NoError(t, err)
				require.Equal(t, []packet.ReasonCode{packet.ReasonCode(qos)}, reasons)
				clients = append(clients, c)
				return messages
			}
			group := fmt.Sprintf("$share/g%d/", qos)
			for range 3 {
				members = append(members, subscribe(group+filter))
			}
			other, plain := subscribe("$share/other/"+filter), subscribe(filter)
			publisher, _ := mqttClient(t, g, fresh("publisher"))
			var want []string
			for i := range each {
				want = append(want, fmt.Sprint(i))
				p := text("j/x", fmt.Sprint(i), qos)
				require.NoError(t, publisher.Publish(within(t), &p))
			}
			var got []string
			for i := range each {
				require.Equal(t, want[i], string(next(t, plain).body))
				require.Equal(t, want[i], string(next(t, other).body), "%s at QoS %d", filter, qos)
			}
			counts := make([]int, len(members))
			for range each {
				select {
				case m := <-members[0]:
					counts[0], got = counts[0]+1, append(got, string(m.body))
				case m := <-members[1]:
					counts[1], got = counts[1]+1, append(got, string(m.body))
				case m := <-members[2]:
					counts[2], got = counts[2]+1, append(got, string(m.body))
				case <-within(t).Done():
					require.FailNow(t, "a message is missing", "%s at QoS %d: %v", filter, qos, counts)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			require.Equal(t, want, got)
			for _, n := range counts {
				require.Greater(t, n, each/6, "%s at QoS %d: %v", filter, qos, counts)
			}
			for _, c := range append(clients, publisher) {
				require.NoError(t, c.Close())
			}
		}
	}
}

func TestB8UnacknowledgedGoToAnotherMember(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, how := range []string{"is lost", "leaves", "unsubscribes"} {
		publisher := dialWire(t, g, fresh("publisher"))
		first := dialWire(t, g, fresh("first"))
		first.subscribe(packet.Filter{Topic: "$share/g/j", QoS: 1})
		for i := range 5 {
			publisher.publish(text("j", fmt.Sprint(i), 1))
		}
		for i := range 5 {
			require.Equal(t, fmt.Sprint(i), string(first.message().Payload), "alone, it gets all")
		}
		second := dialWire(t, g, fresh("second"))
		second.subscribe(packet.Filter{Topic: "$share/g/j", QoS: 1})
		second.quiet()
		switch how {
		case "is lost":
			first.drop(g)
		case "leaves":
			first.leave(g, packet.Disconnect{})
		case "unsubscribes":
			first.send(&packet.Unsubscribe{PacketID: 9, Filters: []string{"$share/g/j"}})
			want[*packet.Unsuback](first)
		}
		require.ElementsMatch(t, []string{"0", "1", "2", "3", "4"}, second.bodies(5), how)
		publisher.publish(text("j", "last", 1))
		require.Equal(t, "last", string(second.next().Payload))
		second.drop(g)
	}
}

// TestB8GroupKeepsMessagesOfAbsentMembers: a group lives as long as a session
// that subscribes to it, online or not.
func TestB8GroupKeepsMessagesOfAbsentMembers(t *testing.T) {
	for _, how := range []string{"ended", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			g := startGateway(t, cfg)
			filter := packet.Filter{Topic: "$share/g/j/#", QoS: 1}
			member := dialWire(t, g, keep("member"))
			member.subscribe(filter)
			guest := dialWire(t, g, fresh("guest"))
			guest.subscribe(filter, packet.Filter{Topic: "$share/guests/j/#", QoS: 1})
			member.drop(g)
			publisher := dialWire(t, g, fresh("publisher"))
			publisher.publish(text("j/0", "for the guest", 1))
			require.Equal(t, []string{"for the guest", "for the guest"}, guest.bodies(2))
			guest.send(&packet.Unsubscribe{PacketID: guest.nextID(), Filters: []string{filter.Topic}})
			want[*packet.Unsuback](guest)
			publisher.publish(text("j/0", "QoS 0 finds nobody", 0))
			publisher.publish(text("j/1", "1", 1))
			publisher.publish(text("j/2", "2", 1))
			if how == "ended" {
				g.stop()
				g = startGateway(t, cfg)
			} else {
				g = crash(t, &cfg)
			}
			member = dialWire(t, g, keep("member"))
			require.Equal(t, []string{"1", "2"}, member.bodies(2))
			member.publish(text("j/3", "3", 1))
			require.Equal(t, "3", string(member.next().Payload))
			member.quiet()

			// What the guest was alone in is gone with it, and begins anew.
			guest = dialWire(t, g, fresh("guest"))
			guest.subscribe(packet.Filter{Topic: "$share/guests/j/#", QoS: 1})
			guest.publish(text("j/4", "4", 1))
			require.Equal(t, "4", string(guest.next().Payload))
			member.leave(g, packet.Disconnect{SessionExpiry: seconds(0)})
			guest.publish(text("j/5", "5", 1))
			require.Equal(t, "5", string(guest.next().Payload))
			member = dialWire(t, g, keep("member"))
			member.subscribe(filter)
			guest.publish(text("j/6", "6", 1))
			require.Equal(t, "6", string(member.next().Payload), "not what came while nobody was a member")
		})
	}
}

func TestB8QueueIsSharedWithSTOMP(t *testing.T) {
	const each = 200
	g := startGateway(t, testConfig(t))
	for _, filter := range []string{"$share/x/queue/work", "$queue/queue/work", "$share/y/queue/+"} {
		mqttShare, stompShare := 0, 0
		c, messages := mqttClient(t, g, fresh("worker"))
		reasons, err := c.Subscribe(within(t), packet.Filter{Topic: filter, QoS: 2})
		require.NoError(t, err)
		require.Equal(t, []packet.ReasonCode{1}, reasons)
		s := stompClient(t, g, frame.V12)
		frames := stompSubscribe(t, s, frame.Field{Name: "destination", Value: "/queue/work"})
		publisher := dialWire(t, g, fresh("publisher"))
		seen := make(map[string]int)
		// A wildcard joins a queue a moment after its first message.
		for i := 0; mqttShare+stompShare < each || mqttShare == 0 || stompShare == 0; i++ {
			require.Equal(t, packet.Success, publisher.publish(text("queue/work", fmt.Sprint(i), packet.QoS(1+i%2))))
			select {
			case m := <-messages:
				mqttShare++
				require.Equal(t, "queue/work", m.name)
				seen[string(m.body)]++
			case m := <-frames:
				stompShare++
				require.Equal(t, "/queue/work", m.name)
				seen[string(m.body)]++
			case <-time.After(patience):
				require.FailNow(t, "a message is missing", "%s: %d and %d", filter, mqttShare, stompShare)
			}
		}
		require.Len(t, seen, mqttShare+stompShare)
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		publisher.drop(g)
	}
}

func TestB8TapWatchesQueues(t *testing.T) {
	g := startGateway(t, testConfig(t))
	tap := dialWire(t, g, keep("tap"))
	require.Equal(t, []packet.ReasonCode{0, 1}, tap.subscribe(packet.Filter{Topic: "queue/work", QoS: 1}, packet.Filter{Topic: "#", QoS: 1}))
	publisher := dialWire(t, g, fresh("publisher"))
	for i := range 3 {
		publisher.publish(packet.Publish{Topic: "queue/work", Payload: []byte(fmt.Sprint(i)), QoS: 1, Retain: true})
		p := tap.next()
		require.Equal(t, fmt.Sprint(i), string(p.Payload))
		require.Equal(t, packet.QoS(0), p.QoS)
		require.False(t, p.Retain)
	}
	tap.quiet() // one copy of each, though two filters match
	tap.drop(g)
	publisher.publish(text("queue/work", "3", 1))
	tap = dialWire(t, g, keep("tap"))
	tap.quiet() // copies while connected
	worker := dialWire(t, g, fresh("worker"))
	worker.subscribe(packet.Filter{Topic: "$share/g/queue/work", QoS: 1})
	require.Equal(t, []string{"0", "1", "2", "3"}, worker.bodies(4), "nothing was consumed")
	late := dialWire(t, g, fresh("late"))
	late.subscribe(packet.Filter{Topic: "queue/work", QoS: 1})
	late.quiet() // RETAIN means nothing on queues
}
