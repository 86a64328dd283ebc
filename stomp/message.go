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

	shared [3]atomic.Pointer[[]byte] // by version: MESSAGE … up to the receiver's own headers
}
