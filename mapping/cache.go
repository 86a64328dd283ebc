package mapping

import (
	"hash/maphash"
	"strings"
	"sync"
)

// cache keeps the answers for names that were asked for lately, at most
// cacheShards × cacheEntries of them. Its zero value is ready; a full one
// forgets any.
type cache[V any] struct {
	shards [cacheShards]struct {
		mu      sync.RWMutex
		entries map[string]V
	}
}

const (
	cacheShards  = 16
	cacheEntries = 512
	cacheName    = 256 // bytes of the longest name that is kept
)

var cacheSeed = maphash.MakeSeed()

func (c *cache[V]) get(name string) (V, bool) {
	s := &c.shards[maphash.String(cacheSeed, name)%cacheShards]
	s.mu.RLock()
	v, ok := s.entries[name]
	s.mu.RUnlock()
	return v, ok
}

func (c *cache[V]) put(name string, v V) {
	if len(name) > cacheName {
		return
	}
	s := &c.shards[maphash.String(cacheSeed, name)%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[string]V)
	}
	if len(s.entries) >= cacheEntries {
		for old := range s.entries {
			delete(s.entries, old)
			break
		}
	}
	s.entries[strings.Clone(name)] = v // name may be part of something large
}
