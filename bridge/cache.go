package bridge

import "sync"

// cacheBytes bounds the decoded messages kept for subscribers that are behind.
const cacheBytes = 64 << 20

// cache keeps messages of the log by sequence, the newest put last out.
type cache struct {
	mu    sync.Mutex
	limit int
	size  int
	byseq map[uint64]*message
	order []uint64 // as they were put; the oldest at head
	head  int
}

func newCache(limit int) *cache {
	return &cache{limit: limit, byseq: make(map[uint64]*message)}
}

func (c *cache) get(seq uint64) *message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byseq[seq]
}

func (c *cache) put(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byseq[m.seq]; ok {
		return
	}
	c.byseq[m.seq] = m
	c.size += m.size
	c.order = append(c.order, m.seq)
	for c.size > c.limit && c.head < len(c.order) {
		seq := c.order[c.head]
		c.head++
		if old := c.byseq[seq]; old != nil {
			c.size -= old.size
			delete(c.byseq, seq)
		}
	}
	if c.head > 4096 && c.head > len(c.order)/2 {
		c.order = append(c.order[:0], c.order[c.head:]...)
		c.head = 0
	}
}
