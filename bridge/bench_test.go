package bridge_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

const (
	benchPairs  = 4
	benchWindow = 1024 // messages of one pair that may be on their way
)

var benchBody = make([]byte, 256)

// pairs drives benchPairs publishers, each with a subscriber of its own, and
// reports delivered messages. publish and the subscriber of a pair are given
// its number; the subscriber calls got for each message.
func pairs(b *testing.B, subscribe func(b *testing.B, pair int, got func()), publisher func(b *testing.B, pair int) func() error) {
	b.Helper()
	b.SetBytes(int64(len(benchBody)))
	b.ReportAllocs()
	var all sync.WaitGroup
	room := make([]chan struct{}, benchPairs)
	publish := make([]func() error, benchPairs)
	for i := range benchPairs {
		room[i] = make(chan struct{}, benchWindow)
		subscribe(b, i, func() {
			select {
			case <-room[i]:
				all.Done()
			default:
				b.Error("a message too many")
			}
		})
		publish[i] = publisher(b, i)
	}
	b.ResetTimer()
	var n atomic.Int64
	var senders sync.WaitGroup
	all.Add(b.N)
	for i := range benchPairs {
		senders.Go(func() {
			for n.Add(1) <= int64(b.N) {
				room[i] <- struct{}{}
				if err := publish[i](); err != nil {
					b.Error(err)
				}
			}
		})
	}
	senders.Wait()
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func benchTopic(pair int) string { return fmt.Sprintf("bench/%d", pair) }

func mqttReceiver(g *gateway, qos packet.QoS) func(*testing.B, int, func()) {
	return func(b *testing.B, pair int, got func()) {
		b.Helper()
		c, err := mqtt.Dial(within(b), g.mqtt, mqtt.Options{
			Connect: packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Sprintf("sub-%d", pair)},
			Receive: func(_ *packet.Publish, done func(error)) {
				if done != nil {
					done(nil)
				}
				got()
			},
		})
		require.NoError(b, err)
		b.Cleanup(func() { _ = c.Close() })
		_, err = c.Subscribe(within(b), packet.Filter{Topic: benchTopic(pair), QoS: qos})
		require.NoError(b, err)
	}
}

func mqttSender(g *gateway, qos packet.QoS) func(*testing.B, int) func() error {
	return func(b *testing.B, pair int) func() error {
		b.Helper()
		c, err := mqtt.Dial(within(b), g.mqtt, mqtt.Options{
			Connect: packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Sprintf("pub-%d", pair)},
		})
		require.NoError(b, err)
		b.Cleanup(func() { _ = c.Close() })
		topic, done := benchTopic(pair), func(error) {}
		return func() error {
			return c.PublishAsync(b.Context(), &packet.Publish{QoS: qos, Topic: topic, Payload: benchBody}, done)
		}
	}
}

func stompReceiver(g *gateway, destination, ack string) func(*testing.B, int, func()) {
	return func(b *testing.B, pair int, got func()) {
		b.Helper()
		c := stompClient(b, g, frame.V12)
		header := frame.Header{{Name: "destination", Value: fmt.Sprintf(destination, pair)}, {Name: "ack", Value: ack}}
		_, err := c.Subscribe(within(b), header, func(f *frame.Frame) {
			if ack != "auto" {
				_ = c.Ack(b.Context(), f)
			}
			got()
		})
		require.NoError(b, err)
	}
}

func stompSender(g *gateway, destination string, receipt bool, more ...frame.Field) func(*testing.B, int) func() error {
	return func(b *testing.B, pair int) func() error {
		b.Helper()
		c := stompClient(b, g, frame.V12)
		f := &frame.Frame{Header: append(frame.Header{{Name: "destination", Value: fmt.Sprintf(destination, pair)}}, more...), Body: benchBody}
		var done func(error)
		if receipt {
			done = func(error) {}
		}
		return func() error { return c.SendAsync(b.Context(), f, done) }
	}
}

// BenchmarkPath is the whole way of a message, clients included.
func BenchmarkPath(b *testing.B) {
	g := startGateway(b, testConfig(b))
	qos0 := frame.Field{Name: "qos", Value: "0"}
	for _, bench := range []struct {
		name      string
		subscribe func(*testing.B, int, func())
		publisher func(*testing.B, int) func() error
	}{
		{"mqtt to mqtt, QoS 0", mqttReceiver(g, 0), mqttSender(g, 0)},
		{"mqtt to mqtt, QoS 1", mqttReceiver(g, 1), mqttSender(g, 1)},
		{"mqtt to mqtt, QoS 2", mqttReceiver(g, 2), mqttSender(g, 2)},
		{"stomp to mqtt, QoS 0", mqttReceiver(g, 0), stompSender(g, "/topic/bench.%d", false, qos0)},
		{"stomp with receipts to mqtt, QoS 1", mqttReceiver(g, 1), stompSender(g, "/topic/bench.%d", true)},
		{"mqtt to stomp, QoS 0", stompReceiver(g, "/topic/bench.%d", "auto"), mqttSender(g, 0)},
		{"mqtt QoS 1 to stomp client-individual", stompReceiver(g, "/topic/bench.%d", "client-individual"), mqttSender(g, 1)},
		{"queue, receipts, client-individual", stompReceiver(g, "/queue/bench.%d", "client-individual"), stompSender(g, "/queue/bench.%d", true)},
	} {
		b.Run(bench.name, func(b *testing.B) { pairs(b, bench.subscribe, bench.publisher) })
	}
}
