// Package bridge joins the two protocols over NATS: it turns frames and
// packets into envelopes, keeps messages, sessions and retained messages in
// the core, and hands them to the clients that asked for them.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// Bridge is the broker behind both front-ends.
type Bridge struct {
	cfg    Config
	logger *slog.Logger
	auth   *auth.Authenticator
	table  *mapping.Table
	name   string // of this gateway

	core     *core
	append   *appender
	matcher  *matcher
	log      *msgLog
	retained *retained
	queues   *queues
	timers   *timers
	gateways *gateways
	taps     taps
	sessions sessions
	temps    temps
	durables durables
	batches  batches
	flow     flow
	health   health
	counters counters

	ctx  context.Context // ends with Close: for work that outlives the call that began it
	stop context.CancelFunc
	work sync.WaitGroup
}

// New starts the core, brings it up to the configuration and takes back what
// an earlier run of this gateway left. Close ends it.
func New(ctx context.Context, cfg Config, authenticator *auth.Authenticator, log *slog.Logger) (_ *Bridge, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	table, err := mapping.New(mapping.Options{Rules: cfg.Mapping, QueueRoot: cfg.Queues.Root})
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	b := &Bridge{cfg: cfg, logger: log, auth: authenticator, table: table, matcher: newMatcher()}
	b.ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			_ = b.Close(ctx)
		}
	}()
	if b.core, err = startCore(ctx, cfg, log); err != nil {
		return nil, err
	}
	if b.name, err = gatewayName(cfg); err != nil {
		return nil, err
	}
	b.lowerMaxMessage()
	id := ""
	if b.core.server == nil {
		id = nuid.Next() + "."
	}
	if b.append, err = newAppender(b.core.pub, cfg.NATS.Patience, id, b.health.observe); err != nil {
		return nil, err
	}
	b.health.b = b
	b.retained = newRetained(b)
	b.sessions.init(b)
	b.temps.init(b)
	b.taps.init(b)
	if b.log, err = openLog(ctx, b); err != nil {
		return nil, err
	}
	b.queues = newQueues(b.core, b.append, b.table, cfg.Queues, b.name, log)
	for _, subscribe := range []func() error{b.openLive, b.temps.open} {
		if err := subscribe(); err != nil {
			return nil, err
		}
	}
	b.core.whenBack(b.core.pub, b.append.resend)
	b.core.whenBack(b.core.sub, func() { b.log.reopen(errors.New("the core was away")) })
	b.work.Go(func() { b.log.scan.run(b.ctx) })
	b.work.Go(func() { b.log.watch(b.ctx) })
	b.work.Go(func() { b.health.run(b.ctx) })
	b.work.Go(func() { b.sessions.run(b.ctx) })
	if b.timers, err = openTimers(ctx, b); err != nil {
		return nil, err
	}
	if b.gateways, err = openGateways(ctx, b); err != nil {
		return nil, err
	}
	if err := b.sessions.sweepDead(ctx); err != nil {
		return nil, fmt.Errorf("sessions of the last run: %w", err)
	}
	b.work.Go(func() { b.gateways.run(b.ctx) })
	return b, nil
}

// Close lets go of the core. Both servers have ended by then; what their
// clients were told is stored, is stored.
func (b *Bridge) Close(ctx context.Context) error {
	if b.timers != nil {
		b.timers.close()
	}
	if b.queues != nil {
		b.queues.close(ctx)
	}
	if b.append != nil {
		b.sessions.flush(ctx)
	}
	if b.gateways != nil {
		b.gateways.close(ctx)
	}
	b.stop()
	b.work.Wait()
	if b.log != nil {
		b.log.close()
	}
	if b.append != nil {
		b.append.close()
	}
	if b.core != nil {
		b.core.close()
	}
	return nil
}

// STOMP returns the broker for a stomp.Server.
func (b *Bridge) STOMP() stomp.Broker { return stompBroker{b} }

