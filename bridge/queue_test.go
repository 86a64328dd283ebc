package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// soon is how long a test waits for what must happen, and never does when it
// passes.
const soon = 10 * time.Second

// hasty is a pace for tests that wait for something to happen with time.
var hasty = pace{
	ackWait: time.Second, progress: 200 * time.Millisecond, tick: 20 * time.Millisecond, hold: 50 * time.Millisecond,
	expires: 2 * time.Second, beat: 500 * time.Millisecond, idle: 200 * time.Millisecond,
}

// queueTest is a core with queues on it.
type queueTest struct {
	t testing.TB
	*queues
}

func queueConfig(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NATS.Store = t.TempDir()
	cfg.NATS.MaxStore = 1 << 30
	return cfg
}

func startQueues(t testing.TB, p pace, change ...func(*Config)) *queueTest {
	t.Helper()
	cfg := queueConfig(t)
	for _, f := range change {
		f(&cfg)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := startCore(t.Context(), cfg, log)
	require.NoError(t, err)
	t.Cleanup(c.close)
	x := openQueues(t, p, c, cfg)
	x.declarePolicies(cfg)
	return x
}

func (x *queueTest) declarePolicies(cfg Config) {
	for _, s := range queueStreams(x.core.names, cfg.Queues) {
		s.AllowDirect, s.AllowMsgTTL, s.AllowAtomicPublish, s.Replicas = true, true, true, 1
		require.NoError(x.t, x.core.ensure(x.t.Context(), s, true))
	}
}

// openQueues is what one more gateway does with a core.
func openQueues(t testing.TB, p pace, c *core, cfg Config) *queueTest {
	t.Helper()
	a, err := newAppender(c.pub, cfg.NATS.Patience, "", func(error) {})
	require.NoError(t, err)
	t.Cleanup(a.close)
	table, err := mapping.New(mapping.Options{QueueRoot: cfg.Queues.Root})
	require.NoError(t, err)
	q := newQueuesAt(p, c, a, table, cfg.Queues, c.log)
	x := &queueTest{t, q}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		q.close(ctx)
	})
	return x
}

func (x *queueTest) send(topic string, bodies ...string) {
	x.t.Helper()
	for _, body := range bodies {
		require.NoError(x.t, x.sendEnvelope(&mapping.Envelope{Topic: topic, QoS: 1, Body: []byte(body)}))
	}
}

func (x *queueTest) sendEnvelope(e *mapping.Envelope) error {
	x.t.Helper()
	_, subject, err := x.target(e.Topic)
	require.NoError(x.t, err)
	return x.store(subject, e)
}

func (x *queueTest) store(subject string, e *mapping.Envelope) error {
	taken := make(chan error, 1)
	x.append.append(stored(subject, e), func(_ uint64, err error) { taken <- err })
	return <-taken
}

// depth is how many messages the queues hold, settled ones not.
func (x *queueTest) depth() (n uint64) {
	x.t.Helper()
	for stream := range x.core.js.ListStreams(x.t.Context(), jetstream.WithStreamListSubject("cw.q.>")).Info() {
		n += stream.State.Msgs
	}
	return n
}

func (x *queueTest) eventually(what string, ok func() bool) {
	x.t.Helper()
	require.Eventually(x.t, ok, soon, 2*time.Millisecond, what)
}

// taker is a consumer that keeps what it is offered.
type taker struct {
	*consumer
	t    testing.TB
	got  chan *queued
	full atomic.Bool // it has no room
}

func (x *queueTest) taker(credit int) *taker {
	k := &taker{t: x.t, got: make(chan *queued, 10_000)}
	k.consumer = x.newConsumer(credit, func(d *queued) bool {
		if k.full.Load() {
			return false
		}
		k.got <- d
		return true
	})
	return k
}

func (x *queueTest) wait(start func(done func(error))) error {
	x.t.Helper()
	ended := make(chan error, 1)
	start(func(err error) { ended <- err })
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
		require.Fail(x.t, "no answer")
		return nil
	}
}

// joins waits until k is a consumer, which is just after it was told so.
func (x *queueTest) joins(k *taker, join func(done func(error))) {
	x.t.Helper()
	require.NoError(x.t, x.wait(join))
	x.eventually("it has joined", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(k.sources) > 0 })
}

// on opens a consumer of one queue.
func (x *queueTest) on(topic string, credit int) *taker {
	x.t.Helper()
	k := x.taker(credit)
	x.joins(k, func(done func(error)) { x.joinQueue(k.consumer, topic, done) })
	return k
}

func (x *queueTest) leaves(k *taker, clean bool) {
	x.t.Helper()
	require.NoError(x.t, x.wait(func(done func(error)) { x.leave(k.consumer, clean, func() { done(nil) }) }))
}

func (x *queueTest) settles(d *queued, err error) {
	x.t.Helper()
	require.NoError(x.t, x.wait(func(done func(error)) { d.settle(err, done) }))
}

