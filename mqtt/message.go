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

	shared [2]atomic.Pointer[[]byte] // 3.x, 5.0: a whole PUBLISH at QoS 0 without what belongs to one receiver
}
