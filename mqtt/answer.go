package mqtt

import (
	"errors"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// answers are the acknowledgements the broker has yet to allow. They leave in
// the order in which they were asked for, whatever the order in which the
// broker is done. [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4]
type answers struct {
	queue []answer
	head  int    // of queue, the first that has not left
	first uint64 // the number of queue[head]
	bytes int    // of the payloads they are for
}

// answer is one acknowledgement.
type answer struct {
	kind answerKind
	done bool
	id   uint16
	size int
	err  *Error // nil: success
}

type answerKind uint8

const (
	sendPuback answerKind = iota
	sendPubrec
	sendPubrecAgain // for a publish that was answered before
	sendPubrel
	sendPubcomp
)

func (a *answers) len() int { return len(a.queue) - a.head }

// add puts an answer at the end and returns its number.
func (a *answers) add(x answer) uint64 {
	a.queue = append(a.queue, x)
	a.bytes += x.size
	return a.first + uint64(a.len()) - 1
}

// done marks an answer that may go.
func (a *answers) done(number uint64, err *Error) {
	x := &a.queue[a.head+int(number-a.first)]
	x.done, x.err = true, err
}

// next removes the first answer if it may go.
func (a *answers) next() (answer, bool) {
	if a.len() == 0 || !a.queue[a.head].done {
		return answer{}, false
	}
	x := a.queue[a.head]
	a.queue[a.head] = answer{}
	a.head++
	a.first++
	a.bytes -= x.size
	switch {
	case a.len() == 0 && cap(a.queue) > 64:
		a.queue, a.head = nil, 0
	case a.len() == 0:
		a.queue, a.head = a.queue[:0], 0
	case a.head >= 64 && a.head >= a.len():
		a.queue, a.head = a.queue[:copy(a.queue, a.queue[a.head:])], 0
	}
	return x, true
}

// expect queues an answer the broker is asked for and returns its number.
func (c *conn) expect(kind answerKind, id uint16, size int) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers.add(answer{kind: kind, id: id, size: size})
}

// answer queues an answer the broker is not asked for.
func (c *conn) answer(kind answerKind, id uint16, err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.done(c.answers.add(answer{kind: kind, id: id}), err)
	c.sendAnswers()
}

// allow takes what the broker says to an answer. Any goroutine.
func (c *conn) allow(number uint64, err error) {
	refusal, ok := errors.AsType[*Error](err)
	if err != nil && !ok {
		refusal = &Error{Reason: packet.UnspecifiedError, Err: err}
	}
	c.mu.Lock()
	c.answers.done(number, refusal)
	if c.phase != ended {
		c.sendAnswers()
	}
	c.mu.Unlock()
	c.room.Signal()
}

// sendAnswers sends the answers that may go. c.mu is held.
func (c *conn) sendAnswers() {
	for {
		a, ok := c.answers.next()
		if !ok || !c.sendAnswer(a) {
			return
		}
	}
}

// sendAnswer reports whether more may follow.
func (c *conn) sendAnswer(a answer) bool {
	out := packet.Answer{PacketID: a.id}
	refused := a.err != nil && a.err.Reason >= packet.UnspecifiedError
	if a.err != nil {
		out.Reason, out.ReasonString = a.err.Reason, c.text(a.err)
		publish := a.kind == sendPuback || a.kind == sendPubrec
		if refused && publish {
			c.server.counters.publishesRefused.Add(1)
		}
		if publish && !out.Reason.ValidIn(&packet.Puback{}) {
			out.Reason = packet.UnspecifiedError
		}
	}
	if refused && !c.mayTell(a) {
		c.end(a.err)
		return false
	}
	switch a.kind {
	case sendPuback:
		c.state.Acknowledged()
		c.reply(&packet.Puback{Answer: out})
	case sendPubrec:
		c.state.Received(a.id, !refused || c.version != packet.V5)
		c.reply(&packet.Pubrec{Answer: out})
	case sendPubrecAgain:
		c.reply(&packet.Pubrec{Answer: out})
	case sendPubrel:
		c.state.Released(a.id)
		c.reply(&packet.Pubrel{Answer: out})
	case sendPubcomp:
		c.state.Forgotten(a.id)
		c.reply(&packet.Pubcomp{Answer: out})
	}
	return true
}

// mayTell reports whether a refusal may be told by the answer. In 3.x it looks
// like an acceptance, which is a lie unless trying again would be in vain;
// without an answer and a connection, the client does that.
func (c *conn) mayTell(a answer) bool {
	switch {
	case a.err.Reason == packet.PacketIdentifierNotFound:
		return true
	case a.kind == sendPubrel || a.kind == sendPubcomp:
		return false
	case c.version == packet.V5:
		return true
	}
	switch a.err.Reason {
	case packet.NotAuthorized, packet.TopicNameInvalid, packet.PacketTooLarge, packet.PayloadFormatInvalid:
		return true // [MQTT-3.3.5-2] of 3.1.1
	default:
		return false
	}
}