func (k *taker) next() *queued {
	k.t.Helper()
	select {
	case d := <-k.got:
		return d
	case <-time.After(soon):
		require.Fail(k.t, "no delivery")
		return nil
	}
}

// take returns the next n deliveries.
func (k *taker) take(n int) []*queued {
	k.t.Helper()
	list := make([]*queued, n)
	for i := range list {
		list[i] = k.next()
	}
	return list
}

func bodies(list []*queued) []string {
	var s []string
	for _, d := range list {
		s = append(s, string(d.Body))
	}
	return s
}

func numbers(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}

// nothing checks that nothing more is offered once the core has answered
// whatever it was asked for.
func (k *taker) nothing() {
	k.t.Helper()
	for range 3 {
		require.NoError(k.t, k.q.core.sub.FlushTimeout(soon))
	}
	select {
	case d := <-k.got:
		require.Fail(k.t, "delivered", "%s", d.Body)
	default:
	}
}

func TestCompetingConsumersGetEachMessageOnce(t *testing.T) {
	x := startQueues(t, defaultPace)
	const consumers, messages = 4, 400
	seen := make(chan string, 2*messages)
	for range consumers {
		c := x.newConsumer(10, func(d *queued) bool {
			seen <- string(d.Body)
			go d.settle(nil, nil)
			return true
		})
		require.NoError(t, x.wait(func(done func(error)) { x.joinQueue(c, "queue/a", done) }))
	}
	x.send("queue/a", numbers(1, messages)...)
	got := make(map[string]int)
	for range messages {
		select {
		case body := <-seen:
			got[body]++
		case <-time.After(soon):
			require.Fail(t, "too few", "%d", len(got))
		}
	}
	require.Len(t, got, messages)
	x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
	require.EqualValues(t, messages, x.stats().Delivered)
	require.Empty(t, seen)
}

func TestConsumerGetsMessagesInOrder(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", numbers(1, 300)...)
	k := x.on("queue/a", 7)
	for i := range 300 {
		d := k.next()
		require.Equal(t, strconv.Itoa(i+1), string(d.Body))
		require.Equal(t, 1, d.shownAttempt())
		d.settle(nil, nil)
	}
	x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
}

func TestPrefetchIsExact(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", numbers(1, 20)...)
	one, three := x.on("queue/a", 1), x.on("queue/a", 3)
	first := one.take(1)
	three.take(3)
	one.nothing()
	three.nothing()
	require.Equal(t, 4, x.stats().Unsettled, "nothing waits here for a consumer's room")
	x.settles(first[0], nil)
	one.take(1)
	one.nothing()
	three.nothing()
}

func TestIdleConsumersAreServedInTurn(t *testing.T) {
	x := startQueues(t, defaultPace)
	list := []*taker{x.on("queue/a", 10), x.on("queue/a", 10), x.on("queue/a", 10)}
	x.send("queue/a", numbers(1, 9)...)
	for _, k := range list {
		k.take(3)
		k.nothing()
	}
}

func TestGivenBackMessagesComeFirstAndInOrder(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", numbers(1, 10)...)
	k := x.on("queue/a", 5)
	list := k.take(5)
	x.settles(list[1], nil)
	x.leaves(k, true)
	other := x.on("queue/a", 100)
	got := other.take(9)
	require.Equal(t, []string{"1", "3", "4", "5", "6", "7", "8", "9", "10"}, bodies(got))
	require.Equal(t, 1, got[0].attempt, "a clean end counts no attempt")
	require.Equal(t, 2, got[0].shownAttempt())
	require.Equal(t, 1, got[8].shownAttempt())
}

func TestDeadClientsOldestDeliveryCountsAnAttempt(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", numbers(1, 6)...)
	k, waiting := x.on("queue/a", 3), x.taker(10)
	k.take(3)
	x.leaves(k, false)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueue(waiting.consumer, "queue/a", done) }))
	got := waiting.take(6)
	require.Equal(t, numbers(1, 6), bodies(got))
	attempts := make([]string, len(got))
	for i, d := range got {
		attempts[i] = fmt.Sprint(d.attempt, d.redelivered)
	}
	require.Equal(t, []string{"2 true", "1 true", "1 true", "1 false", "1 false", "1 false"}, attempts)
}

func TestSurvivorGetsWhatADeadClientHeld(t *testing.T) {
	x := startQueues(t, defaultPace)
	dead, alive := x.on("queue/a", 2), x.on("queue/a", 2)
	x.send("queue/a", "1", "2", "3", "4")
	dead.take(2)
	own := alive.take(2)
	x.leaves(dead, false)
	alive.nothing()
	x.settles(own[0], nil)
	x.settles(own[1], nil)
	require.Equal(t, []string{"1", "3"}, bodies(alive.take(2)))
}

