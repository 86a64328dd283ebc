package mapping_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

var sensorMessage = mapping.Envelope{
	QoS: 1, UTF8: true, ContentType: "application/json", HasContentType: true,
	Expires:    time.UnixMilli(1700000000123),
	Properties: []mapping.Property{{"unit", "°C"}, {"room", "4.12"}},
	Origin:     mapping.Origin{Protocol: "mqtt", Version: "5", Client: "sensor-7", User: "sensors", Gateway: "gw1", Connection: "42"},
	Body:       []byte(`{"temperature": 21.5}`),
}

// TestHotPathsAllocateNothing is what the dispatcher of every message relies on.
func TestHotPathsAllocateNothing(t *testing.T) {
	table := newTable(t, docRules...)
	subject := make([]byte, 0, 64)
	header, data := sensorMessage.Encode()
	var e mapping.Envelope
	for _, row := range []struct {
		name string
		most float64
		run  func()
	}{
		{"destination to topic", 0, func() { _, _ = table.FromDestination("/queue/sensors.7.set") }},
		{"topic to destination", 0, func() { table.Destination("sensors/7/set") }},
		{"kind", 0, func() { table.Kind("sensors/7/set") }},
		{"filter and topic", 0, func() { mapping.MatchFilter("sensors/+/#", "sensors/7/set") }},
		{"topic to bytes of a subject", 0, func() { subject, _ = mapping.AppendSubject(subject[:0], "cw.t", "sensors/7/set") }},
		{"shard", 0, func() { mapping.Shard("queue/orders", 16) }},
		{"MQTT string that is one", 0, func() { mapping.MQTTString("text/plain; charset=utf-8; é") }},
		{"topic to subject", 1, func() { _, _ = mapping.Subject("cw.t", "sensors/7/set") }},
		{"subject to topic", 1, func() { _, _ = mapping.TopicOf("cw.t", "cw.t.sensors.7.set") }},
		{"key", 1, func() { mapping.Key("m-sensor 7") }},
		{"envelope to header", 1, func() { sensorMessage.Encode() }},
		{"header to envelope", 1, func() { _ = e.Decode(header, data) }},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, row.run), row.most, row.name)
	}
}

// TestNamesBeyondTheCache asks for more names than it keeps, from several
// goroutines, and for a long one.
func TestNamesBeyondTheCache(t *testing.T) {
	table := newTable(t)
	var wrong atomic.Int64
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for i := range 20_000 {
				topic := "a/" + strconv.Itoa(i)
				if n, err := table.FromDestination(table.Destination(topic)); err != nil || n.Topic != topic {
					wrong.Add(1)
				}
			}
		})
	}
	askers.Wait()
	require.Zero(t, wrong.Load())
	long := strings.Repeat("a", 1000)
	require.Equal(t, "/topic/"+long, table.Destination(long))
}

func BenchmarkFromDestination(b *testing.B) {
	table := newTable(b, docRules...)
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = table.FromDestination("/queue/sensors.7.set")
		}
	})
	b.Run("cached, every core", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = table.FromDestination("/queue/sensors.7.set")
			}
		})
	})
	b.Run("every one new", func(b *testing.B) {
		b.ReportAllocs()
		names := newNames("/queue/sensors.", ".set")
		for i := 0; b.Loop(); i++ {
			_, _ = table.FromDestination(names[i%len(names)])
		}
	})
}

func BenchmarkDestination(b *testing.B) {
	table := newTable(b, docRules...)
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Destination("sensors/7/set")
		}
	})
	b.Run("every one new", func(b *testing.B) {
		b.ReportAllocs()
		names := newNames("sensors/", "/set")
		for i := 0; b.Loop(); i++ {
			table.Destination(names[i%len(names)])
		}
	})
}

// newNames returns more names than the cache holds.
func newNames(before, after string) []string {
	names := make([]string, 1<<17)
	for i := range names {
		names[i] = before + strconv.Itoa(i) + after
	}
	return names
}

func BenchmarkKind(b *testing.B) {
	table := newTable(b, docRules...)
	b.ReportAllocs()
	for b.Loop() {
		table.Kind("building/4/room/12/temperature")
	}
}

func BenchmarkAppendSubject(b *testing.B) {
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = mapping.AppendSubject(dst[:0], "cw.t", "building/4/room/12/temperature")
	}
}

func BenchmarkTopicOf(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = mapping.TopicOf("cw.t", "cw.t.building.4.room.12.temperature")
	}
}

func BenchmarkMatchFilter(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mapping.MatchFilter("building/+/room/#", "building/4/room/12/temperature")
	}
}

func BenchmarkEnvelope(b *testing.B) {
	header, data := sensorMessage.Encode()
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(header)))
		b.ReportAllocs()
		for b.Loop() {
			sensorMessage.Encode()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(header)))
		b.ReportAllocs()
		var e mapping.Envelope
		for b.Loop() {
			_ = e.Decode(header, data)
		}
	})
}
