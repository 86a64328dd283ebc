package stomp

import (
	"sync/atomic"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// Message is a message as all its STOMP receivers see it. It is immutable;
// the bytes that do not depend on the receiver are encoded once per version.
type Message struct {
	Destination string
	// Header is everything of the MESSAGE but destination, subscription,
	// message-id, ack, redelivered, delivery-count, retained and content-length.
	Header frame.Header
	Body   []byte

	shared [3]atomic.Pointer[[]byte] // by version: the header from destination to the blank line
}

// encoded returns the part of the frame's header that all receivers share. It
// follows the receiver's own lines, so that those win. // STOMP 1.2, Repeated Header Entries
func (m *Message) encoded(v frame.Version) []byte {
	slot := &m.shared[v-frame.V10]
	if b := slot.Load(); b != nil {
		return *b
	}
	size := len("destination:\ncontent-length:1234567890\n\n") + len(m.Destination)
	for i := range m.Header {
		size += len(m.Header[i].Name) + len(m.Header[i].Value) + len(":\n")
	}
	b := frame.AppendField(make([]byte, 0, size), v, "destination", m.Destination)
	for i := range m.Header {
		b = frame.AppendField(b, v, m.Header[i].Name, m.Header[i].Value)
	}
	b = append(frame.AppendLength(b, len(m.Body)), '\n')
	slot.Store(&b)
	return b
}
