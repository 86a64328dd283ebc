package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// metricsHandler answers with all metrics in Prometheus's formats.
func metricsHandler(deps Deps) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		snapshot[stomp.Stats]{deps.STOMP, stompMetrics},
		snapshot[mqtt.Stats]{deps.MQTT, mqttMetrics},
		snapshot[bridge.Stats]{deps.Bridge, bridgeMetrics},
		snapshot[auth.Stats]{deps.Auth, authMetrics},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// snapshot is a collector of the numbers in a snapshot of type S, which is
// taken once for each scrape.
type snapshot[S any] struct {
	take    func() S
	metrics []metric[S]
}

// Describe tells the metrics of the snapshot.
func (s snapshot[S]) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range s.metrics {
		descs <- m.desc
	}
}

// Collect tells their values.
func (s snapshot[S]) Collect(values chan<- prometheus.Metric) {
	now := s.take()
	for _, m := range s.metrics {
		values <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(now))
	}
}

// metric is a number in a snapshot of type S. Names and units follow
// https://prometheus.io/docs/practices/naming.
type metric[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(S) float64
}

// number is what snapshots count in.
type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// counter describes a number that only grows since the process started.
func counter[S any, N number](name, help string, value func(S) N) metric[S] {
	return newMetric(name+"_total", help, prometheus.CounterValue, value)
}

// gauge describes a number that comes and goes.
func gauge[S any, N number](name, help string, value func(S) N) metric[S] {
	return newMetric(name, help, prometheus.GaugeValue, value)
}

func newMetric[S any, N number](name, help string, kind prometheus.ValueType, value func(S) N) metric[S] {
	return metric[S]{prometheus.NewDesc(name, help, nil, nil), kind, func(s S) float64 { return float64(value(s)) }}
}

var stompMetrics = []metric[stomp.Stats]{
	gauge("causeway_stomp_connections", "Open connections.", func(s stomp.Stats) int64 { return s.Connections }),
	gauge("causeway_stomp_clients", "Open connections that are past CONNECT.", func(s stomp.Stats) int64 { return s.Clients }),
	counter("causeway_stomp_connections_accepted", "Connections accepted.", func(s stomp.Stats) int64 { return s.Accepted }),
	counter("causeway_stomp_connects_refused", "CONNECT frames answered with an error.", func(s stomp.Stats) int64 { return s.ConnectsRefused }),
	counter("causeway_stomp_frames_received", "Frames read from clients.", func(s stomp.Stats) int64 { return s.FramesReceived }),
	counter("causeway_stomp_frames_sent", "Frames written to clients.", func(s stomp.Stats) int64 { return s.FramesSent }),
	counter("causeway_stomp_received_bytes", "Bytes read from clients.", func(s stomp.Stats) int64 { return s.BytesReceived }),
	counter("causeway_stomp_sent_bytes", "Bytes written to clients.", func(s stomp.Stats) int64 { return s.BytesSent }),
	counter("causeway_stomp_messages_received", "SEND frames from clients.", func(s stomp.Stats) int64 { return s.Published }),
	counter("causeway_stomp_messages_sent", "MESSAGE frames to clients.", func(s stomp.Stats) int64 { return s.Delivered }),
	counter("causeway_stomp_deliveries_denied", "Deliveries that had to wait or were lost for lack of room.", func(s stomp.Stats) int64 { return s.Denied }),
	counter("causeway_stomp_deliveries_overdue", "Deliveries settled because the client left too many unacknowledged.", func(s stomp.Stats) int64 { return s.Overdue }),
	counter("causeway_stomp_errors", "ERROR frames, each the end of a connection.", func(s stomp.Stats) int64 { return s.Errors }),
}

