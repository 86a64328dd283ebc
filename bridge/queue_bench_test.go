package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// BenchmarkQueue sends messages to one queue and has four consumers with a
// prefetch of 100 acknowledge them.
func BenchmarkQueue(b *testing.B) {
	x := startQueues(b, defaultPace)
	_, subject, err := x.target("queue/a")
	require.NoError(b, err)
	settled := make(chan struct{}, 1<<16)
	for range 4 {
		got := make(chan *queued, 100)
		c := x.newConsumer(100, func(d *queued) bool { got <- d; return true })
		require.NoError(b, x.wait(func(done func(error)) { x.joinQueue(c, "queue/a", done) }))
		go func() {
			for {
				select {
				case <-b.Context().Done():
					return
				case d := <-got:
					d.settle(nil, nil)
					settled <- struct{}{}
				}
			}
		}()
	}
	e := mapping.Envelope{Topic: "queue/a", QoS: 1, Body: make([]byte, 256)}
	sent, taken := 0, 0
	b.SetBytes(256)
	b.ReportAllocs()
	for b.Loop() {
		x.append.append(stored(subject, &e), func(uint64, error) {})
		sent++
		for sent-taken > 1000 {
			<-settled
			taken++
		}
	}
	for ; taken < sent; taken++ {
		<-settled
	}
}

// BenchmarkQueueDrain has one consumer read what is there.
func BenchmarkQueueDrain(b *testing.B) {
	x := startQueues(b, defaultPace)
	_, subject, err := x.target("queue/a")
	require.NoError(b, err)
	e := mapping.Envelope{Topic: "queue/a", QoS: 1, Body: make([]byte, 256)}
	const n = 20_000
	for b.Loop() {
		b.StopTimer()
		stores := make(chan struct{}, n)
		for range n {
			x.append.append(stored(subject, &e), func(uint64, error) { stores <- struct{}{} })
		}
		for range n {
			<-stores
		}
		b.StartTimer()
		left := make(chan struct{}, n)
		c := x.newConsumer(100, func(d *queued) bool {
			d.settle(nil, nil)
			left <- struct{}{}
			return true
		})
		began := time.Now()
		require.NoError(b, x.wait(func(done func(error)) { x.joinQueue(c, "queue/a", done) }))
		for range n {
			<-left
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/n, "ns/message")
		gone := make(chan struct{})
		x.leave(c, true, func() { close(gone) })
		<-gone
	}
}
