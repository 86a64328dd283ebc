package packet

import "time"

// QoS is a quality of service level, 0 to 2.
type QoS uint8

// Publish carries a message.
type Publish struct {
	Dup      bool
	QoS      QoS
	Retain   bool
	Topic    string // may be empty in MQTT 5 with an alias
	PacketID uint16 // 0 at QoS 0
	Payload  []byte

	Properties PublishProperties
}

// PublishProperties are the MQTT 5 properties of a PUBLISH or a will.
type PublishProperties struct {
	PayloadFormat   *uint8         // nil: absent, 1: UTF-8
	MessageExpiry   *time.Duration // nil: absent; whole seconds
	TopicAlias      uint16         // 0: none; not in a will
	ResponseTopic   string         // "": none
	CorrelationData []byte         // nil: none
	ContentType     *string        // nil: absent
	User            []UserProperty
	Identifiers     []uint32 // server to client only
}

// Answer is the content that PUBACK, PUBREC, PUBREL and PUBCOMP share.
type Answer struct {
	PacketID     uint16
	Reason       ReasonCode // not written to 3.x
	ReasonString string
	User         []UserProperty
}

// The four answers to a PUBLISH.
type (
	Puback  struct{ Answer }
	Pubrec  struct{ Answer }
	Pubrel  struct{ Answer }
	Pubcomp struct{ Answer }
)
