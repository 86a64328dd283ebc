package bridge_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// A copy at QoS 0 is settled when it is sent, but clients acknowledge it all
// the same; so they do with the oldest of too many.
func TestLateAcksOfTopics(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, v := range stompVersions {
		for _, mode := range []string{"client", "client-individual"} {
			t.Run(fmt.Sprintf("%v %s", v, mode), func(t *testing.T) {
				destination := "/topic/late." + mode
				l := dialLine(t, g, v)
				l.subscribe("1", destination, "ack:"+mode)
				l.ask("SEND\ndestination:%s\nqos:0\n\nlive^@", destination)
				l.ack(l.message())
				l.ask("SEND\ndestination:%s\nqos:0\n\nlive^@", destination)
				l.ask("BEGIN\ntransaction:t\n\n^@")
				l.ack(l.message(), "transaction:t")
				l.ask("COMMIT\ntransaction:t\n\n^@")

				const n = 1100
				for range n {
					l.send("SEND\ndestination:" + destination + "\n\nx^@")
				}
				first := l.message()
				for range n - 2 {
					l.message()
				}
				last := l.message()
				l.ack(first)
				l.ask("BEGIN\ntransaction:t\n\n^@")
				l.ack(first, "transaction:t")
				l.ask("COMMIT\ntransaction:t\n\n^@")
				l.ack(last)
				if mode == "client-individual" {
					l.send("ACK\nid:" + last.Header.Value("message-id") + "\n\n^@")
					l.refused("not awaiting one")
				} else {
					l.leave()
				}
			})
		}
	}
}

func TestWildcardsOnTopics(t *testing.T) {
	g := startGateway(t, testConfig(t))
	sender := dialLine(t, g, frame.V12)
	for i, tt := range []struct{ wildcard, matched string }{
		{"/topic/%s.*.t", "a/t b/t"},
		{"/topic/%s/+/t", "a/t b/t"},
		{"/topic/%s.a.*", "a/t a/u"},
		{"/topic/%s.>", ". a/t b/t a/u a/b/t"},
		{"/topic/%s/#", ". a/t b/t a/u a/b/t"},
		{"/topic/%s/%%2A/t", "%2A/t"},
	} {
		t.Run(tt.wildcard, func(t *testing.T) {
			root := fmt.Sprintf("wild%d", i)
			l := dialLine(t, g, frame.V12)
			l.subscribe("w", fmt.Sprintf(tt.wildcard, root))
			want := strings.Fields(tt.matched)
			sent := []string{".", "a/t", "b/t", "a/u", "a/b/t"}
			if want[0] == "%2A/t" {
				sent = append(sent, want[0])
			}
			for _, name := range sent {
				sender.publish("/topic/"+strings.TrimSuffix(root+"/"+name, "/."), name)
			}
			for _, name := range want {
				m := l.message()
				require.Equal(t, name, string(m.Body))
				require.Equal(t, "/topic/"+strings.TrimSuffix(root+"/"+name, "/."), m.Header.Value("destination"))
				require.Equal(t, "w", m.Header.Value("subscription"))
			}
			l.quiet()
		})
	}
}

func TestRetainedMessagesOverSTOMP(t *testing.T) {
	g := startGateway(t, testConfig(t))
	sender := dialLine(t, g, frame.V12)
	sender.ask("SEND\ndestination:/topic/state.door\nretain:true\nwho:me\n\nopen^@")
	sender.ask("SEND\ndestination:/topic/state.window\nretain:true\nqos:0\n\nshut^@")
	sensor, _ := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "sensor"})
	require.NoError(t, sensor.Publish(within(t), &packet.Publish{QoS: 1, Retain: true, Topic: "state/roof", Payload: []byte("wet")}))

	for _, v := range stompVersions {
		l := dialLine(t, g, v)
		l.subscribe("1", "/topic/state.*")
		got := make(map[string]string)
		for range 3 {
			m := l.message()
			require.Equal(t, "true", m.Header.Value("retained"))
			got[m.Header.Value("destination")] = string(m.Body)
		}
		require.Equal(t, map[string]string{"/topic/state.door": "open", "/topic/state.window": "shut", "/topic/state/roof": "wet"}, got)
		l.ask("SEND\ndestination:/topic/state.live\nretain:false\n\nnow^@")
		live := l.message()
		require.Equal(t, "now", string(live.Body))
		require.Empty(t, live.Header.Value("retained"))
		l.leave()
	}

	sender.ask("SEND\ndestination:/topic/state/roof\nretain:true\n\n^@")
	sender.ask("SEND\ndestination:/topic/state/window\nretain:true\nexpiration:1\n\nsoon gone^@")
	late, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "late"})
	eventually(t, func() bool {
		_, err := late.Subscribe(within(t), packet.Filter{Topic: "state/#", QoS: 1})
		require.NoError(t, err)
		require.NoError(t, late.Publish(within(t), &packet.Publish{QoS: 1, Topic: "state/end"}))
		var names []string
		for m := next(t, messages); m.name != "state/end"; m = next(t, messages) {
			names = append(names, m.name)
		}
		return len(names) == 1 && names[0] == "state/door"
	})
}