func TestRequeuedMessageIsDeliveredAgainAtOnce(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", "1", "2", "3")
	k := x.on("queue/a", 1)
	x.settles(k.next(), errRequeue)
	d := k.next()
	require.Equal(t, "1", string(d.Body))
	require.Equal(t, 2, d.attempt)
	x.settles(d, errReturned)
	d = k.next()
	require.Equal(t, "1", string(d.Body))
	require.Equal(t, 2, d.attempt, "returned unread counts nothing")
	x.settles(d, nil)
	require.Equal(t, "2", string(k.next().Body))
	require.EqualValues(t, 1, x.stats().Requeued)
}

func TestMessageThatFailsTooOftenIsDeadLettered(t *testing.T) {
	x := startQueues(t, defaultPace, func(c *Config) { c.Queues.MaxDeliver = 3 })
	sent := mapping.Envelope{
		Topic: "queue/orders/eu", QoS: 1, Body: []byte("poison"), ContentType: "text/x", HasContentType: true,
		Properties: []mapping.Property{{Name: "k", Value: "v"}},
	}
	require.NoError(t, x.sendEnvelope(&sent))
	k := x.on("queue/orders/eu", 1)
	for i := range 3 {
		d := k.next()
		require.Equal(t, i+1, d.attempt)
		x.settles(d, errRequeue)
	}
	k.nothing()
	require.EqualValues(t, 1, x.depth(), "it is in one place only")

	d := x.on("queue/dlq/orders/eu", 1).next()
	require.Equal(t, "poison", string(d.Body))
	require.Equal(t, "text/x", d.ContentType)
	require.Equal(t, []mapping.Property{
		{Name: "k", Value: "v"},
		{Name: "dead-letter-reason", Value: "max-deliver"},
		{Name: "dead-letter-queue", Value: "queue/orders/eu"},
		{Name: "dead-letter-attempts", Value: "3"},
	}, d.Properties)
	require.Equal(t, 1, d.shownAttempt())
	require.EqualValues(t, 1, x.stats().DeadLettered)
}

func TestRejectedMessageIsDeadLetteredAtOnce(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", "1", "2")
	k := x.on("queue/a", 1)
	x.settles(k.next(), errReject)
	require.Equal(t, "2", string(k.next().Body))
	d := x.on("queue/dlq/a", 1).next()
	require.Equal(t, "1", string(d.Body))
	require.Contains(t, d.Properties, mapping.Property{Name: "dead-letter-reason", Value: "rejected"})
}

func TestDeadClientsLastAttemptIsDeadLettered(t *testing.T) {
	x := startQueues(t, defaultPace, func(c *Config) { c.Queues.MaxDeliver = 2 })
	x.send("queue/a", "1", "2")
	for range 2 {
		k := x.on("queue/a", 2)
		require.Equal(t, []string{"1", "2"}, bodies(k.take(2)))
		x.leaves(k, false)
	}
	require.Equal(t, "1", string(x.on("queue/dlq/a", 1).next().Body))
	k := x.on("queue/a", 2)
	require.Equal(t, "2", string(k.next().Body))
	k.nothing()
}

func TestDeadLetterThatFailsBacksOff(t *testing.T) {
	x := startQueues(t, hasty, func(c *Config) { c.Queues.MaxDeliver = 1 })
	x.send("queue/dlq/a", "1", "2")
	k := x.on("queue/dlq/a", 1)
	began := time.Now()
	x.settles(k.next(), errReject)
	d := k.next()
	require.Equal(t, "2", string(d.Body))
	x.settles(d, nil)
	d = k.next()
	require.Equal(t, "1", string(d.Body))
	require.Equal(t, 2, d.attempt)
	require.GreaterOrEqual(t, time.Since(began), 900*time.Millisecond)
	require.Zero(t, x.stats().DeadLettered)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 32 * time.Second, time.Minute, time.Minute},
		[]time.Duration{backoff(1), backoff(2), backoff(6), backoff(7), backoff(1000)})
}

func TestExpiredMessageIsNotDelivered(t *testing.T) {
	x := startQueues(t, defaultPace)
	_, subject, err := x.target("queue/a")
	require.NoError(t, err)
	old := mapping.Envelope{Topic: "queue/a", QoS: 1, Expires: time.Now().Add(-time.Minute), Body: []byte("old")}
	m := stored(subject, &old)
	m.Header.Del("Nats-TTL") // the core would have removed it
	taken := make(chan error, 1)
	x.append.append(m, func(_ uint64, err error) { taken <- err })
	require.NoError(t, <-taken)
	x.send("queue/a", "new")
	k := x.on("queue/a", 1)
	d := k.next()
	require.Equal(t, "new", string(d.Body))
	x.settles(d, nil)
	require.EqualValues(t, 1, x.stats().Expired)
	x.eventually("both are gone", func() bool { return x.depth() == 0 })
}
