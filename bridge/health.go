package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// healEvery is how often a store that failed is looked at.
	healEvery = 2 * time.Second
	// healRoom is what must be free on the disk before it is used again, in bytes.
	healRoom = 16 << 20
)

// health notices when the store of the embedded core stops taking messages.
// The core remembers a failed write for as long as a stream is open: when
// there is room again, its streams are opened anew.
type health struct {
	b       *Bridge
	failure atomic.Pointer[error] // since the last append that was stored
}

// observe is told the outcome of every append.
func (h *health) observe(err error) {
	switch {
	case err == nil:
		if h.failure.Load() != nil {
			h.failure.Store(nil)
		}
	case errors.Is(err, errTimeout) || errors.Is(full(err), errStoreFull):
		h.failure.CompareAndSwap(nil, &err)
	}
}

// err returns why the store takes nothing, or nil.
func (h *health) err() error {
	if failure := h.failure.Load(); failure != nil {
		return fmt.Errorf("the core does not store messages: %w", *failure)
	}
	return nil
}

// run opens the streams of an embedded core anew after they failed, when the
// disk has room, until ctx ends.
func (h *health) run(ctx context.Context) {
	c := h.b.core
	if c.server == nil {
		return
	}
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if h.failure.Load() == nil {
			continue
		}
		if err := c.writable(); err != nil {
			h.b.logger.Error("the store cannot be written; make room, it is used again by itself", "error", err)
			continue
		}
		if err := c.reopen(); err != nil {
			h.b.logger.Error("the store could not be opened again", "error", err)
			continue
		}
		h.failure.Store(nil)
		h.b.logger.Info("the store was opened again")
		h.b.log.reopen(errors.New("the store was opened again"))
	}
}

// writable reports whether the store's disk has room.
func (c *core) writable() error {
	f, err := os.CreateTemp(c.cfg.Store, "probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, healRoom))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// reopen closes all streams of the embedded core and opens them again.
func (c *core) reopen() error {
	config := c.server.JetStreamConfig()
	if config == nil {
		config = &server.JetStreamConfig{}
	}
	if err := c.server.ShutdownJetStream(); err != nil {
		return err
	}
	return c.server.EnableJetStream(&server.JetStreamConfig{
		StoreDir: c.cfg.Store, MaxStore: c.cfg.MaxStore, MaxMemory: config.MaxMemory,
		SyncInterval: time.Second, SyncAlways: c.cfg.Sync == "always",
	})
}