func TestQ9PersistenceAndQoS(t *testing.T) {
	for _, configured := range []uint8{0, 1, 2} {
		cfg := testConfig(t)
		cfg.DefaultQoS = configured
		g := startGateway(t, cfg)
		l := dialLine(t, g, frame.V12)
		l.subscribe("1", "/topic/qos")
		watcher, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "watcher"})
		_, err := watcher.Subscribe(within(t), packet.Filter{Topic: "qos", QoS: 2})
		require.NoError(t, err)
		for _, tt := range []struct {
			header string
			qos    uint8
		}{
			{"x:y", configured},
			{"persistent:true", max(configured, 1)},
			{"persistent:false", 0},
			{"qos:0", 0},
			{"qos:1", 1},
			{"qos:2", 2},
			{"persistent:false\nqos:2", 2},
			{"qos:\npersistent:false", 0},
		} {
			l.ask("SEND\ndestination:/topic/qos\n%s\n\nx^@", tt.header)
			m := l.message()
			require.Equal(t, strconv.Itoa(int(tt.qos)), m.Header.Value("qos"), tt.header)
			require.Equal(t, tt.qos > 0, m.Header.Value("persistent") == "true", tt.header)
			require.EqualValues(t, tt.qos, next(t, messages).packet.QoS, tt.header)
		}
		g.stop()
	}
}

func TestQ13ExpiryCrossesTheGateway(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	l.subscribe("1", "/topic/expiry")
	c, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "watcher"})
	_, err := c.Subscribe(within(t), packet.Filter{Topic: "expiry", QoS: 1})
	require.NoError(t, err)

	until := func(seconds int) string {
		return strconv.FormatInt(time.Now().Add(time.Duration(seconds)*time.Second).UnixMilli(), 10)
	}
	for _, tt := range []struct {
		name, header string
		seconds      int // left; 0: it does not expire
	}{
		{"expires", "expires:" + until(3600), 3600},
		{"expiration", "expiration:3600000", 3600},
		{"the earlier of both", "expires:" + until(3600) + "\nexpiration:60000", 60},
		{"expires 0, as JMS says never", "expires:0", 0},
		{"empty", "expires:\nexpiration:", 0},
		{"far beyond what MQTT can say", "expires:9223372036854775807", 1<<32 - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.ask("SEND\ndestination:/topic/expiry\n%s\n\nx^@", tt.header)
			m, p := l.message(), next(t, messages).packet
			if tt.seconds == 0 {
				require.Empty(t, m.Header.Value("expires"))
				require.Nil(t, p.Properties.MessageExpiry)
				return
			}
			expires, err := strconv.ParseInt(m.Header.Value("expires"), 10, 64)
			require.NoError(t, err)
			if tt.seconds <= 3600 {
				require.WithinDuration(t, time.Now().Add(time.Duration(tt.seconds)*time.Second), time.UnixMilli(expires), 20*time.Second)
			}
			require.NotNil(t, p.Properties.MessageExpiry)
			require.InDelta(t, tt.seconds, p.Properties.MessageExpiry.Seconds(), 20)
		})
	}
	t.Run("from MQTT", func(t *testing.T) {
		require.NoError(t, c.Publish(within(t), &packet.Publish{
			QoS: 1, Topic: "expiry", Properties: packet.PublishProperties{MessageExpiry: seconds(100)},
		}))
		expires, err := strconv.ParseInt(l.message().Header.Value("expires"), 10, 64)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(100*time.Second), time.UnixMilli(expires), 20*time.Second)
		next(t, messages)
	})
	t.Run("what has expired is not delivered", func(t *testing.T) {
		l.ask("SEND\ndestination:/queue/old\nexpires:%s\n\nx^@", until(-1))
		l.ask("SEND\ndestination:/queue/old\nexpiration:1\n\nx^@")
		eventually(t, func() bool { return time.Now().UnixMilli()%2 == 0 }) // one millisecond passes
		require.Empty(t, drain(t, g, "/queue/old"))
	})
	t.Run("what is no number is an ERROR", func(t *testing.T) {
		l := dialLine(t, g, frame.V12)
		l.send("SEND\ndestination:/topic/x\nexpires:soon\n\nx^@")
		l.refused("number of milliseconds")
	})
}

func TestS78DisconnectComesAfterAllBeforeIt(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	const n = 500
	for _, receipt := range []string{"", "receipt:bye\n"} {
		l := dialLine(t, g, frame.V12)
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "SEND\ndestination:/queue/page\n\n%d^@", i)
		}
		l.send(text.String() + "DISCONNECT\n" + receipt + "\n^@")
		if receipt != "" {
			f := l.read()
			require.Equal(t, "bye", f.Header.Value("receipt-id"))
		}
		l.ended()
		require.Len(t, strings.Fields(drain(t, g, "/queue/page")), n)
	}
}

