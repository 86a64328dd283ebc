package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// appendWindow is how many appends may wait for the core's answer at
	// once. A caller that would exceed it waits: back-pressure for whoever
	// reads a socket.
	appendWindow = 8192
	// appendBytes bounds their bodies likewise: a stream refuses what it is
	// given faster than it writes.
	appendBytes = 64 << 20
	// appendSlots leaves room for the appends that completions of those make.
	appendSlots = 2 * appendWindow
)

var (
	// errTimeout is an append the core did not answer within nats.patience.
	errTimeout = errors.New("the core did not answer in time")
	errBusy    = errors.New("the core is behind with its answers")
)

// appendRetry is the pause before what the core did not take is sent again:
// a stream elects a leader, or the connection is back.
const appendRetry = 100 * time.Millisecond

// appender publishes to streams without waiting: acknowledgements come back on
// one subscription, are matched by number and completed by one goroutine.
//
// A core that is more than this process may be away for a while, or lose an
// answer. Appends then keep their place, and are sent again in their order;
// each has an id, so that none is stored twice.
type appender struct {
	nc       *nats.Conn
	id       string // begins the ids of messages; "": the core is never away
	inbox    string // answers come to inbox + number
	patience time.Duration
	observe  func(error) // told the outcome of every append
	answers  chan *nats.Msg
	sub      *nats.Subscription
	stop     chan struct{} // closed by close
	done     chan struct{} // closed when complete has ended

	mu      sync.Mutex
	room    sync.Cond
	again   bool   // what is pending will be sent again
	next    uint64 // number of the next append
	oldest  uint64 // every number below it has completed
	bytes   int    // of the bodies that are pending
	pending [appendSlots]pendingAppend
}

// pendingAppend is one slot of the window, used by number modulo its size.
type pendingAppend struct {
	done func(seq uint64, err error) // nil: free
	sent time.Time
	size int
	msg  *nats.Msg // to be sent again; nil: never
}

// newAppender publishes on nc. With an id, which no other appender ever has,
// appends outlast a core that is away for less than patience.
func newAppender(nc *nats.Conn, patience time.Duration, id string, observe func(error)) (*appender, error) {
	a := &appender{
		observe: observe,
		nc:      nc, id: id, inbox: nats.NewInbox() + ".", patience: patience,
		answers: make(chan *nats.Msg, appendSlots), stop: make(chan struct{}), done: make(chan struct{}),
	}
	a.room.L = &a.mu
	var err error
	if a.sub, err = nc.ChanSubscribe(a.inbox+"*", a.answers); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	go a.complete()
	return a, nil
}

// append publishes a message to a stream. done is called once, from another
// goroutine, with its sequence when the stream has it. Appends of one caller
// are stored in the order of the calls. It waits while the window is full, and
// so must not be called by a done.
func (a *appender) append(m *nats.Msg, done func(seq uint64, err error)) {
	a.mu.Lock()
	for a.next-a.oldest >= appendWindow || a.bytes > appendBytes {
		a.room.Wait()
	}
	a.publish(m, done)
}

// appendNext is append for what follows from a done: it never waits.
func (a *appender) appendNext(m *nats.Msg, done func(seq uint64, err error)) {
	a.mu.Lock()
	if a.next-a.oldest == appendSlots {
		a.mu.Unlock()
		done(0, errBusy)
		return
	}
	a.publish(m, done)
}

// publish takes the next slot. The mutex is held, and released.
func (a *appender) publish(m *nats.Msg, done func(seq uint64, err error)) {
	n := a.next
	a.next++
	number := strconv.FormatUint(n, 36)
	m.Reply = a.inbox + number
	slot := pendingAppend{done: done, sent: time.Now(), size: len(m.Data)}
	a.bytes += slot.size
	if a.id != "" && m.Header["Nats-Batch-Id"] == nil {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header[nats.MsgIdHdr] = []string{a.id + number}
		slot.msg = m
	}
	a.pending[n%appendSlots] = slot
	wait := a.again && slot.msg != nil // it must not overtake
	a.mu.Unlock()
	if wait {
		return
	}
	if err := a.nc.PublishMsg(m); err != nil {
		a.failed(n, err)
	}
}

