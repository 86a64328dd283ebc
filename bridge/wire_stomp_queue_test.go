package bridge_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestS75ReceiptMeansStored(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	sender := dialLine(t, g, frame.V12)
	sender.publish("/queue/stored", "one", "two")
	sender.publish("/topic/stored", "three")
	restarted := crash(t, &cfg)
	require.Equal(t, "one two", drain(t, restarted, "/queue/stored"))
	require.EqualValues(t, 1, restarted.bridge.Stats().LogPosition, "the topic's is in the log")
}

func TestS76ReceiptsKeepTheirOrderUnderLoad(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	destinations := []string{"/queue/a", "/topic/a", "/queue/b", "/topic/b\nqos:0", "/topic/c\nretain:true"}
	const n = 2000
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "SEND\ndestination:%s\nreceipt:%d\n\n%d^@", destinations[i%len(destinations)], i, i)
	}
	go l.send(text.String())
	for i := range n {
		f := l.read()
		require.Equal(t, frame.Receipt, f.Command)
		require.Equal(t, fmt.Sprint(i), f.Header.Value("receipt-id"))
	}
}

func TestS57AckModes(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, v := range stompVersions {
		for _, kind := range []string{"/queue/", "/topic/"} {
			for _, mode := range []string{"auto", "client", "client-individual"} {
				t.Run(fmt.Sprintf("%v %s%s", v, kind, mode), func(t *testing.T) {
					destination := kind + "acks." + v.String()[2:] + "." + mode
					l := dialLine(t, g, v)
					l.subscribe("1", destination, "ack:"+mode)
					l.publish(destination, "a", "b", "c", "d")
					var got []*frame.Frame
					for _, body := range []string{"a", "b", "c", "d"} {
						m := l.message()
						require.Equal(t, body, string(m.Body))
						require.Equal(t, v == frame.V12 && mode != "auto", m.Header.Value("ack") != "", "S61")
						got = append(got, m)
					}
					left := ""
					switch mode {
					case "client":
						l.ack(got[1])
						left = "c d"
					case "client-individual":
						l.ack(got[1])
						l.ack(got[3])
						left = "a c"
					}
					l.leave()
					if kind == "/queue/" {
						require.Equal(t, left, drain(t, g, destination))
					}
				})
			}
		}
	}
	t.Run("an ACK twice is an ERROR", func(t *testing.T) {
		l := dialLine(t, g, frame.V12)
		l.subscribe("1", "/queue/twice", "ack:client")
		l.publish("/queue/twice", "a")
		m := l.message()
		l.ack(m)
		l.send("ACK\nid:" + m.Header.Value("ack") + "\n\n^@")
		l.refused("not awaiting one")
	})
}

func TestS59AcknowledgeAfterUnsubscribe(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	l.subscribe("1", "/queue/left", "ack:client-individual")
	l.publish("/queue/left", "a", "b", "c")
	a, b := l.message(), l.message()
	l.message()
	l.ask("UNSUBSCRIBE\nid:1\n\n^@")
	l.publish("/queue/left", "d")
	l.quiet()
	l.ack(b)
	l.ack(a)
	require.Equal(t, "d", drain(t, g, "/queue/left"), "c is still the first one's")
	l.subscribe("1", "/queue/left", "ack:client")
	l.leave()
	require.Equal(t, "c", drain(t, g, "/queue/left"))

	l = dialLine(t, g, frame.V12)
	l.subscribe("1", "/queue/left", "ack:client")
	l.publish("/queue/left", "e", "f")
	l.message()
	f := l.message()
	l.ask("UNSUBSCRIBE\nid:1\n\n^@")
	l.ack(f)
	require.Empty(t, drain(t, g, "/queue/left"), "the last ACK leaves nothing behind")
	l.leave()
}

func TestS67NackedMessagesComeFirst(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, mode := range []string{"client", "client-individual"} {
		destination := "/queue/nack." + mode
		l := dialLine(t, g, frame.V12)
		l.publish(destination, "a", "b", "c", "d", "e", "f")
		l.subscribe("1", destination, "ack:"+mode, "prefetch-count:3")
		l.message()
		b := l.message()
		c := l.message()
		l.nack(b)
		l.ack(c)
		want := "b d" // a is still held, and fills the third place
		if mode == "client" {
			want = "a b d"
		}
		var got []string
		for range len(strings.Fields(want)) {
			m := l.message()
			got = append(got, string(m.Body))
			if string(m.Body) <= "b" {
				require.Equal(t, "true", m.Header.Value("redelivered"))
				require.Equal(t, "2", m.Header.Value("delivery-count"))
			} else {
				require.Empty(t, m.Header.Value("redelivered"))
			}
		}
		require.Equal(t, want, strings.Join(got, " "))
		l.leave()
	}
}

