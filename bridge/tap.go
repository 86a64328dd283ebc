package bridge

import (
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// taps lets plain MQTT subscriptions watch queues: copies while connected,
// nothing consumed. The core delivers queue traffic only while somebody taps.
type taps struct {
	b       *Bridge
	matcher *matcher // subscriptions whose filter covers queues

	mu    sync.Mutex
	count int
	sub   *nats.Subscription
}

func (t *taps) init(b *Bridge) { t.b, t.matcher = b, newMatcher() }

// add opens the tap for the first subscription that needs it.
func (t *taps) add(sub *subscription) error {
	if err := t.matcher.add(sub); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count++; t.count > 1 {
		return nil
	}
	root := t.b.core.names.prefix + ".q"
	router := newRouter(t.matcher, root)
	var err error
	t.sub, err = t.b.core.sub.Subscribe(root+".*.>", func(m *nats.Msg) {
		shard, tokens, _ := strings.Cut(m.Subject[len(root)+1:], ".")
		subject := root + "." + tokens
		if strings.HasSuffix(shard, "$") {
			subject = root + "$." + tokens
		}
		t.b.dispatch(router.route(subject), m, newStored)
	})
	if err != nil {
		t.count--
		return err
	}
	return t.sub.SetPendingLimits(livePending, livePendingBytes)
}

func (t *taps) remove(sub *subscription) {
	t.matcher.remove(sub)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count--; t.count == 0 && t.sub != nil {
		_ = t.sub.Unsubscribe()
		t.sub = nil
	}
}