// failed ends an append that was not taken, or plans to send it again.
func (a *appender) failed(n uint64, err error) {
	a.mu.Lock()
	slot := &a.pending[n%appendSlots]
	if n < a.oldest || n >= a.next || slot.done == nil || slot.msg == nil {
		a.mu.Unlock()
		a.finish(n, 0, err)
		return
	}
	if !a.again {
		a.again = true
		time.AfterFunc(appendRetry, a.sendAgain)
	}
	a.mu.Unlock()
}

// resend sends everything pending again, soon.
func (a *appender) resend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.id != "" && !a.again && a.next > a.oldest {
		a.again = true
		time.AfterFunc(appendRetry, a.sendAgain)
	}
}

// sendAgain sends everything pending in its order.
func (a *appender) sendAgain() {
	a.mu.Lock()
	n := a.oldest
	a.mu.Unlock()
	for {
		a.mu.Lock()
		n = max(n, a.oldest)
		if n >= a.next { // what comes now follows by itself
			a.again = false
			a.mu.Unlock()
			return
		}
		m := a.pending[n%appendSlots].msg
		a.mu.Unlock()
		if m != nil {
			if err := a.nc.PublishMsg(m); err != nil {
				select {
				case <-a.stop:
				default:
					time.AfterFunc(appendRetry, a.sendAgain)
				}
				return
			}
		}
		n++
	}
}

// complete runs until close.
func (a *appender) complete() {
	defer close(a.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case m := <-a.answers:
			n, err := strconv.ParseUint(m.Subject[len(a.inbox):], 36, 64)
			if err != nil {
				continue
			}
			seq, err := parseAck(m)
			if errors.Is(err, nats.ErrNoResponders) || errorCode(err) == errTooMany {
				a.failed(n, err)
				continue
			}
			a.finish(n, seq, err)
		case now := <-tick.C:
			a.expire(now)
		}
	}
}

func (a *appender) finish(n, seq uint64, err error) {
	a.mu.Lock()
	if n < a.oldest || n >= a.next {
		a.mu.Unlock()
		return // answered after it had timed out
	}
	slot := &a.pending[n%appendSlots]
	done := slot.done
	a.bytes -= slot.size
	*slot = pendingAppend{}
	for a.oldest < a.next && a.pending[a.oldest%appendSlots].done == nil {
		a.oldest++
	}
	a.mu.Unlock()
	a.room.Broadcast()
	if done != nil {
		a.observe(err)
		done(seq, err)
	}
}

// expire fails what has waited longer than patience.
func (a *appender) expire(now time.Time) {
	var late []uint64
	a.mu.Lock()
	for n := a.oldest; n < a.next; n++ {
		p := &a.pending[n%appendSlots]
		if p.done == nil {
			continue
		}
		if now.Sub(p.sent) < a.patience {
			break
		}
		late = append(late, n)
	}
	a.mu.Unlock()
	for _, n := range late {
		a.finish(n, 0, errTimeout)
	}
}

// close fails what is still pending. Nobody appends any more.
func (a *appender) close() {
	_ = a.sub.Unsubscribe()
	close(a.stop)
	<-a.done
	a.expire(time.Now().Add(a.patience + time.Hour))
}

// errTooMany is JetStream's refusal of what comes faster than it is written.
const errTooMany = 10167

// parseAck reads a PubAck. The usual one, {"stream":"…", "seq":N}, is read by
// hand: it comes once per message.
func parseAck(m *nats.Msg) (uint64, error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return 0, nats.ErrNoResponders
	}
	if _, after, ok := bytes.Cut(m.Data, []byte(`"seq":`)); ok && bytes.HasPrefix(m.Data, []byte(`{"stream":`)) {
		seq, digits := uint64(0), 0
		for _, b := range bytes.TrimLeft(after, " ") {
			if b < '0' || b > '9' {
				break
			}
			seq, digits = seq*10+uint64(b-'0'), digits+1
		}
		if digits > 0 && seq > 0 {
			return seq, nil
		}
	}
	var ack struct {
		Seq   uint64    `json:"seq"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// errorCode returns the JetStream error code in err, or 0.
func errorCode(err error) int {
	if api, ok := errors.AsType[*apiError](err); ok {
		return api.ErrCode
	}
	return 0
}
