package bridge_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestS71TransactionsTakeEffectAtCommit(t *testing.T) {
	g := startGateway(t, testConfig(t))
	watcher, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "watcher"})
	_, err := watcher.Subscribe(within(t), packet.Filter{Topic: "tx/#", QoS: 2})
	require.NoError(t, err)
	consumer := dialLine(t, g, frame.V12)
	consumer.subscribe("q", "/queue/tx")
	for _, v := range stompVersions {
		l := dialLine(t, g, v)
		l.ask("BEGIN\ntransaction:t\n\n^@")
		for i, header := range []string{"qos:1", "qos:0", "qos:2", "retain:true", "expiration:60000", "expiration:0"} {
			l.ask("SEND\ntransaction:t\ndestination:/topic/tx.%d\n%s\n\n%d^@", i, header, i)
		}
		l.ask("SEND\ntransaction:t\ndestination:/queue/tx\n\n1^@")
		l.ask("SEND\ntransaction:t\ndestination:/queue/tx\n\n2^@")
		l.publish("/topic/tx.outside", "first")
		l.publish("/queue/tx", "first")
		require.Equal(t, "tx/outside", next(t, messages).name)
		require.Equal(t, "first", consumer.bodies(1))
		l.ask("COMMIT\ntransaction:t\n\n^@")
		l.publish("/topic/tx.outside", "last")
		for i, qos := range []packet.QoS{1, 0, 2, 1, 1} { // the last one had expired
			m := next(t, messages)
			require.Equal(t, fmt.Sprintf("tx/%d", i), m.name)
			require.Equal(t, qos, m.packet.QoS)
		}
		require.Equal(t, "last", string(next(t, messages).body))
		require.Equal(t, "1 2", consumer.bodies(2))

		l.ask("BEGIN\ntransaction:t\n\n^@")
		l.ask("SEND\ntransaction:t\ndestination:/topic/tx.aborted\n\nx^@")
		l.ask("SEND\ntransaction:t\ndestination:/queue/tx\n\nx^@")
		l.ask("ABORT\ntransaction:t\n\n^@")
		l.publish("/topic/tx.end", "")
		l.publish("/queue/tx", "end")
		require.Equal(t, "tx/end", next(t, messages).name)
		require.Equal(t, "end", consumer.bodies(1))
		l.leave()
	}
	late, retained := mqttClient(t, g, packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "late"})
	_, err = late.Subscribe(within(t), packet.Filter{Topic: "tx/#", QoS: 1})
	require.NoError(t, err)
	m := next(t, retained)
	require.Equal(t, "tx/3", m.name)
	require.True(t, m.packet.Retain)
}

func TestS71BadElementFailsTheCommit(t *testing.T) {
	g := startGateway(t, testConfig(t))
	watcher := dialLine(t, g, frame.V12)
	watcher.subscribe("1", "/topic/bad")
	for _, tt := range []struct{ name, frame, why string }{
		{"no such destination", "destination:/nowhere\n\n", "unknown prefix"},
		{"a QoS that does not exist", "destination:/topic/bad\nqos:9\n\n", "0, 1 or 2"},
		{"a temporary destination that is gone", "destination:/remote-temp-queue/gw/0/x\n\n", "no such temporary"},
		{"a topic of the server", "destination:/topic/$SYS/x\n\n", "server's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := dialLine(t, g, frame.V12)
			l.subscribe("q", "/queue/bad", "ack:client-individual")
			l.publish("/queue/bad", "kept")
			m := l.message()
			l.ask("BEGIN\ntransaction:t\n\n^@")
			l.ack(m, "transaction:t")
			if !strings.Contains(tt.name, "gone") { // what is stored already cannot be undone
				l.ask("SEND\ntransaction:t\ndestination:/topic/bad\n\nx^@")
				l.ask("SEND\ntransaction:t\ndestination:/topic/bad\nqos:0\n\nx^@")
			}
			l.ask("SEND\ntransaction:t\n%s^@", tt.frame)
			l.send("COMMIT\ntransaction:t\nreceipt:r\n\n^@")
			require.Equal(t, "r", l.refused(tt.why).Header.Value("receipt-id"))
			require.Equal(t, "kept", drain(t, g, "/queue/bad"), "the ACK is undone, too")
		})
	}
	watcher.publish("/topic/bad", "good")
	require.Equal(t, "good", watcher.bodies(1))
}