func TestS81DestinationIsWhatTheSenderWrote(t *testing.T) {
	cfg := testConfig(t)
	cfg.Mapping = []mapping.Rule{{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set"}}
	g := startGateway(t, cfg)
	publisher, _ := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "publisher"})
	for i, tt := range []struct{ subscribed, written, topic, seen string }{
		{"/topic/a.b", "/topic/a.b", "a/b", "/topic/a.b"},
		{"/topic/a.b", "/topic/a/b", "a/b", "/topic/a/b"},
		{"/topic/a.b", "", "a/b", "/topic/a/b"},
		{"/topic/>", "", "1.5/x y", "/topic/1%2E5/x y"},
		{"/topic/>", "/topic/last ", "last ", "/topic/last%20"},
		{"/topic/>", "/topic/tab\tin", "tab\tin", "/topic/tab%09in"},
		{"/topic/>", "", "/lead//double/", "/topic//lead//double/"},
		{"/topic/>", "/topic/temp\u00e9rature", "temp\u00e9rature", "/topic/temp\u00e9rature"},
		{"/topic/>", "/topic/a+b", "a%2Bb", "/topic/a+b"},
		{"/queue/jobs.*", "/queue/jobs.x", "queue/jobs/x", "/queue/jobs.x"},
		{"/queue/jobs.*", "", "queue/jobs/x", "/queue/jobs/x"},
		{"/queue/sensors.*.set", "/queue/sensors.7.set", "sensors/7/set", "/queue/sensors.7.set"},
		{"/queue/sensors.7.set", "", "sensors/7/set", "/queue/sensors.7.set"},
	} {
		for _, v := range stompVersions {
			t.Run(fmt.Sprintf("%d %q to %v", i, tt.written, v), func(t *testing.T) {
				l := dialLine(t, g, v)
				l.subscribe("1", tt.subscribed)
				body := fmt.Sprintf("%d %v", i, v)
				if tt.written == "" {
					require.NoError(t, publisher.Publish(within(t), &packet.Publish{QoS: 1, Topic: tt.topic, Payload: []byte(body)}))
				} else {
					sender := dialLine(t, g, frame.V12)
					sender.publish(tt.written, body)
				}
				m := l.message()
				require.Equal(t, body, string(m.Body))
				require.Equal(t, tt.seen, m.Header.Value("destination"))
				// What was seen reaches the same topic, whoever trims it.
				l.publish(strings.TrimSpace(m.Header.Value("destination")), "back")
				require.Equal(t, "back", l.bodies(1))
				require.Equal(t, m.Header.Value("destination"), tt.seen)
				l.leave()
			})
		}
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, tt := range []struct{ name, frame, why string }{
		{"a destination without a prefix", "SEND\ndestination:foo\n\n^@", "/queue/"},
		{"an unknown prefix", "SEND\ndestination:/exchange/foo\n\n^@", "unknown prefix"},
		{"a prefix alone", "SEND\ndestination:/queue/\n\n^@", "names nothing"},
		{"a queue under /topic", "SEND\ndestination:/topic/queue/x\n\n^@", `use "/queue/x"`},
		{"a shared subscription", "SUBSCRIBE\nid:1\ndestination:/topic/$share/g/x\n\n^@", "header group"},
		{"a topic of the server", "SEND\ndestination:/topic/$SYS/x\n\n^@", "server's"},
		{"NUL in a name", "SEND\ndestination:/topic/a%00b\n\n^@", "NUL"},
		{"a name that is not UTF-8", "SEND\ndestination:/topic/a%FFb\n\n^@", "UTF-8"},
		{"a wildcard in the middle", "SUBSCRIBE\nid:1\ndestination:/topic/#/x\n\n^@", "only at the end"},
		{"a group with a slash", "SUBSCRIBE\nid:1\ndestination:/topic/x\ngroup:a/b\n\n^@", "group"},
		{"a group with a wildcard", "SUBSCRIBE\nid:1\ndestination:/topic/x\ngroup:+\n\n^@", "group"},
		{"somebody's temporary destination", "SUBSCRIBE\nid:1\ndestination:/remote-temp-queue/gw/0123/x\n\n^@", "not your temporary"},
		{"a temporary destination with wildcards", "SUBSCRIBE\nid:1\ndestination:/temp-queue/*\n\n^@", "wildcards"},
		{"a temporary destination that is gone", "SEND\ndestination:/remote-temp-queue/gw/0123/x\n\n^@", "no such temporary destination"},
		{"a QoS that does not exist", "SEND\ndestination:/topic/x\nqos:3\n\n^@", "0, 1 or 2"},
		{"a correlation that is not base64", "SEND\ndestination:/topic/x\ncorrelation-id-base64:???\n\n^@", "correlation-id-base64"},
		{"a name that is too long", "SEND\ndestination:/topic/" + strings.Repeat("x", 66000) + "\n\n^@", "65535"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := dialLine(t, g, frame.V12)
			l.send(strings.Replace(tt.frame, "\n", "\nreceipt:r\n", 1))
			require.Equal(t, "r", l.refused(tt.why).Header.Value("receipt-id"))
		})
	}
}
