package bridge

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
)

// What settle is told about a delivery that was not acknowledged.
var (
	errRequeue  = errors.New("not acknowledged, to be delivered again")
	errReject   = errors.New("rejected, not to be delivered again")
	errReturned = errors.New("returned unread")
)

var (
	errGone    = errors.New("the delivery is not this client's any more")
	errClosing = errors.New("the gateway is shutting down")
)

// maxAttempts bounds how many failed messages a gateway counts attempts for,
// and how many it knows that nobody saw.
const maxAttempts = 100_000

// pace is how often the queues do what they do. Tests are in more of a hurry.
type pace struct {
	ackWait  time.Duration // silence after which the core delivers to somebody else
	progress time.Duration // how often the core is told that a delivery is still held
	tick     time.Duration // how often the above is looked at
	hold     time.Duration // how long a message may wait here for a consumer's room
	expires  time.Duration // of a pull
	beat     time.Duration // how often the core says that a pull is alive
	idle     time.Duration // after which a wildcard leaves an empty queue
}

var defaultPace = pace{
	ackWait: 15 * time.Second, progress: 3 * time.Second, tick: time.Second, hold: time.Second,
	expires: 30 * time.Second, beat: 5 * time.Second, idle: time.Minute,
}

// queues hands the messages of work queues, and of groups on topics, to
// competing consumers. Each queue that is consumed here is a source; what the
// source asks the core for is what its consumers have room for.
type queues struct {
	core     *core
	append   *appender
	table    *mapping.Table
	cfg      Queues
	log      *slog.Logger
	pace     pace
	alone    bool // no other gateway can consume from this core
	asks     *asker
	policies []queuePolicy
	shards   [queueShards]string // streams
	roots    [queueShards]string // of subjects, by shard
	counters queueCounters

	ctx  context.Context // ends with close
	stop context.CancelFunc
	work sync.WaitGroup
	slot chan struct{} // held while a consumer is being created in the core

	// mu guards all that follows and every field of sources and consumers
	// that says so. It is released around offers and everything that talks
	// to the core.
	mu         sync.Mutex
	closed     bool
	sources    map[string]*source // by the name of the core's consumer
	open       sync.WaitGroup     // as many as there are in sources
	consumers  map[*consumer]struct{}
	watches    map[string]*watch // by filter
	live       map[string]*liveGroup
	attempts   map[attemptKey]int
	unread     map[attemptKey]uint64 // deliveries by the core that went back before a client saw one
	reconnects uint64                // of core.sub, as last seen
	streams    []string              // the queue streams of policies, as last seen
	streamsAt  time.Time
}

// attemptKey names a message that a consumer of the core failed to have
// processed.
type attemptKey struct {
	stream, consumer string
	seq              uint64
}

func newQueues(c *core, a *appender, table *mapping.Table, cfg Queues, _ string, log *slog.Logger) *queues {
	return newQueuesAt(defaultPace, c, a, table, cfg, log)
}

func newQueuesAt(p pace, c *core, a *appender, table *mapping.Table, cfg Queues, log *slog.Logger) *queues {
	q := &queues{
		core: c, append: a, table: table, cfg: cfg, log: log, pace: p,
		alone: c.server != nil && c.cfg.Cluster.Listen == "",
		asks:  newAsker(c.sub), policies: newQueuePolicies(c.names, cfg),
		slot:    make(chan struct{}, 16),
		sources: make(map[string]*source), consumers: make(map[*consumer]struct{}),
		watches: make(map[string]*watch), live: make(map[string]*liveGroup),
		attempts: make(map[attemptKey]int), unread: make(map[attemptKey]uint64),
	}
	for shard := range q.roots {
		q.shards[shard], q.roots[shard] = c.names.queue(shard), c.names.queueRoot(shard)
	}
	q.ctx, q.stop = context.WithCancel(context.Background())
	q.work.Go(q.tick)
	return q
}

