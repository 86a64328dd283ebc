package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

const (
	// maxFilterChunk bounds one record of subscriptions, in bytes.
	maxFilterChunk = 64 << 10
	// filterFields is what a subscription takes there besides its filter.
	filterFields = 128
)

// errSessionEnded is a change of subscriptions that the end of the connection
// came before.
var errSessionEnded = errors.New("the connection has ended")

// filterKeeper writes the subscriptions of a session that outlives its
// connection, in records of limited size ("f.<key>.<number>"). A change writes
// the records it concerns: one write of each at a time, which takes with it
// all that has changed until it begins.
type filterKeeper struct {
	s      *mqttSession
	writes sync.WaitGroup // under way

	mu     sync.Mutex
	closed bool
	chunks []*filterChunk // by number
}

// filterChunk is one record.
type filterChunk struct {
	key     string
	size    int // in bytes, at most
	filters map[string]filterRecord
	changed bool
	writing bool
	waiting []func(error) // for the next write
}

// change notes subscriptions that were made or changed and filters that have
// none any more. done is called when that is written.
func (k *filterKeeper) change(made []filterRecord, gone []string, done func(error)) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		done(errSessionEnded)
		return
	}
	for _, rec := range made {
		k.put(rec)
	}
	for _, filter := range gone {
		for _, c := range k.with(filter) {
			delete(c.filters, filter)
			c.size -= len(filter) + filterFields
			c.changed = true
		}
	}
	var changed, idle []*filterChunk
	for _, c := range k.chunks {
		if c.changed {
			changed = append(changed, c)
		}
	}
	written := all(len(changed), done)
	for _, c := range changed {
		c.changed = false
		c.waiting = append(c.waiting, written)
		if !c.writing {
			c.writing = true
			idle = append(idle, c)
		}
	}
	k.writes.Add(len(idle))
	k.mu.Unlock()
	for _, c := range idle {
		k.write(c)
	}
	if len(changed) == 0 {
		done(nil)
	}
}

// put notes a subscription where it is, or where there is room.
func (k *filterKeeper) put(rec filterRecord) {
	in := k.with(rec.Filter)
	if len(in) == 0 {
		size := len(rec.Filter) + filterFields
		i := slices.IndexFunc(k.chunks, func(c *filterChunk) bool { return c.size == 0 || c.size+size <= maxFilterChunk })
		if i < 0 {
			i = len(k.chunks)
		}
		in = append(in, k.chunk(i))
		in[0].size += size
	}
	for _, c := range in {
		c.filters[rec.Filter] = rec
		c.changed = true
	}
}

// with returns the chunks that have a filter. A crash between two writes may
// have left it in more than one.
func (k *filterKeeper) with(filter string) (in []*filterChunk) {
	for _, c := range k.chunks {
		if _, ok := c.filters[filter]; ok {
			in = append(in, c)
		}
	}
	return in
}

// chunk returns the chunk of a number.
func (k *filterKeeper) chunk(number int) *filterChunk {
	for i := len(k.chunks); i <= number; i++ {
		k.chunks = append(k.chunks, &filterChunk{key: fmt.Sprintf("f.%s.%d", k.s.key, i), filters: make(map[string]filterRecord)})
	}
	return k.chunks[number]
}

// all returns a completion to be called n times; done gets one of its errors.
func all(n int, done func(error)) func(error) {
	var mu sync.Mutex
	var failed error
	return func(err error) {
		mu.Lock()
		if err != nil {
			failed = err
		}
		n--
		last := n == 0
		mu.Unlock()
		if last {
			done(failed)
		}
	}
}

// write writes a chunk as it is now, and once more when it has changed by then.
func (k *filterKeeper) write(c *filterChunk) {
	k.mu.Lock()
	list := slices.AppendSeq([]filterRecord{}, maps.Values(c.filters))
	waiting := c.waiting
	c.waiting = nil
	k.mu.Unlock()
	k.s.b.sessions.records.overwrite(c.key, list, func(err error) {
		for _, done := range waiting {
			done(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(c.waiting) > 0 {
			k.s.b.work.Go(func() { k.write(c) }) // not here: the window of appends may be full
			return
		}
		c.writing = false
		k.writes.Done()
	})
}

// close returns when everything is written. Nothing is written after it.
func (k *filterKeeper) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.writes.Wait()
}

// load reads the subscriptions of an earlier connection.
func (k *filterKeeper) load(ctx context.Context) error {
	prefix := "f." + k.s.key + "."
	return k.s.b.sessions.records.each(ctx, prefix+"*", func(key string, value []byte, _ uint64) error {
		if len(value) == 0 {
			return nil
		}
		var list []filterRecord
		number, err := strconv.Atoi(strings.TrimPrefix(key, prefix))
		if err == nil {
			err = json.Unmarshal(value, &list)
		}
		if err != nil {
			return fmt.Errorf("subscriptions of %s: %w", k.s.client, err)
		}
		c := k.chunk(number)
		for _, rec := range list {
			c.filters[rec.Filter] = rec
			c.size += len(rec.Filter) + filterFields
			if f, reason := k.s.filter(packet.Filter{Topic: rec.Filter, QoS: packet.QoS(rec.QoS)}, rec.Identifier); reason < packet.UnspecifiedError {
				f.record = rec
				k.s.filters[rec.Filter] = f
			}
		}
		return nil
	})
}
