package mqtt

import (
	"sync/atomic"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// Message is a message as all its MQTT receivers see it. It is immutable; the
// bytes that do not depend on the receiver are encoded once per version.
type Message struct {
	Topic   string
	Payload []byte
	Expires time.Time // zero: never. What remains of it is sent as Message Expiry Interval [MQTT-3.3.2-6]
	// Properties are sent to MQTT 5 clients: PayloadFormat, ContentType,
	// ResponseTopic, CorrelationData and User only.
	Properties packet.PublishProperties

	shared [2]atomic.Pointer[encoding] // 3.x, 5.0
}

// encoding is what the receivers of one version share of a Message.
type encoding struct {
	packet.Encoded
	err error // the message cannot be said in MQTT
}

// encoded returns the shared encoding of version v, which the first receiver
// makes for all.
func (m *Message) encoded(v packet.Version) (packet.Encoded, error) {
	shared := &m.shared[0]
	if v == packet.V5 {
		shared = &m.shared[1]
	}
	e := shared.Load()
	if e == nil {
		e = new(encoding)
		e.Encoded, e.err = packet.EncodePublish(v, m.Topic, &m.Properties)
		shared.Store(e)
	}
	return e.Encoded, e.err
}
