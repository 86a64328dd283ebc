package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

// tailBeat is how often the core says that the tail is alive; a tail that
// was silent for three of them is opened again.
const tailBeat = 5 * time.Second

// msgLog reads the log of messages to topics: its tail, for everybody who is
// online and keeps up, and what lies behind, for the others.
type msgLog struct {
	b       *Bridge
	log     *slog.Logger
	stream  string
	created time.Time // of the stream: positions of another one mean nothing
	router  *router   // of the tail's goroutine
	cache   *cache
	scan    *scanner

	position  atomic.Uint64 // T: the sequence the tail has begun to deliver
	processed atomic.Uint64 // the sequence it has delivered to everybody
	acked     atomic.Uint64 // the highest sequence this gateway's publishers were told of

	mu       sync.Mutex
	sub      *nats.Subscription
	consumer string
	cseq     uint64 // the consumer's sequence expected next
	alive    time.Time

	reopening bool
}

// streamInfo is what the bridge asks of a stream.
type streamInfo struct {
	Created time.Time `json:"created"`
	State   struct {
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
	} `json:"state"`
}

func (c *core) streamInfo(ctx context.Context, stream string) (streamInfo, error) {
	var info streamInfo
	err := c.request(ctx, "$JS.API.STREAM.INFO."+stream, nil, &info)
	return info, err
}

// openLog starts the tail at the end of the log.
func openLog(ctx context.Context, b *Bridge) (*msgLog, error) {
	l := &msgLog{
		b: b, log: b.logger, stream: b.core.names.log(),
		router: newRouter(b.matcher, b.core.names.durable()), cache: newCache(cacheBytes),
	}
	info, err := b.core.streamInfo(ctx, l.stream)
	if err != nil {
		return nil, err
	}
	l.created = info.Created
	l.position.Store(info.State.LastSeq)
	l.processed.Store(info.State.LastSeq)
	l.scan = newScanner(l)
	return l, l.follow(ctx)
}

// follow opens the tail behind the position.
func (l *msgLog) follow(ctx context.Context) error {
	inbox := nats.NewInbox()
	name := "tail-" + inbox[7:]
	l.mu.Lock()
	old := l.consumer
	sub, err := l.b.core.sub.Subscribe(inbox, l.receive)
	l.sub, l.consumer, l.cseq, l.alive = sub, name, 1, time.Now()
	l.mu.Unlock()
	if err == nil {
		_ = sub.SetPendingLimits(-1, -1) // flow control bounds it
		if old != "" {
			l.b.core.deleteConsumer(l.stream, old)
		}
		err = l.b.core.createConsumer(ctx, l.stream, name, map[string]any{
			"deliver_subject": inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": l.position.Load() + 1,
			"ack_policy": "none", "mem_storage": true, "num_replicas": 1, "replay_policy": "instant",
			"flow_control": true, "idle_heartbeat": tailBeat, "inactive_threshold": time.Minute,
		})
	}
	if err != nil {
		return fmt.Errorf("tail of the log: %w", err)
	}
	return nil
}

// createConsumer creates an ephemeral consumer with a name of ours.
func (c *core) createConsumer(ctx context.Context, stream, name string, config map[string]any) error {
	config["name"] = name
	return c.request(ctx, "$JS.API.CONSUMER.CREATE."+stream+"."+name,
		map[string]any{"stream_name": stream, "config": config, "action": ""}, nil)
}

func (c *core) deleteConsumer(stream, name string) {
	_ = c.sub.Publish("$JS.API.CONSUMER.DELETE."+stream+"."+name, nil)
}

// receive is called by the tail's subscription, one message at a time.
func (l *msgLog) receive(m *nats.Msg) {
	status := len(m.Data) == 0 && m.Header.Get("Status") == "100"
	meta, err := parseReply(m.Reply)
	l.mu.Lock()
	current := l.sub == m.Sub
	l.alive = time.Now()
	gap := false
	if current && !status && err == nil {
		gap = meta.consumer != l.cseq
		l.cseq++
	}
	l.mu.Unlock()
	switch {
	case !current:
	case status:
		l.control(m)
	case gap:
		l.reopen(fmt.Errorf("gap in the tail at %d", meta.stream))
	case err == nil:
		l.deliver(m, meta)
	}
}

// control answers flow control and checks heart-beats for a lost message.
func (l *msgLog) control(m *nats.Msg) {
	if m.Reply != "" {
		_ = l.b.core.sub.Publish(m.Reply, nil)
		return
	}
	if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
		_ = l.b.core.sub.Publish(stalled, nil)
	}
	last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	l.mu.Lock()
	gap := err == nil && last >= l.cseq
	l.mu.Unlock()
	if gap {
		l.reopen(errors.New("messages of the tail were lost"))
	}
}

// deliver routes one message of the tail.
func (l *msgLog) deliver(m *nats.Msg, meta replyMeta) {
	l.position.Store(meta.stream)
	defer l.processed.Store(meta.stream)
	topicSubject, native := l.subject(m.Subject)
	if topicSubject == "" {
		return // a marker of a transaction
	}
	rt := l.router.route(topicSubject)
	if rt == nil {
		return
	}
	if len(rt.targets) == 0 && len(m.Header) == 0 {
		return // nobody's, and not retained
	}
	msg, err := l.b.decode(rt.topic, m, native)
	if err != nil {
		l.log.Warn("message in the log not understood", "subject", m.Subject, "error", err)
		return
	}
	msg.seq, msg.Time = meta.stream, meta.time
	if msg.Retain {
		l.b.retained.seen(msg)
	}
	if msg.expired(time.Now()) {
		l.b.counters.expired.Add(uint64(len(rt.targets)))
		return
	}
	for i := range rt.targets {
		rt.targets[i].to.tail(msg, &rt.targets[i])
	}
}

