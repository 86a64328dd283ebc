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

func (p *Publish) kind() kind { return publish }

func (p *Publish) check(v Version) *Error {
	switch {
	case p.QoS > 2:
		return &Error{MalformedPacket, "the QoS is 3 [MQTT-3.3.1-4]"}
	case p.QoS == 0 && p.Dup:
		return &Error{MalformedPacket, "DUP is set at QoS 0 [MQTT-3.3.1-2]"}
	case p.QoS == 0 && p.PacketID != 0:
		return &Error{ProtocolError, "there is a packet identifier at QoS 0 [MQTT-2.2.1-2]"}
	case p.QoS > 0 && p.PacketID == 0:
		return zeroPacketID()
	case v == V5 && p.Topic == "" && p.Properties.TopicAlias == 0:
		return &Error{ProtocolError, "there is neither a topic name nor a topic alias [3.3.2.1]"}
	}
	if v != V5 || p.Topic != "" {
		if err := checkTopicName(p.Topic); err != nil {
			return err
		}
	}
	return p.Properties.check(v)
}

func (p *Publish) decode(d *decoder) {
	p.Dup = d.flags&8 != 0
	p.QoS = QoS(d.flags >> 1 & 3)
	p.Retain = d.flags&1 != 0
	p.Topic = d.topic()
	if p.QoS > 0 {
		p.PacketID = d.uint16()
	}
	for id := range d.properties(publish) {
		p.Properties.decode(d, id)
	}
	p.Payload = d.rest()
}

func (p *Publish) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.string(p.Topic)
	if p.QoS > 0 {
		e.uint16(p.PacketID)
	}
	e.properties(func() { p.Properties.append(&e) })
	head, err := e.packet(publishHeader(p.Dup, p.QoS, p.Retain), len(p.Payload))
	if err != nil {
		return nil, err
	}
	return append(head, p.Payload...), nil
}

func publishHeader(dup bool, qos QoS, retain bool) byte {
	first := byte(publish)<<4 | byte(qos)<<1
	if dup {
		first |= 8
	}
	if retain {
		first |= 1
	}
	return first
}

func (p *PublishProperties) check(v Version) *Error {
	switch {
	case v != V5:
		return nil
	case p.PayloadFormat != nil && *p.PayloadFormat > 1:
		return &Error{ProtocolError, "the payload format is neither 0 nor 1 [3.3.2.3.2]"}
	case hasWildcard(p.ResponseTopic):
		return &Error{ProtocolError, "the response topic has a wildcard [MQTT-3.3.2-14]"}
	}
	for _, id := range p.Identifiers {
		if err := checkIdentifier(id); err != nil {
			return err
		}
	}
	return nil
}

func (p *PublishProperties) decode(d *decoder, id uint32) {
	switch id {
	case propPayloadFormat:
		p.PayloadFormat = new(d.byte())
	case propResponseTopic:
		if p.ResponseTopic = d.string(); p.ResponseTopic == "" {
			d.fail(ProtocolError, "the response topic is empty [MQTT-4.7.3-1]")
		}
	case propCorrelationData:
		p.CorrelationData = d.binary()
	case propContentType:
		p.ContentType = new(d.string())
	case propUser:
		p.User = append(p.User, d.user())
	case propMessageExpiry:
		p.MessageExpiry = new(d.seconds32())
	case propTopicAlias:
		if p.TopicAlias = d.uint16(); p.TopicAlias == 0 {
			d.fail(TopicAliasInvalid, "the topic alias is 0 [MQTT-3.3.2-8]")
		}
	case propIdentifier:
		p.Identifiers = append(p.Identifiers, d.identifier())
	}
}

// append appends the properties in the order of Encoded.
func (p *PublishProperties) append(e *encoder) {
	p.appendShared(e)
	e.publishExtra(p.MessageExpiry, p.TopicAlias, p.Identifiers)
}

func (p *PublishProperties) appendShared(e *encoder) {
	if p.PayloadFormat != nil {
		e.byte(propPayloadFormat)
		e.byte(*p.PayloadFormat)
	}
	e.stringProperty(propResponseTopic, p.ResponseTopic)
	e.binaryProperty(propCorrelationData, p.CorrelationData)
	if p.ContentType != nil {
		e.byte(propContentType)
		e.string(*p.ContentType)
	}
	e.userProperties(p.User)
}

