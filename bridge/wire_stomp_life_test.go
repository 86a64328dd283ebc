package bridge_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestTheEndOfOneConnectionIsItsOwn(t *testing.T) {
	config := stomp.DefaultConfig()
	config.HeartBeat = 100 * time.Millisecond
	config.MaxMessage = 1 << 20
	g := startFrontEnds(t, testConfig(t), config, mqtt.DefaultConfig())
	bystander := dialLine(t, g, frame.V12)
	bystander.subscribe("t", "/topic/crowd")
	bystander.subscribe("q", "/queue/crowd")
	sensor, messages := mqttClient(t, g, packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "bystander"})
	_, err := sensor.Subscribe(within(t), packet.Filter{Topic: "crowd", QoS: 1})
	require.NoError(t, err)

	for _, tt := range []struct {
		name string
		end  func(*line)
	}{
		{"a reset", (*line).reset},
		{"a half-close", func(l *line) {
			require.NoError(l.t, l.nc.(*net.TCPConn).CloseWrite())
			l.ended()
		}},
		{"silence", func(l *line) { l.refused("no heart-beat") }},
		{"garbage", func(l *line) {
			l.send(strings.Repeat("\xff\x00garbage", 100))
			l.refused("")
		}},
		{"a body that is too large", func(l *line) {
			l.send("SEND\ndestination:/topic/crowd\ncontent-length:99999999\n\n")
			l.refused("")
		}},
		{"half a frame", func(l *line) {
			l.send("SEND\ndestination:/topic/crowd\ncontent-length:10\n\nhalf")
			l.reset()
		}},
		{"a reader that is slow", func(l *line) {
			sender := dialLine(t, g, frame.V12)
			large := strings.Repeat("x", 1<<20)
			for range 24 { // more than all buffers on the way hold
				sender.publish("/topic/flood", large)
				sender.publish("/queue/flood", large)
			}
			l.reset()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var beat []string
			if tt.name == "silence" {
				beat = []string{"heart-beat:100,0"}
			}
			l := dialLine(t, g, frame.V12, beat...)
			l.send("SUBSCRIBE\nid:t\ndestination:/topic/flood\nack:client\n\n^@SUBSCRIBE\nid:q\ndestination:/queue/flood\nack:client\n\n^@")
			tt.end(l)
			bystander.publish("/topic/crowd", "still there")
			require.Equal(t, "still there", bystander.bodies(1))
			require.Equal(t, "still there", string(next(t, messages).body))
			bystander.publish("/queue/crowd", "still there")
			require.Equal(t, "still there", bystander.bodies(1))
			eventually(t, func() bool { return g.bridge.Stats().Queues.Consumers == 1 })
		})
	}
	require.Len(t, strings.Fields(drain(t, g, "/queue/flood")), 24, "what the slow one did not read is another's")
}

func TestShutdownTellsClientsAndLosesNothing(t *testing.T) {
	cfg := testConfig(t)
	g := startGateway(t, cfg)
	l := dialLine(t, g, frame.V12)
	l.subscribe("1", "/queue/work", "ack:client")
	w := dialWire(t, g, packet.Connect{ClientID: "told", CleanStart: true})

	// A sender that goes on until it is told: everything that it has a receipt
	// for is there afterwards, in order.
	sender := stompClient(t, g, frame.V12)
	acknowledged := make(chan int, 1)
	begun := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			f := &frame.Frame{Header: frame.Header{{Name: "destination", Value: "/queue/kept"}}, Body: fmt.Append(nil, n)}
			if sender.Send(context.Background(), f) != nil {
				acknowledged <- n
				return
			}
			if n == 20 {
				close(begun)
			}
		}
	}()
	<-begun
	l.publish("/queue/work", "held")
	require.Equal(t, "held", l.bodies(1))
	g.stop()
	l.refused("shutting down")
	require.Equal(t, packet.ServerShuttingDown, w.ended().Reason)
	n := <-acknowledged
	require.ErrorContains(t, sender.Err(), "shutting down")

	g = startGateway(t, cfg)
	require.Equal(t, "held", drain(t, g, "/queue/work"))
	got := strings.Fields(drain(t, g, "/queue/kept"))
	require.GreaterOrEqual(t, len(got), n)
	for i, body := range got {
		require.Equal(t, fmt.Sprint(i), body)
	}
}