var mqttMetrics = []metric[mqtt.Stats]{
	gauge("causeway_mqtt_connections", "Open connections.", func(s mqtt.Stats) int64 { return s.Connections }),
	gauge("causeway_mqtt_clients", "Open connections that are past CONNECT.", func(s mqtt.Stats) int64 { return s.Clients }),
	counter("causeway_mqtt_connections_accepted", "Connections accepted.", func(s mqtt.Stats) int64 { return s.Accepted }),
	counter("causeway_mqtt_connects_refused", "CONNECT packets answered with an error.", func(s mqtt.Stats) int64 { return s.ConnectsRefused }),
	counter("causeway_mqtt_packets_received", "Packets read from clients.", func(s mqtt.Stats) int64 { return s.PacketsReceived }),
	counter("causeway_mqtt_packets_sent", "Packets written to clients.", func(s mqtt.Stats) int64 { return s.PacketsSent }),
	counter("causeway_mqtt_received_bytes", "Bytes read from clients.", func(s mqtt.Stats) int64 { return s.BytesReceived }),
	counter("causeway_mqtt_sent_bytes", "Bytes written to clients.", func(s mqtt.Stats) int64 { return s.BytesSent }),
	counter("causeway_mqtt_messages_received", "PUBLISH packets from clients.", func(s mqtt.Stats) int64 { return s.Published }),
	counter("causeway_mqtt_messages_refused", "PUBLISH packets from clients that were refused.", func(s mqtt.Stats) int64 { return s.PublishesRefused }),
	counter("causeway_mqtt_messages_sent", "PUBLISH packets to clients.", func(s mqtt.Stats) int64 { return s.Delivered }),
	counter("causeway_mqtt_deliveries_denied", "Deliveries that had to wait or were lost for lack of room.", func(s mqtt.Stats) int64 { return s.Denied }),
	counter("causeway_mqtt_deliveries_undeliverable", "Deliveries dropped, most for the client's Maximum Packet Size.", func(s mqtt.Stats) int64 { return s.Undeliverable }),
	counter("causeway_mqtt_deliveries_expired", "Deliveries dropped because their expiry had passed.", func(s mqtt.Stats) int64 { return s.Expired }),
}

var authMetrics = []metric[auth.Stats]{
	counter("causeway_auth_logins_accepted", "Logins accepted.", func(s auth.Stats) uint64 { return s.Accepted }),
	counter("causeway_auth_logins_refused", "Logins refused.", func(s auth.Stats) uint64 { return s.Refused }),
}

var bridgeMetrics = []metric[bridge.Stats]{
	gauge("causeway_sessions", "Clients connected, of both protocols.", func(s bridge.Stats) int { return s.Sessions }),
	gauge("causeway_log_position", "Sequence of the last message read from the log of topics.", func(s bridge.Stats) uint64 { return s.LogPosition }),
	counter("causeway_messages_published", "Messages handed to the core.", func(s bridge.Stats) uint64 { return s.Published }),
	counter("causeway_messages_dropped", "Copies at QoS 0 that a client had no room for.", func(s bridge.Stats) uint64 { return s.Dropped }),
	counter("causeway_messages_expired", "Messages not delivered because they had expired.", func(s bridge.Stats) uint64 { return s.Expired }),
	counter("causeway_messages_trimmed", "Messages that log_retention removed before a client read them.", func(s bridge.Stats) uint64 { return s.Trimmed }),
	counter("causeway_retain_ignored", "Messages to queues that asked to be retained.", func(s bridge.Stats) uint64 { return s.RetainIgnored }),
	counter("causeway_headers_escaped", "STOMP headers that no MQTT string can hold, sent escaped.", func(s bridge.Stats) uint64 { return s.Escaped }),
	counter("causeway_sessions_reset", "Sessions whose position was not of this log and starts anew.", func(s bridge.Stats) uint64 { return s.Reset }),
	gauge("causeway_queue_sources", "Queues and groups that are consumed through this gateway.", func(s bridge.Stats) int { return s.Queues.Sources }),
	gauge("causeway_queue_consumers", "Consumers of queues and groups.", func(s bridge.Stats) int { return s.Queues.Consumers }),
	gauge("causeway_queue_unsettled", "Deliveries of queues that clients have or that wait for them here.", func(s bridge.Stats) int { return s.Queues.Unsettled }),
	counter("causeway_queue_delivered", "Deliveries to consumers.", func(s bridge.Stats) uint64 { return s.Queues.Delivered }),
	counter("causeway_queue_acknowledged", "Deliveries that consumers acknowledged.", func(s bridge.Stats) uint64 { return s.Queues.Acknowledged }),
	counter("causeway_queue_requeued", "Deliveries that consumers refused, to be delivered again.", func(s bridge.Stats) uint64 { return s.Queues.Requeued }),
	counter("causeway_queue_returned", "Deliveries given back to the core without having been refused.", func(s bridge.Stats) uint64 { return s.Queues.Returned }),
	counter("causeway_queue_dead_lettered", "Messages that became dead letters.", func(s bridge.Stats) uint64 { return s.Queues.DeadLettered }),
	counter("causeway_queue_expired", "Messages of queues not delivered because they had expired.", func(s bridge.Stats) uint64 { return s.Queues.Expired }),
	counter("causeway_queue_adopted", "Deliveries that the core repeated while a client held them.", func(s bridge.Stats) uint64 { return s.Queues.Adopted }),
	counter("causeway_queue_dropped", "Copies at QoS 0 that no consumer of a group had room for.", func(s bridge.Stats) uint64 { return s.Queues.Dropped }),
	counter("causeway_queue_damaged", "Messages of queues whose metadata cannot be read.", func(s bridge.Stats) uint64 { return s.Queues.Damaged }),
}
