package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// cacheSize bounds a generation of the cache: 32 KiB of logins.
const cacheSize = 1024

// cache remembers logins that were checked, so that a client that connects for
// every request pays for its password hash once. It keeps no password and
// nothing a password could be guessed from without the process's own key.
type cache struct {
	secret [32]byte

	mu         sync.Mutex
	young, old map[login]struct{} // old is what young was when it was full
}

// login stands for a user and a password.
type login [sha256.Size]byte

func newCache() *cache {
	c := &cache{young: make(map[login]struct{})}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

func (c *cache) key(name, password string) (k login) {
	mac := hmac.New(sha256.New, c.secret[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
	mac.Write([]byte(name))
	mac.Write([]byte(password))
	mac.Sum(k[:0])
	return k
}

func (c *cache) has(k login) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[k]; ok {
		return true
	}
	if _, ok := c.old[k]; !ok {
		return false
	}
	c.insert(k)
	return true
}

func (c *cache) add(k login) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.insert(k)
}

// insert is called with mu held.
func (c *cache) insert(k login) {
	if len(c.young) >= cacheSize {
		c.old, c.young = c.young, make(map[login]struct{}, cacheSize)
	}
	c.young[k] = struct{}{}
}
