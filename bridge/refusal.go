package bridge

import (
	"sync"
	"sync/atomic"
)

// refusals are those of a client's subscriptions whose offers it had no room
// for: only they have to be told when it has some again, however many others
// there are.
type refusals[T comparable] struct {
	readied atomic.Uint64 // calls of take

	mu   sync.Mutex
	list map[T]struct{}
}

// offer makes an offer for one of them, and notes a refusal. When the client
// got room in between, nobody would tell: the offer is repeated.
func (r *refusals[T]) offer(of T, offer func() bool) bool {
	for {
		readied := r.readied.Load()
		if offer() {
			return true
		}
		if r.note(of, readied) {
			return false
		}
	}
}

func (r *refusals[T]) note(of T, readied uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readied.Load() != readied {
		return false
	}
	if r.list == nil {
		r.list = make(map[T]struct{})
	}
	r.list[of] = struct{}{}
	return true
}

// take returns who was refused since the last call.
func (r *refusals[T]) take() map[T]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	r.readied.Add(1)
	return list
}
