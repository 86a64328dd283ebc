package bridge

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flowLimit bounds, in bytes, what was published without being stored
	// and has not come back from the core. It stays far below what the
	// connection may hold, so that nothing is lost on the way.
	flowLimit = 64 << 20
	// flowOverhead is what a message costs beside its body.
	flowOverhead = 512
	// flowPatience is how long a publisher waits before it takes what is
	// missing for lost.
	flowPatience = time.Second
)

// flow holds publishers of unstored messages to the pace of the dispatcher.
// Every such message comes back to this gateway, because an embedded core
// without neighbours has no other subscriber.
type flow struct {
	sent, seen atomic.Int64
	waiting    atomic.Int32

	mu   sync.Mutex
	room chan struct{} // closed when there is room again; nil: nobody waits
}

// enter counts a message on its way to the core, and waits while too much is.
func (f *flow) enter(size int) {
	n := int64(size + flowOverhead)
	if f.sent.Add(n)-f.seen.Load() <= flowLimit {
		return
	}
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	timeout := time.NewTimer(flowPatience)
	defer timeout.Stop()
	for {
		f.mu.Lock()
		if f.sent.Load()-f.seen.Load() <= flowLimit {
			f.mu.Unlock()
			return
		}
		if f.room == nil {
			f.room = make(chan struct{})
		}
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-timeout.C:
			f.seen.Store(f.sent.Load())
			return
		}
	}
}

// leave counts a message that has come back.
func (f *flow) leave(size int) {
	seen := f.seen.Add(int64(size + flowOverhead))
	if f.waiting.Load() == 0 || f.sent.Load()-seen > flowLimit/2 {
		return
	}
	f.mu.Lock()
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
	f.mu.Unlock()
}
