package bridge

import (
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// message is a message on its way out of the core: decoded once, translated
// once per protocol, shared by all who get it. It is immutable.
type message struct {
	mapping.Envelope

	seq  uint64 // its place in the log; 0: not from the log
	size int    // bytes it holds in memory, about

	stomp atomic.Pointer[stomp.Message]
	mqtt  atomic.Pointer[mqtt.Message]
}

// newMessage decodes what the core delivered. The message keeps m's data.
func newMessage(topic string, m *nats.Msg) (*message, error) {
	msg := &message{size: len(m.Data) + 256}
	var header string
	if len(m.Header) > 0 {
		if v := m.Header[mapping.HeaderName]; len(v) > 0 {
			header = v[0]
			msg.size += len(header) * 2
		}
	}
	if err := msg.Decode(header, m.Data); err != nil {
		return nil, fmt.Errorf("message on %s: %w", m.Subject, err)
	}
	msg.Topic = topic
	return msg, nil
}
