package bridge

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

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
	kept uint64 // revision of its record as a retained message; 0: it was not read from there
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

// storedQoS is the QoS of a stored message whose metadata names none: nearly
// all of them have it, and most have no other metadata.
const storedQoS = 1

// encodeStored is Encode for a message that a stream keeps: QoS 1 is the one
// that needs no saying, and 0 and 1 change places on the wire.
func encodeStored(e *mapping.Envelope) (header string, data []byte) {
	qos := e.QoS
	e.QoS = swapQoS(qos)
	header, data = e.Encode()
	e.QoS = qos
	return header, data
}

func swapQoS(qos uint8) uint8 {
	if qos <= storedQoS {
		return storedQoS - qos
	}
	return qos
}

// newStored decodes what a stream kept.
func newStored(topic string, m *nats.Msg) (*message, error) {
	msg, err := newMessage(topic, m)
	if err == nil {
		msg.QoS = swapQoS(msg.QoS)
	}
	return msg, err
}

// nativeMessage is what a native NATS application published: the data is the
// body, its headers are properties, metadata in our form is not believed.
func nativeMessage(topic string, m *nats.Msg) *message {
	msg := &message{size: len(m.Data) + 256}
	msg.Topic, msg.Body, msg.QoS = topic, m.Data, storedQoS
	msg.Origin.Protocol = "nats"
	for name, values := range m.Header {
		if name == mapping.HeaderName || strings.HasPrefix(name, "Nats-") {
			continue
		}
		for _, v := range values {
			msg.Properties = append(msg.Properties, mapping.Property{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(msg.Properties, func(a, b mapping.Property) int { return strings.Compare(a.Name, b.Name) })
	return msg
}

// expired reports whether the message may not be delivered any more.
func (m *message) expired(now time.Time) bool { return !m.Expires.IsZero() && !m.Expires.After(now) }