// subject returns the subject below the durable root that stands for the
// topic of a subject in the log, and whether a native application wrote it.
func (l *msgLog) subject(s string) (topic string, native bool) {
	n := l.b.core.names
	if strings.HasPrefix(s, n.durable()) {
		return s, false
	}
	if rest, ok := strings.CutPrefix(s, n.native()); ok {
		return n.durable() + rest, true
	}
	return "", false
}

// reopen replaces the tail after a fault, in the background.
func (l *msgLog) reopen(cause error) {
	l.mu.Lock()
	under := l.reopening
	l.reopening = true
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
		l.sub = nil // what still comes is not wanted
	}
	l.mu.Unlock()
	if under {
		return
	}
	l.b.work.Go(func() {
		for wait := 50 * time.Millisecond; l.b.ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
			ctx, cancel := context.WithTimeout(l.b.ctx, 5*time.Second)
			err := l.follow(ctx)
			cancel()
			if err == nil {
				l.mu.Lock()
				l.reopening = false
				l.mu.Unlock()
				l.log.Info("log tail opened again", "cause", cause)
				return
			}
			l.log.Warn("log tail", "error", err)
			select {
			case <-l.b.ctx.Done():
			case <-time.After(wait):
			}
		}
	})
}

// watch reopens a tail that fell silent. It runs until the bridge closes.
func (l *msgLog) watch(ctx context.Context) {
	tick := time.NewTicker(tailBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.mu.Lock()
			silent := !l.reopening && now.Sub(l.alive) > 3*tailBeat
			l.mu.Unlock()
			if silent {
				l.reopen(errors.New("the tail of the log fell silent"))
			}
		}
	}
}

func (l *msgLog) close() {
	l.mu.Lock()
	sub, name := l.sub, l.consumer
	l.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe()
		l.b.core.deleteConsumer(l.stream, name)
	}
}

// read fetches messages of the log by sequence; one that is gone maps to nil.
// One that could not be read is missing from the answer.
func (l *msgLog) read(seqs []uint64) map[uint64]*message {
	found := make(map[uint64]*message, len(seqs))
	if len(seqs) == 0 {
		return found
	}
	c := l.b.core
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, len(seqs))
	sub, err := c.sub.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return found
	}
	defer func() { _ = sub.Unsubscribe() }()
	for _, seq := range seqs {
		n := strconv.FormatUint(seq, 10)
		if c.sub.PublishRequest("$JS.API.DIRECT.GET."+l.stream, inbox+"."+n, []byte(`{"seq":`+n+`}`)) != nil {
			return found
		}
	}
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	for range seqs {
		select {
		case m := <-answers:
			seq, err := strconv.ParseUint(m.Subject[len(inbox)+1:], 10, 64)
			if err != nil {
				continue
			}
			found[seq] = l.stored(m, seq)
		case <-timeout.C:
			return found
		case <-l.b.ctx.Done():
			return found
		}
	}
	return found
}

// stored decodes an answer of direct get; nil: there is no such message.
func (l *msgLog) stored(m *nats.Msg, seq uint64) *message {
	subject, native := l.subject(m.Header.Get("Nats-Subject"))
	if subject == "" {
		return nil
	}
	topic, err := mapping.TopicOf(l.b.core.names.durable(), subject)
	if err != nil {
		return nil
	}
	msg, err := l.b.decode(topic, m, native)
	if err != nil {
		l.log.Warn("message in the log not understood", "subject", subject, "error", err)
		return nil
	}
	msg.seq = seq
	msg.Time, _ = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	l.cache.put(msg)
	return msg
}

// replyMeta is what the reply subject of a delivery tells.
type replyMeta struct {
	stream, consumer uint64 // sequences
	delivered        uint64
	pending          uint64
	time             time.Time
}

// parseReply reads $JS.ACK.[domain.account.]stream.consumer.delivered.sseq.cseq.time.pending[.random].
func parseReply(reply string) (replyMeta, error) {
	var dots [16]int
	n := 0
	for i := 0; i < len(reply) && n < len(dots); i++ {
		if reply[i] == '.' {
			dots[n] = i
			n++
		}
	}
	first := 3 // dot before "delivered"
	if n >= 10 {
		first = 5
	}
	if n < first+5 || !strings.HasPrefix(reply, "$JS.ACK.") {
		return replyMeta{}, fmt.Errorf("reply %q", reply)
	}
	number := func(i int) (v uint64) {
		end := len(reply)
		if i+1 < n {
			end = dots[i+1]
		}
		for _, b := range []byte(reply[dots[i]+1 : end]) {
			v = v*10 + uint64(b-'0')
		}
		return v
	}
	return replyMeta{
		delivered: number(first), stream: number(first + 1), consumer: number(first + 2),
		time: time.Unix(0, int64(number(first+3))), pending: number(first + 4), //nolint:gosec // nanoseconds since 1970
	}, nil
}

// end returns the position that a new subscription starts at: what the tail
// has begun to deliver, and what publishers here were told is stored, came
// before it.
func (l *msgLog) end() uint64 { return max(l.position.Load(), l.acked.Load()) }

func (l *msgLog) noteAcked(seq uint64) {
	for {
		old := l.acked.Load()
		if seq <= old || l.acked.CompareAndSwap(old, seq) {
			return
		}
	}
}