// close gives everything unsettled back and returns when no goroutine is left.
func (q *queues) close(ctx context.Context) {
	var left sync.WaitGroup
	q.mu.Lock()
	q.closed = true
	for _, s := range slices.Collect(maps.Values(q.sources)) { // those that nobody consumes any more, too
		s.run()
	}
	var all []*consumer
	for c := range q.consumers {
		all = append(all, c)
	}
	left.Add(len(all))
	q.mu.Unlock()
	for _, c := range all {
		q.leave(c, true, left.Done)
	}
	gone := make(chan struct{})
	go func() {
		left.Wait()
		q.open.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	q.stop()
	q.asks.close() // answers whoever leave is still waiting for
	left.Wait()
	q.work.Wait()
}

// tick looks after everything that happens with time.
func (q *queues) tick() {
	t := time.NewTicker(q.pace.tick)
	defer t.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case now := <-t.C:
			q.asks.expire(now)
			q.look(now)
		}
	}
}

// look visits every source.
func (q *queues) look(now time.Time) {
	reconnects := q.core.sub.Stats().Reconnects
	q.mu.Lock()
	back := reconnects != q.reconnects
	q.reconnects = reconnects
	all := make([]*source, 0, len(q.sources))
	for _, s := range q.sources {
		all = append(all, s)
	}
	var rescan []*watch
	if back {
		for _, w := range q.watches {
			rescan = append(rescan, w)
		}
	}
	q.mu.Unlock()
	for _, s := range all {
		s.look(now, back)
	}
	for _, w := range rescan { // it may have missed a queue's first message
		q.work.Go(w.list)
	}
}

// failed counts an attempt and returns how many there were. q.mu is held.
func (q *queues) failed(k attemptKey) int {
	n := q.attempts[k] + 1
	note(q.attempts, k, n)
	return n
}

// note keeps a number for a message, instead of another's when there are many.
func note[N int | uint64](numbers map[attemptKey]N, k attemptKey, n N) {
	if _, known := numbers[k]; !known && len(numbers) >= maxAttempts {
		for other := range numbers {
			delete(numbers, other)
			break
		}
	}
	numbers[k] = n
}

// spec is a source to be joined.
type spec struct {
	name    string     // of the core's consumer
	places  []location // where the messages are, the oldest first
	topic   string     // of a queue
	group   string     // of a group's source
	filter  string     // of a group's source
	isGroup bool
}

// location is a part of a stream.
type location struct{ stream, subject string }

// joining is a consumer on its way into sources.
type joining struct {
	c       *consumer
	sources []*source
	waiting int // for sources that are being opened
	err     error
	done    func(error)
}

// join makes c a consumer of the sources. done is called when all of them are
// open, before the first of their messages is offered.
func (q *queues) join(c *consumer, specs []spec, done func(error)) {
	j := &joining{c: c, done: done}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || c.left {
		j.err = errClosing
		q.admit(j)
		return
	}
	for _, sp := range specs {
		s := q.sources[sp.name]
		if s == nil {
			s = newSource(q, sp)
			q.sources[sp.name] = s
			q.open.Add(1)
			q.work.Go(s.open)
		}
		s.joining++
		j.sources = append(j.sources, s)
		if !s.opened {
			j.waiting++
			s.joiners = append(s.joiners, j)
		}
	}
	if j.waiting == 0 {
		q.admit(j)
	}
}

// admit ends a join. q.mu is held, and released for a while.
func (q *queues) admit(j *joining) {
	q.mu.Unlock()
	j.done(j.err)
	q.mu.Lock()
	for _, s := range j.sources {
		s.joining--
		if j.err == nil && !j.c.left {
			s.add(j.c)
		}
	}
	for _, s := range j.sources {
		s.run()
	}
}

// joinQueue makes c a consumer of one queue.
func (q *queues) joinQueue(c *consumer, topic string, done func(error)) {
	sp, err := q.queueSpec(topic)
	if err != nil {
		done(err)
		return
	}
	q.join(c, []spec{sp}, done)
}

func (q *queues) queueSpec(topic string) (spec, error) {
	stream, subject, err := q.target(topic)
	if err != nil {
		return spec{}, err
	}
	return spec{name: queueConsumer(topic), topic: topic, places: []location{{stream, subject}}}, nil
}

// queueConsumer names a queue's consumer in the core.
func queueConsumer(topic string) string { return "q-" + mapping.Key(topic) }

// publishTo sends a few bytes to the core. A lost connection is noticed
// elsewhere: what is said here is said again, or the core stops waiting for it.
func (q *queues) publishTo(subject string, body []byte) {
	if err := q.core.sub.Publish(subject, body); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		q.log.Debug("core", "subject", subject, "error", err)
	}
}
