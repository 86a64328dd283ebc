package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// timers are the things to do later that must survive this process: the core
// keeps them as scheduled messages and hands each that is due to one gateway.
type timers struct {
	b       *Bridge
	consume jetstream.ConsumeContext
	busy    sync.WaitGroup
}

// The kinds of timers.
const (
	timerWill   = "will"   // publish the will of a session that is disconnected
	timerExpire = "expire" // forget a session that nobody came back to
)

// timer is the content of a scheduled message: a session, as it was when the
// timer was set.
type timer struct {
	Kind  string `json:"kind"`
	Key   string `json:"key"`
	Epoch uint64 `json:"epoch"`
}

// openTimers begins to take what is due.
func openTimers(ctx context.Context, b *Bridge) (*timers, error) {
	t := &timers{b: b}
	c, err := b.core.js.CreateOrUpdateConsumer(ctx, b.core.names.timers(), jetstream.ConsumerConfig{
		Durable: "due", FilterSubject: b.core.names.due(),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxAckPending: 64,
	})
	if err != nil {
		return nil, fmt.Errorf("timers: %w", err)
	}
	t.consume, err = c.Consume(t.due, jetstream.PullMaxMessages(64))
	if err != nil {
		return nil, fmt.Errorf("timers: %w", err)
	}
	return t, nil
}

func (t *timers) close() {
	t.consume.Drain() // what has come and is not done would be missing until ackWait
	<-t.consume.Closed()
	t.busy.Wait()
}

// set schedules a timer; a second one of that kind and key replaces it. There
// is no way to cancel one: whoever performs it looks whether it still applies.
func (t *timers) set(ctx context.Context, kind, key string, epoch uint64, at time.Time) error {
	subject := t.b.core.names.timer() + "." + kind + "." + key
	if err := t.b.core.purge(ctx, t.b.core.names.timers(), subject); err != nil {
		return err
	}
	body, err := json.Marshal(timer{kind, key, epoch})
	if err != nil {
		return err
	}
	return t.b.await(func(done func(error)) {
		t.b.append.append(&nats.Msg{
			Subject: subject, Data: body,
			Header: nats.Header{
				"Nats-Schedule":        {"@at " + at.UTC().Format(time.RFC3339Nano)},
				"Nats-Schedule-Target": {t.b.core.names.due()},
			},
		}, func(_ uint64, err error) { done(err) })
	})
}

// due performs one timer. A failure leaves it to be tried again.
func (t *timers) due(m jetstream.Msg) {
	t.busy.Add(1)
	defer t.busy.Done()
	var what timer
	if err := json.Unmarshal(m.Data(), &what); err != nil {
		t.b.logger.Error("timer not understood", "error", err)
		_ = m.Term()
		return
	}
	if err := t.b.sessions.due(t.b.ctx, what); err != nil {
		if !errors.Is(err, context.Canceled) {
			t.b.logger.Warn("timer to be tried again", "kind", what.Kind, "error", err)
		}
		_ = m.NakWithDelay(time.Second)
		return
	}
	_ = m.Ack()
}

// await runs something that completes later and waits for it.
func (b *Bridge) await(start func(done func(error))) error {
	result := make(chan error, 1)
	start(func(err error) { result <- err })
	return <-result
}