func TestS68RejectedMessagesAreDeadLettered(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	l.subscribe("1", "/queue/jobs.print", "ack:client-individual")
	l.ask("SEND\ndestination:/queue/jobs.print\ncolour:red\n\nbad^@")
	l.nack(l.message(), "requeue:false")
	l.subscribe("2", "/queue/dlq.jobs.print", "ack:client")
	dead := l.message()
	require.Equal(t, "bad", string(dead.Body))
	require.Equal(t, "red", dead.Header.Value("colour"))
	require.Equal(t, "rejected", dead.Header.Value("dead-letter-reason"))
	require.Equal(t, "queue/jobs/print", dead.Header.Value("dead-letter-queue"))
	require.Equal(t, "/queue/dlq/jobs/print", dead.Header.Value("destination"))
	l.leave()
	require.Empty(t, drain(t, g, "/queue/jobs.print"))
}

func TestDeadLettersAfterTooManyAttempts(t *testing.T) {
	cfg := testConfig(t)
	cfg.Queues.MaxDeliver = 3
	g := startGateway(t, cfg)
	watcher, dead := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "operator"})
	_, err := watcher.Subscribe(within(t), packet.Filter{Topic: "$share/any/queue/dlq/#", QoS: 1})
	require.NoError(t, err)

	l := dialLine(t, g, frame.V12)
	l.publish("/queue/poison", "pill", "fine")
	l.subscribe("1", "/queue/poison", "ack:client-individual", "prefetch-count:1")
	for attempt := 1; attempt <= 2; attempt++ {
		m := l.message()
		require.Equal(t, "pill", string(m.Body))
		l.nack(m)
	}
	m := l.message()
	require.Equal(t, "3", m.Header.Value("delivery-count"))
	l.reset() // a crash counts, too
	letter := next(t, dead)
	require.Equal(t, "queue/dlq/poison", letter.name)
	require.Equal(t, "pill", string(letter.body))
	require.Contains(t, letter.packet.Properties.User, packet.UserProperty{Name: "dead-letter-reason", Value: "max-deliver"})
	require.Contains(t, letter.packet.Properties.User, packet.UserProperty{Name: "dead-letter-attempts", Value: "3"})
	require.Equal(t, "fine", drain(t, g, "/queue/poison"))
}

func TestPrefetchIsKept(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for _, tt := range []struct {
		name, header string
		n            int
	}{
		{"prefetch-count of 1", "prefetch-count:1", 1},
		{"prefetch-count of 10", "prefetch-count:10", 10},
		{"activemq.prefetchSize of 3", "activemq.prefetchSize:3", 3},
		{"the default", "x:y", 100},
	} {
		for _, kind := range []string{"/queue/", "/topic/"} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				if kind == "/topic/" && tt.n == 100 {
					t.Skip("a topic has no window unless the client names one")
				}
				destination := fmt.Sprintf("%sprefetch.%d", kind, tt.n)
				l := dialLine(t, g, frame.V12)
				l.subscribe("1", destination, "ack:client-individual", tt.header)
				sender := dialLine(t, g, frame.V12)
				for i := range tt.n + 2 {
					sender.publish(destination, fmt.Sprint(i))
				}
				var got []*frame.Frame
				for range tt.n {
					got = append(got, l.message())
				}
				l.quiet()
				l.ack(got[0])
				require.Equal(t, fmt.Sprint(tt.n), l.bodies(1))
				l.quiet()
				l.leave()
			})
		}
	}
}

func TestCompetingConsumersShareFairly(t *testing.T) {
	g := startGateway(t, testConfig(t))
	const n = 300
	consumers := []*line{dialLine(t, g, frame.V10), dialLine(t, g, frame.V11), dialLine(t, g, frame.V12)}
	for _, l := range consumers {
		l.subscribe("1", "/queue/shared", "ack:client-individual", "prefetch-count:1")
	}
	sender := dialLine(t, g, frame.V12)
	for i := range n {
		sender.publish("/queue/shared", fmt.Sprint(i))
	}
	seen := make(map[string]bool)
	for range n / len(consumers) {
		for _, l := range consumers {
			m := l.message()
			require.False(t, seen[string(m.Body)], "%s twice", m.Body)
			seen[string(m.Body)] = true
			l.ack(m)
		}
	}
	require.Len(t, seen, n)
}

