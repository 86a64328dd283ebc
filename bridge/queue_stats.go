package bridge

import "sync/atomic"

// queueCounters count what happens to queued messages. Any goroutine may add.
type queueCounters struct {
	delivered, acknowledged, requeued, returned, deadLettered, expired, adopted, dropped, damaged atomic.Uint64
}

// QueueStats is a snapshot of the counters of queues and groups.
type QueueStats struct {
	Delivered    uint64 // to clients
	Acknowledged uint64 // by clients
	Requeued     uint64 // refused by clients, to be delivered again
	Returned     uint64 // given back to the core without having been refused
	DeadLettered uint64
	Expired      uint64
	Adopted      uint64 // delivered by the core again while a client held them
	Dropped      uint64 // at QoS 0, when no consumer of the group had room
	Damaged      uint64 // with metadata that cannot be read
	Sources      int    // queues and groups that are consumed here
	Consumers    int
	Unsettled    int // deliveries that are here, with clients or waiting for them
}

func (q *queues) stats() QueueStats {
	s := QueueStats{
		Delivered:    q.counters.delivered.Load(),
		Acknowledged: q.counters.acknowledged.Load(),
		Requeued:     q.counters.requeued.Load(),
		Returned:     q.counters.returned.Load(),
		DeadLettered: q.counters.deadLettered.Load(),
		Expired:      q.counters.expired.Load(),
		Adopted:      q.counters.adopted.Load(),
		Dropped:      q.counters.dropped.Load(),
		Damaged:      q.counters.damaged.Load(),
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Consumers = len(q.consumers)
	for _, source := range q.sources {
		if !source.deserted() {
			s.Sources++
		}
		s.Unsettled += len(source.held)
	}
	return s
}
