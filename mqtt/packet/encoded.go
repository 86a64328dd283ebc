package packet

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// Encoded is what all receivers of a message who speak the same version have
// in common in their PUBLISH, encoded once: topic, payload format, response
// topic, correlation data, content type and user properties. It is immutable.
//
// A PUBLISH is what Append makes of it, with the payload behind; at QoS 0 and
// without extras that is the same for all of them and can be kept as a whole.
type Encoded struct {
	v     Version
	b     []byte // the topic with its length, then the properties of MQTT 5 without theirs
	topic int    // where the properties begin
}

// PublishExtra is what belongs to one receiver of a PUBLISH. Identifiers,
// Expiry, Alias and OmitTopic are for MQTT 5 and ignored in 3.x.
type PublishExtra struct {
	Dup         bool
	QoS         QoS
	Retain      bool
	PacketID    uint16         // written at QoS 1 and 2
	Identifiers []uint32       // subscription identifiers, 1 to 268,435,455 each
	Expiry      *time.Duration // what is left of the message expiry interval; nil: none
	Alias       uint16         // 0: none
	OmitTopic   bool           // the receiver knows it by the alias
}

// EncodePublish encodes what is the same for all receivers; of properties it
// takes what Encoded lists.
func EncodePublish(v Version, topic string, properties *PublishProperties) (Encoded, error) {
	p := Publish{Topic: topic, Properties: PublishProperties{
		PayloadFormat:   properties.PayloadFormat,
		ResponseTopic:   properties.ResponseTopic,
		CorrelationData: properties.CorrelationData,
		ContentType:     properties.ContentType,
		User:            properties.User,
	}}
	if err := p.check(v); err != nil {
		return Encoded{}, err.in(publish)
	}
	e := newEncoder(nil, v)
	e.string(topic)
	end := len(e.b)
	if v == V5 {
		p.Properties.appendShared(&e)
	}
	if e.err != nil {
		return Encoded{}, e.err.in(publish)
	}
	return Encoded{v: v, b: slices.Clip(e.b), topic: end}, nil
}

// Size returns how many bytes the packet has, to be held against the
// receiver's Maximum Packet Size. [MQTT-3.1.2-24]
func (s Encoded) Size(x PublishExtra, payload int) int {
	_, remaining := s.lengths(&x, payload)
	return 1 + varintSize(remaining) + remaining
}

// Append encodes a PUBLISH up to its payload, of which it takes only the size.
// That must be such that Size is not over MaxSize.
func (s Encoded) Append(dst []byte, x PublishExtra, payload int) []byte {
	length, remaining := s.lengths(&x, payload)
	dst = slices.Grow(dst, 5+remaining-payload)
	dst = append(dst, publishHeader(x.Dup, x.QoS, x.Retain))
	dst = appendVarint(dst, uint32(remaining))
	if s.v == V5 && x.OmitTopic {
		dst = append(dst, 0, 0)
	} else {
		dst = append(dst, s.b[:s.topic]...)
	}
	if x.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, x.PacketID)
	}
	if s.v != V5 {
		return dst
	}
	dst = appendVarint(dst, uint32(length))
	e := encoder{b: append(dst, s.b[s.topic:]...)}
	if x.Expiry != nil {
		// Offered too late is not a reason to fail: the rest is a matter of the clock.
		left := min(max(*x.Expiry, 0), math.MaxUint32*time.Second)
		x.Expiry = &left
	}
	e.publishExtra(x.Expiry, x.Alias, x.Identifiers)
	return e.b
}

// lengths returns the length of the properties and the remaining length.
func (s Encoded) lengths(x *PublishExtra, payload int) (properties, remaining int) {
	remaining = s.topic + payload
	if x.QoS > 0 {
		remaining += 2
	}
	if s.v != V5 {
		return 0, remaining
	}
	if x.OmitTopic {
		remaining += 2 - s.topic
	}
	properties = len(s.b) - s.topic
	if x.Expiry != nil {
		properties += 5
	}
	if x.Alias != 0 {
		properties += 3
	}
	for _, id := range x.Identifiers {
		properties += 1 + varintSize(int(id))
	}
	return properties, remaining + varintSize(properties) + properties
}