func TestS69LostConnectionsGiveBackInOrder(t *testing.T) {
	beating := stomp.DefaultConfig()
	beating.HeartBeat = 100 * time.Millisecond
	g := startFrontEnds(t, testConfig(t), beating, mqtt.DefaultConfig())
	for name, end := range map[string]func(*line){
		"a reset":      func(l *line) { l.reset() },
		"a half-close": func(l *line) { require.NoError(l.t, l.nc.(*net.TCPConn).CloseWrite()) },
		"a close":      func(l *line) { require.NoError(l.t, l.nc.Close()) },
		"garbage":      func(l *line) { l.send("\x16\x03\x01\n\n") },
		"silence":      func(*line) {},
		"DISCONNECT":   func(l *line) { l.leave() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			destination := "/queue/lost." + strings.ReplaceAll(name, " ", "-")
			sender := dialLine(t, g, frame.V12)
			sender.publish(destination, "a", "b", "c", "d", "e", "f")
			var beat []string
			if name == "silence" {
				beat = []string{"heart-beat:1000,0"}
			}
			first := dialLine(t, g, frame.V12, beat...)
			first.subscribe("1", destination, "ack:client-individual", "prefetch-count:4")
			got := []*frame.Frame{first.message(), first.message(), first.message(), first.message()}
			first.ack(got[1])
			first.message()
			second := dialLine(t, g, frame.V12)
			second.subscribe("1", destination, "ack:client")
			require.Equal(t, "f", second.bodies(1))
			end(first)
			for _, body := range []string{"a", "c", "d", "e"} {
				m := second.message()
				require.Equal(t, body, string(m.Body))
				require.Equal(t, "true", m.Header.Value("redelivered"))
			}
			second.leave()
		})
	}
}

func TestShutdownCountsNoAttempt(t *testing.T) {
	cfg := testConfig(t)
	cfg.Queues.MaxDeliver = 1
	g := startGateway(t, cfg)
	l := dialLine(t, g, frame.V12)
	l.publish("/queue/calm", "a", "b")
	l.subscribe("1", "/queue/calm", "ack:client")
	require.Equal(t, "a b", l.bodies(2))
	g.stop()
	l.refused("shutting down")
	require.Equal(t, "a b", drain(t, startGateway(t, cfg), "/queue/calm"))
}

func TestWildcardsOnQueues(t *testing.T) {
	g := startGateway(t, testConfig(t))
	sender := dialLine(t, g, frame.V12)
	for i, wildcard := range []string{"/queue/%s.*", "/queue/%s/+", "/queue/%s.>", "/queue/%s/#"} {
		t.Run(wildcard, func(t *testing.T) {
			root := fmt.Sprintf("wild%d", i)
			sender.publish("/queue/"+root+"/before", "1")
			l := dialLine(t, g, frame.V11)
			l.subscribe("w", fmt.Sprintf(wildcard, root), "ack:client-individual", "prefetch-count:1")
			m := l.message()
			require.Equal(t, "/queue/"+root+"/before", m.Header.Value("destination"))
			require.Equal(t, "w", m.Header.Value("subscription"))
			sender.publish("/queue/"+root+".after", "2")
			l.quiet() // one prefetch for all
			l.ack(m)
			m = l.message()
			require.Equal(t, "/queue/"+root+".after", m.Header.Value("destination"))
			l.ack(m)
			l.leave()
			require.Empty(t, drain(t, g, "/queue/"+root+"/before"))
		})
	}
}

func TestQueuePolicies(t *testing.T) {
	cfg := testConfig(t)
	cfg.Queues.Policies = []bridge.Policy{
		{Match: "queue/small/#", MaxMessages: 2, Overflow: "reject"},
		{Match: "queue/news/#", MaxMessages: 2, Overflow: "drop_oldest"},
		{Match: "queue/brief/#", MaxMessages: 1, MaxAge: 200 * time.Millisecond},
	}
	g := startGateway(t, cfg)
	l := dialLine(t, g, frame.V12)
	l.publish("/queue/news.a", "1", "2", "3", "4")
	l.subscribe("news", "/queue/news.a")
	require.Equal(t, "3 4", l.bodies(2))
	l.publish("/queue/brief.a", "1")
	eventually(t, func() bool { // the first has gone
		f := &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/queue/brief.a"}}}
		return stompClient(t, g, frame.V12).Send(within(t), f) == nil
	})
	l.publish("/queue/small.a", "1", "2")
	l.publish("/queue/small.b", "1", "2")
	l.send("SEND\ndestination:/queue/small.a\nreceipt:r\n\n3^@")
	require.Equal(t, "r", l.refused("queue full").Header.Value("receipt-id"))

	l = dialLine(t, g, frame.V12)
	l.subscribe("1", "/queue/small.a", "ack:client-individual")
	m := l.message()
	l.ack(m)
	l.publish("/queue/small.a", "3")
	require.Equal(t, "2 3", l.bodies(2))
	l.leave()

	l = dialLine(t, g, frame.V12)
	l.send("BEGIN\ntransaction:t\n\n^@")
	for i := range 3 {
		l.send(fmt.Sprintf("SEND\ntransaction:t\ndestination:/queue/small.tx\n\n%d^@", i))
	}
	l.send("COMMIT\ntransaction:t\n\n^@")
	l.refused("queue full")
	require.Empty(t, drain(t, g, "/queue/small.tx"))
}
