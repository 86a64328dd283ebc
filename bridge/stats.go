package bridge

import "sync/atomic"

// counters count what happens to messages. Any goroutine may add.
type counters struct {
	published     atomic.Uint64
	dropped       atomic.Uint64
	expired       atomic.Uint64
	trimmed       atomic.Uint64
	retainIgnored atomic.Uint64
	escaped       atomic.Uint64
	reset         atomic.Uint64
}

// Stats is a snapshot of the bridge's counters since it started.
type Stats struct {
	Published     uint64 // messages handed to the core
	Dropped       uint64 // copies at QoS 0 that a client had no room for
	Expired       uint64 // messages not delivered because they had expired
	Trimmed       uint64 // messages retention removed before a client read them, as far as known
	RetainIgnored uint64 // messages to queues that asked to be retained
	Escaped       uint64 // STOMP headers that no MQTT string can hold, sent escaped
	Reset         uint64 // sessions whose position was not of this log
	LogPosition   uint64 // the sequence the tail of the log has delivered
	Sessions      int    // clients connected
	Queues        QueueStats
}

// Stats returns the counters as they are now.
func (b *Bridge) Stats() Stats {
	return Stats{
		Published:     b.counters.published.Load(),
		Dropped:       b.counters.dropped.Load(),
		Expired:       b.counters.expired.Load(),
		Trimmed:       b.counters.trimmed.Load(),
		RetainIgnored: b.counters.retainIgnored.Load(),
		Escaped:       b.counters.escaped.Load(),
		Reset:         b.counters.reset.Load(),
		LogPosition:   b.log.processed.Load(),
		Sessions:      b.sessions.count(),
		Queues:        b.queues.stats(),
	}
}
