package bridge

import (
	"context"
	"maps"
	"strconv"
	"sync"

	"github.com/causeway-mq/causeway/mapping"
)

// receipts tells which publishes at QoS 2 of a session are in the log, whatever
// became of the gateway or the connection before the client was told. Such a
// message is marked with its client and packet identifier; one that is sent
// again is looked for where it must be: above the place where the log ended
// when its identifier was last known to be free.
type receipts struct {
	mu   sync.Mutex
	open map[uint16]uint64 // by packet identifier in use: where the log ended before

	// Of the connections before, written while the session is opened.
	former map[uint16]uint64
	after  uint64 // where the log ended, for identifiers that were free
	until  uint64 // what they published is not above this
}

// begin notes the use of an identifier.
func (r *receipts) begin(id uint16, end uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = make(map[uint16]uint64)
	}
	r.open[id] = end
}

// forget notes that an identifier is free.
func (r *receipts) forget(id uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, id)
}

func (r *receipts) snapshot() map[uint16]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.open)
}

// resume takes up what was written of earlier connections.
func (r *receipts) resume(open map[uint16]uint64, after, until uint64) {
	r.open, r.former = maps.Clone(open), open
	r.after, r.until = after, until
}

// mark makes a message recognizable.
func (s *mqttSession) mark(e *mapping.Envelope, id uint16) {
	e.Origin.Client, e.Origin.Connection = s.client, strconv.Itoa(int(id))
}

// repeated reports whether a publish that is said to be a repetition is in the
// log already, from an earlier connection. It waits for the core: what the
// client sends next comes after it.
func (s *mqttSession) repeated(ctx context.Context, topic string, id uint16) (bool, error) {
	after, used := s.receipts.former[id]
	if !used {
		after = s.receipts.after
	}
	if after >= s.receipts.until || s.b.table.Kind(topic) != mapping.Topic {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.b.cfg.NATS.Patience)
	defer cancel()
	subject, err := mapping.Subject(s.b.core.names.durable(), topic)
	if err != nil {
		return false, nil //nolint:nilerr // then it is not in the log
	}
	reader, err := s.b.core.openReader(ctx, s.b.log.stream, map[string]any{
		"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1, "filter_subject": subject,
	})
	if err != nil {
		return false, err
	}
	defer reader.close()
	mark := strconv.Itoa(int(id))
	for {
		batch, err := reader.next(ctx)
		if err != nil || len(batch) == 0 {
			return false, err
		}
		for _, m := range batch {
			meta, err := parseReply(m.Reply)
			if err != nil || meta.stream > s.receipts.until {
				return false, err
			}
			msg, err := newStored(topic, m)
			if err == nil && msg.Origin.Client == s.client && msg.Origin.Connection == mark {
				return true, nil
			}
		}
	}
}