func TestS71LargestTransaction(t *testing.T) {
	g := startGateway(t, testConfig(t))
	l := dialLine(t, g, frame.V12)
	const n = 1000
	var text strings.Builder
	text.WriteString("BEGIN\ntransaction:t\n\n^@")
	for i := range n {
		fmt.Fprintf(&text, "SEND\ntransaction:t\ndestination:/queue/many\n\n%d^@", i)
	}
	l.send(text.String())
	l.ask("COMMIT\ntransaction:t\n\n^@")
	got := strings.Fields(drain(t, g, "/queue/many"))
	require.Len(t, got, n)
	for i, body := range got {
		require.Equal(t, fmt.Sprint(i), body)
	}
}

func TestManyTransactionsAtOnce(t *testing.T) {
	g := startGateway(t, testConfig(t))
	consumer := dialLine(t, g, frame.V12)
	consumer.subscribe("1", "/queue/busy")
	const clients, each, size = 8, 10, 10
	committed := make(chan error, clients)
	for i := range clients {
		c := stompClient(t, g, frame.V12)
		go func() { committed <- commitMany(t.Context(), c, i, each, size) }()
	}
	for range clients * each { // one transaction after the other, none in another's middle
		first, _ := strings.CutSuffix(consumer.bodies(1), "-0")
		for k := 1; k < size; k++ {
			require.Equal(t, fmt.Sprintf("%s-%d", first, k), consumer.bodies(1))
		}
	}
	for range clients {
		require.NoError(t, <-committed)
	}
}

func commitMany(ctx context.Context, c *stomp.Client, client, each, size int) error {
	for j := range each {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		for k := range size {
			f := &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/queue/busy"}}, Body: fmt.Appendf(nil, "%d-%d-%d", client, j, k)}
			if err := tx.Send(ctx, f); err != nil {
				return err
			}
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func TestS72EndsAbort(t *testing.T) {
	g := startGateway(t, testConfig(t))
	for name, end := range map[string]func(*line){
		"DISCONNECT": (*line).leave,
		"a reset":    (*line).reset,
		"an ERROR":   func(l *line) { l.send("FOO\n\n^@"); l.refused("unknown command") },
	} {
		t.Run(name, func(t *testing.T) {
			l := dialLine(t, g, frame.V12)
			l.subscribe("q", "/queue/open", "ack:client")
			l.publish("/queue/open", "a")
			m := l.message()
			l.ask("BEGIN\ntransaction:t\n\n^@")
			l.ack(m, "transaction:t")
			l.ask("SEND\ntransaction:t\ndestination:/queue/open\n\nx^@")
			end(l)
			eventually(t, func() bool { return g.bridge.Stats().Queues.Consumers == 0 })
			require.Equal(t, "a", drain(t, g, "/queue/open"))
		})
	}
}

func TestS73AcksInTransactions(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	for _, v := range []frame.Version{frame.V11, frame.V12} {
		l := dialLine(t, g, v)
		l.subscribe("q", "/queue/in", "ack:client-individual")
		l.publish("/queue/in", "a", "b", "c", "d")
		a, b, c, d := l.message(), l.message(), l.message(), l.message()
		l.ask("BEGIN\ntransaction:t\n\n^@")
		l.ack(a, "transaction:t")
		l.nack(b, "transaction:t")
		l.nack(c, "transaction:t", "requeue:false")
		l.ask("SEND\ntransaction:t\ndestination:/queue/out\n\nresult^@")
		l.quiet()
		l.ask("COMMIT\ntransaction:t\n\n^@")
		again := l.message()
		require.Equal(t, "b", string(again.Body))
		require.Equal(t, "true", again.Header.Value("redelivered"))
		l.ask("BEGIN\ntransaction:t\n\n^@")
		l.ack(again, "transaction:t")
		l.ask("ABORT\ntransaction:t\n\n^@")
		l.ack(again)
		l.ack(d)
		l.leave()
		require.Empty(t, drain(t, g, "/queue/in"))
		require.Equal(t, "result", drain(t, g, "/queue/out"))
		require.Equal(t, "c", drain(t, g, "/queue/dlq/in"))
	}
}