func (e *encoder) publishExtra(expiry *time.Duration, alias uint16, identifiers []uint32) {
	if expiry != nil {
		e.byte(propMessageExpiry)
		e.seconds32(*expiry)
	}
	e.uint16Property(propTopicAlias, alias)
	for _, id := range identifiers {
		e.varintProperty(propIdentifier, id)
	}
}

// identifier takes a subscription identifier. // MQTT 5, 3.8.2.1.2
func (d *decoder) identifier() uint32 {
	id := d.varint()
	if id == 0 {
		d.fail(ProtocolError, "the subscription identifier is 0 [3.8.2.1.2]")
	}
	return id
}

func checkIdentifier(id uint32) *Error {
	if id == 0 || id > maxVarint {
		return &Error{ProtocolError, "the subscription identifier is not between 1 and 268,435,455 [3.8.2.1.2]"}
	}
	return nil
}

func zeroPacketID() *Error {
	return &Error{ProtocolError, "the packet identifier is 0 [MQTT-2.2.1-3]"}
}

// Answer is the content that PUBACK, PUBREC, PUBREL and PUBCOMP share.
type Answer struct {
	PacketID     uint16
	Reason       ReasonCode // not written to 3.x
	ReasonString string
	User         []UserProperty
}

type (
	// Puback ends a PUBLISH at QoS 1.
	Puback struct{ Answer }
	// Pubrec says that a PUBLISH at QoS 2 was received.
	Pubrec struct{ Answer }
	// Pubrel says that the packet identifier will not be used for that PUBLISH again.
	Pubrel struct{ Answer }
	// Pubcomp ends a PUBLISH at QoS 2.
	Pubcomp struct{ Answer }
)

func (p *Puback) kind() kind  { return puback }
func (p *Pubrec) kind() kind  { return pubrec }
func (p *Pubrel) kind() kind  { return pubrel }
func (p *Pubcomp) kind() kind { return pubcomp }

func (p *Puback) check(v Version) *Error  { return p.Answer.check(v, puback) }
func (p *Pubrec) check(v Version) *Error  { return p.Answer.check(v, pubrec) }
func (p *Pubrel) check(v Version) *Error  { return p.Answer.check(v, pubrel) }
func (p *Pubcomp) check(v Version) *Error { return p.Answer.check(v, pubcomp) }

func (a *Answer) check(v Version, k kind) *Error {
	switch {
	case a.PacketID == 0:
		return zeroPacketID()
	case v == V5 && !a.Reason.in(k):
		return a.Reason.misplaced()
	}
	return nil
}

func (a *Answer) decode(d *decoder) {
	a.PacketID = d.uint16()
	if d.v != V5 || len(d.b) == 0 {
		return
	}
	a.Reason = ReasonCode(d.byte())
	if len(d.b) == 0 {
		return
	}
	for id := range d.properties(d.kind) {
		switch id {
		case propReasonString:
			a.ReasonString = d.string()
		case propUser:
			a.User = append(a.User, d.user())
		}
	}
}

func (p *Puback) append(dst []byte, v Version) ([]byte, error) {
	return p.Answer.append(dst, v, puback)
}

func (p *Pubrec) append(dst []byte, v Version) ([]byte, error) {
	return p.Answer.append(dst, v, pubrec)
}

func (p *Pubrel) append(dst []byte, v Version) ([]byte, error) {
	return p.Answer.append(dst, v, pubrel)
}

func (p *Pubcomp) append(dst []byte, v Version) ([]byte, error) {
	return p.Answer.append(dst, v, pubcomp)
}

func (a *Answer) append(dst []byte, v Version, k kind) ([]byte, error) {
	e := newEncoder(dst, v)
	e.uint16(a.PacketID)
	e.outcome(a.Reason, func() {
		e.stringProperty(propReasonString, a.ReasonString)
		e.userProperties(a.User)
	})
	return e.packet(byte(k)<<4|k.flags(), 0)
}
