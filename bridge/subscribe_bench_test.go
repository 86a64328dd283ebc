package bridge_test

import (
	"bufio"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// BenchmarkSubscribe opens many subscriptions on one connection: what one of
// them costs should not depend on how many there are.
func BenchmarkSubscribe(b *testing.B) {
	g := startGateway(b, testConfig(b))
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("stomp, %d", n), func(b *testing.B) {
			for b.Loop() {
				l := dialLine(b, g, frame.V12)
				out := bufio.NewWriter(l.nc)
				for i := range n {
					_, _ = fmt.Fprintf(out, "SUBSCRIBE\nid:%d\ndestination:/topic/subscribe.%d\nreceipt:%d\n\n\x00", i, i, i)
				}
				sent := make(chan error, 1)
				go func() { sent <- out.Flush() }()
				for range n {
					require.Equal(b, frame.Receipt, l.read().Command)
				}
				require.NoError(b, <-sent)
				l.leave()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/subscription")
		})
		b.Run(fmt.Sprintf("mqtt, a session that is kept, %d", n), func(b *testing.B) {
			for b.Loop() {
				w := dialWire(b, g, packet.Connect{ClientID: "subscribes", CleanStart: true, SessionExpiry: new(time.Hour)})
				subscribeMany(w, n)
				w.drop(g)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/subscription")
		})
	}
}

// subscribeMany sends a SUBSCRIBE for each of n filters before it reads the answers.
func subscribeMany(w *wire, n int) {
	w.t.Helper()
	var all []byte
	for i := range n {
		var err error
		all, err = packet.Append(all, w.version, &packet.Subscribe{
			PacketID: w.nextID(), Filters: []packet.Filter{{Topic: fmt.Sprintf("many/%d", i), QoS: 1}},
		})
		require.NoError(w.t, err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := w.nc.Write(all)
		sent <- err
	}()
	for range n {
		require.Equal(w.t, []packet.ReasonCode{1}, want[*packet.Suback](w).Reasons)
	}
	require.NoError(w.t, <-sent)
}
