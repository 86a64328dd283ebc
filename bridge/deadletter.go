package bridge

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-mq/causeway/mapping"
)

// Properties of a dead letter, and the reasons.
const (
	deadReason   = "dead-letter-reason"
	deadQueue    = "dead-letter-queue"    // the topic it was sent to
	deadAttempts = "dead-letter-attempts" // that failed

	reasonMaxDeliver = "max-deliver"
	reasonRejected   = "rejected"
)

const (
	// maxBackoff is the longest a dead letter that fails again rests.
	maxBackoff = time.Minute
	// buryAgain is when a dead letter that was not taken is tried again.
	buryAgain = 5 * time.Second
)

// deadLetter returns where the dead letters of a queue, or group, go.
func (q *queues) deadLetter(name string) string {
	return strings.ReplaceAll(q.cfg.DeadLetter, "{name}", name)
}

// isDeadLetter reports whether a queue is for dead letters: nothing is
// dead-lettered from there.
func (q *queues) isDeadLetter(topic string) bool {
	before, after, pattern := strings.Cut(q.cfg.DeadLetter, "{name}")
	if !pattern {
		return topic == before
	}
	return len(topic) > len(before)+len(after) && strings.HasPrefix(topic, before) && strings.HasSuffix(topic, after)
}

// spent reports whether a message that failed n times is not to be delivered
// again.
func (s *source) spent(n int) bool {
	return s.q.cfg.MaxDeliver > 0 && n >= s.q.cfg.MaxDeliver && !s.forDead
}

// refuse deals with a delivery that its consumer could not use. q.mu is held,
// and released for a while.
func (s *source) refuse(d *queued, reject bool, done func(error)) {
	n := s.q.failed(s.attemptKey(d.seq))
	switch {
	case s.forDead:
		s.q.counters.requeued.Add(1)
		s.giveBack([]*queued{d}, backoff(n), done)
	case reject:
		s.bury(d, reasonRejected, done)
	case s.spent(n):
		s.bury(d, reasonMaxDeliver, done)
	case s.q.alone:
		s.q.counters.requeued.Add(1)
		s.requeue(d)
		s.q.mu.Unlock()
		defer s.q.mu.Lock()
		tell(done, nil)
	default: // another gateway may have better luck
		s.q.counters.requeued.Add(1)
		s.giveBack([]*queued{d}, 0, done)
	}
}

// backoff is how long a dead letter that failed n times rests.
func backoff(n int) time.Duration {
	if n > 6 {
		return maxBackoff
	}
	return min(maxBackoff, time.Second<<(n-1))
}

// bury moves a message to the dead-letter queue. q.mu is held, and released
// for a while.
func (s *source) bury(d *queued, reason string, done func(error)) {
	q := s.q
	if q.closed {
		s.giveBack([]*queued{d}, 0, done)
		return
	}
	d.state = buried
	attempts := q.attempts[s.attemptKey(d.seq)]
	id := "dlq-" + s.name + "-" + s.places[0].stream + "-" + strconv.FormatUint(d.seq, 10)
	q.work.Go(func() {
		topic, err := s.inter(d, id, reason, attempts)
		q.mu.Lock()
		defer q.mu.Unlock()
		if err != nil {
			q.log.Error("dead letter not taken; trying again", "topic", topic, "reason", reason, "error", err)
			s.giveBack([]*queued{d}, buryAgain, done)
		} else {
			q.log.Warn("message dead-lettered", "topic", d.Topic, "reason", reason)
			q.counters.deadLettered.Add(1)
			s.acknowledge(d, func(err error) { tell(done, err) }) // waits for the answer even when nobody does
		}
		s.run()
	})
}

// inter appends the dead letter and returns its topic.
func (s *source) inter(d *queued, id, reason string, attempts int) (string, error) {
	q := s.q
	e := d.Envelope
	name := strings.TrimPrefix(d.Topic, q.cfg.Root+"/")
	if s.isGroup {
		name = s.group + "/" + d.Topic
	}
	e.Topic = q.deadLetter(name)
	e.Retain = false
	e.Properties = append(slices.DeleteFunc(slices.Clone(e.Properties), func(p mapping.Property) bool {
		return p.Name == deadReason || p.Name == deadQueue || p.Name == deadAttempts
	}),
		mapping.Property{Name: deadReason, Value: reason},
		mapping.Property{Name: deadQueue, Value: d.Topic},
		mapping.Property{Name: deadAttempts, Value: strconv.Itoa(attempts)},
	)
	_, subject, err := q.target(e.Topic)
	if err != nil {
		return e.Topic, err
	}
	m := stored(subject, &e)
	m.Header.Set("Nats-Msg-Id", id) // so that a retry is stored once
	taken := make(chan error, 1)
	q.append.append(m, func(_ uint64, err error) { taken <- err })
	select {
	case err := <-taken:
		return e.Topic, err
	case <-q.ctx.Done():
		return e.Topic, errClosing
	}
}