// MQTT returns the broker for an mqtt.Server.
func (b *Bridge) MQTT() mqtt.Broker { return mqttBroker{b} }

// Ready returns nil when the core is usable, else why it is not.
func (b *Bridge) Ready() error {
	if err := b.core.ready(); err != nil {
		return err
	}
	return b.health.err()
}

// MaxMessage returns the largest message that is taken, in bytes.
func (b *Bridge) MaxMessage() int { return b.cfg.MaxMessage }

// Name returns the name of this gateway.
func (b *Bridge) Name() string { return b.name }

// lowerMaxMessage heeds what an external core takes.
func (b *Bridge) lowerMaxMessage() {
	if b.core.server != nil {
		return
	}
	limit := int(b.core.pub.MaxPayload()) - 128<<10
	if limit > 0 && limit < b.cfg.MaxMessage {
		b.logger.Warn("max_message is lowered to what the core takes", "size_bytes", limit)
		b.cfg.MaxMessage = limit
	}
}

// gatewayName is the configured name, or one made once and kept in the store.
func gatewayName(cfg Config) (string, error) {
	if cfg.Name != "" {
		return cfg.Name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "causeway"
	}
	name := host + "-" + strings.ToLower(nuid.Next()[:6])
	if cfg.NATS.URL != "" {
		return name, nil
	}
	file := filepath.Join(cfg.NATS.Store, "name")
	if old, err := os.ReadFile(file); err == nil && len(old) > 0 {
		return strings.TrimSpace(string(old)), nil
	}
	if err := os.WriteFile(file, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("nats.store: %w", err)
	}
	return name, nil
}

// openLive subscribes to messages that are not stored. Those of both roots go
// through one channel, and so stay in the order they were published.
func (b *Bridge) openLive() error {
	live := make(chan *nats.Msg, livePending)
	for _, root := range []string{b.core.names.live() + ".>", b.core.names.live() + "$.>"} {
		if _, err := b.core.sub.ChanSubscribe(root, live); err != nil {
			return err
		}
	}
	b.work.Go(func() {
		router := newRouter(b.matcher, b.core.names.live())
		for {
			select {
			case m := <-live:
				b.dispatch(router.route(m.Subject), m, newMessage)
				b.flow.leave(len(m.Data))
			case <-b.ctx.Done():
				return
			}
		}
	})
	return nil
}

// dispatch hands a message that is not stored to those who are online for it.
func (b *Bridge) dispatch(rt *route, m *nats.Msg, decode func(string, *nats.Msg) (*message, error)) {
	if rt == nil || len(rt.targets) == 0 {
		return
	}
	msg, err := decode(rt.topic, m)
	if err != nil {
		b.logger.Warn("message not understood", "subject", m.Subject, "error", err)
		return
	}
	for i := range rt.targets {
		rt.targets[i].to.live(msg, &rt.targets[i])
	}
}

// What may wait between the core and a dispatcher before messages at QoS 0 are
// lost: messages, more than flow lets through, and bytes.
const (
	livePending      = 2 * flowLimit / flowOverhead
	livePendingBytes = 256 << 20
)

// decode reads a stored message. What native applications wrote carries no
// metadata of ours; their headers are its properties.
func (b *Bridge) decode(topic string, m *nats.Msg, native bool) (*message, error) {
	if native {
		return nativeMessage(topic, m), nil
	}
	return newStored(topic, m)
}

// trimmed reports messages that retention removed before a client read them;
// n 0: nobody knows how many.
func (b *Bridge) trimmed(client string, n int) {
	b.counters.trimmed.Add(uint64(max(n, 1))) //nolint:gosec // positive
	b.logger.Warn("messages were removed by log_retention before a client read them", "client_id", client, "count", strconv.Itoa(n))
}

// reached waits until the tail has delivered a sequence. false: ctx ended.
func (l *msgLog) reached(ctx context.Context, seq uint64) bool {
	for l.processed.Load() < seq {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}
