package packet

import "strings"

// RetainHandling says when retained messages are sent for a SUBSCRIBE.
type RetainHandling uint8

// Retain handling of a subscription, MQTT 5.
const (
	RetainSend      RetainHandling = 0 // always
	RetainSendIfNew RetainHandling = 1 // if the subscription is new
	RetainIgnore    RetainHandling = 2 // never
)

// Filter is one entry of a SUBSCRIBE.
type Filter struct {
	Topic             string
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    RetainHandling
}

// Subscribe asks for subscriptions.
type Subscribe struct {
	PacketID   uint16
	Filters    []Filter
	Identifier uint32 // 0: none
	User       []UserProperty
}

func (p *Subscribe) kind() kind { return subscribe }

func (p *Subscribe) check(v Version) *Error {
	switch {
	case p.PacketID == 0:
		return zeroPacketID()
	case len(p.Filters) == 0:
		return &Error{ProtocolError, "there is no topic filter [MQTT-3.8.3-2]"}
	case p.Identifier > maxVarint:
		return checkIdentifier(p.Identifier)
	}
	for i := range p.Filters {
		if err := p.Filters[i].check(v); err != nil {
			return err
		}
	}
	return nil
}

func (f *Filter) check(v Version) *Error {
	switch {
	case f.QoS > 2:
		return &Error{qos3Reason(v), "the QoS of a subscription is 3 [3.8.3.1]"}
	case f.RetainHandling > 2:
		return &Error{ProtocolError, "the retain handling is 3 [3.8.3.1]"}
	case v != V5 && (f.NoLocal || f.RetainAsPublished || f.RetainHandling != RetainSend):
		return &Error{ProtocolError, "there are no such subscription options before MQTT 5"}
	case f.NoLocal && strings.HasPrefix(f.Topic, sharePrefix):
		return &Error{ProtocolError, "a shared subscription has no local set [MQTT-3.8.3-4]"}
	}
	return nil
}

// qos3Reason is the reason for a subscription with QoS 3. // MQTT 5, 3.8.3.1; [3.1.1 MQTT-3.8.3-4]
func qos3Reason(v Version) ReasonCode {
	if v == V5 {
		return ProtocolError
	}
	return MalformedPacket
}

func (p *Subscribe) decode(d *decoder) {
	p.PacketID = d.uint16()
	for id := range d.properties(subscribe) {
		switch id {
		case propIdentifier:
			p.Identifier = d.identifier()
		case propUser:
			p.User = append(p.User, d.user())
		}
	}
	for len(d.b) > 0 {
		p.Filters = append(p.Filters, d.filter())
	}
}

// filter takes a topic filter, valid or not, and its options.
func (d *decoder) filter() Filter {
	f := Filter{Topic: d.string()}
	options := d.byte()
	reserved := byte(0xC0)
	switch d.v {
	case V31:
		reserved, options = 0, options&3 // not used
	case V311:
		reserved = 0xFC
	case V5:
	}
	if options&reserved != 0 {
		d.fail(MalformedPacket, "reserved bits of a subscription are set [MQTT-3.8.3-5]")
	}
	f.QoS = QoS(options & 3)
	f.NoLocal = options&4 != 0
	f.RetainAsPublished = options&8 != 0
	f.RetainHandling = RetainHandling(options >> 4 & 3)
	return f
}

func (p *Subscribe) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.uint16(p.PacketID)
	e.properties(func() {
		if p.Identifier != 0 {
			e.varintProperty(propIdentifier, p.Identifier)
		}
		e.userProperties(p.User)
	})
	for i := range p.Filters {
		e.string(p.Filters[i].Topic)
		e.byte(p.Filters[i].options())
	}
	return e.packet(byte(subscribe)<<4|subscribe.flags(), 0)
}

func (f *Filter) options() byte {
	options := byte(f.QoS) | byte(f.RetainHandling)<<4
	if f.NoLocal {
		options |= 4
	}
	if f.RetainAsPublished {
		options |= 8
	}
	return options
}

// Suback answers SUBSCRIBE with one reason per filter.
type Suback struct {
	PacketID     uint16
	Reasons      []ReasonCode
	ReasonString string
	User         []UserProperty
}

func (p *Suback) kind() kind { return suback }

func (p *Suback) check(v Version) *Error { return checkReasons(p.PacketID, p.Reasons, v, suback) }

// checkReasons checks what SUBACK and UNSUBACK have in common.
func checkReasons(packetID uint16, reasons []ReasonCode, v Version, k kind) *Error {
	switch {
	case packetID == 0:
		return zeroPacketID()
	case len(reasons) == 0 && (v == V5 || k == suback):
		return &Error{ProtocolError, "there is no reason code [3.9.3]"}
	}
	for _, r := range reasons {
		if v == V5 && !r.in(k) || r > GrantedQoS2 && r < 0x80 && k == suback {
			return r.misplaced()
		}
	}
	return nil
}

func (p *Suback) decode(d *decoder) {
	p.PacketID = d.uint16()
	p.ReasonString, p.User = d.explanation()
	p.Reasons = d.reasons()
	if d.v == V5 {
		return
	}
	for _, r := range p.Reasons {
		if r > GrantedQoS2 && r != UnspecifiedError {
			d.fail(MalformedPacket, "a return code is reserved [3.1.1 MQTT-3.9.3-2]")
		}
	}
}

// explanation takes the properties of SUBACK and UNSUBACK.
func (d *decoder) explanation() (reason string, user []UserProperty) {
	for id := range d.properties(d.kind) {
		switch id {
		case propReasonString:
			reason = d.string()
		case propUser:
			user = append(user, d.user())
		}
	}
	return reason, user
}

// reasons takes one reason code for each byte that is left.
func (d *decoder) reasons() []ReasonCode {
	var reasons []ReasonCode
	if n := len(d.b); n > 0 {
		reasons = make([]ReasonCode, n)
	}
	for i, b := range d.take(len(reasons)) {
		reasons[i] = ReasonCode(b)
	}
	return reasons
}

func (p *Suback) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.uint16(p.PacketID)
	e.explanation(p.ReasonString, p.User)
	for _, r := range p.Reasons {
		if v != V5 && r >= 0x80 {
			r = UnspecifiedError // the only failure of 3.x // 3.1.1, 3.9.3
		}
		e.byte(byte(r))
	}
	return e.packet(byte(suback)<<4, 0)
}

func (e *encoder) explanation(reason string, user []UserProperty) {
	e.properties(func() {
		e.stringProperty(propReasonString, reason)
		e.userProperties(user)
	})
}

// Unsubscribe ends subscriptions.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	User     []UserProperty
}

func (p *Unsubscribe) kind() kind { return unsubscribe }

func (p *Unsubscribe) check(Version) *Error {
	switch {
	case p.PacketID == 0:
		return zeroPacketID()
	case len(p.Filters) == 0:
		return &Error{ProtocolError, "there is no topic filter [MQTT-3.10.3-2]"}
	}
	return nil
}

func (p *Unsubscribe) decode(d *decoder) {
	p.PacketID = d.uint16()
	for range d.properties(unsubscribe) {
		p.User = append(p.User, d.user()) // the only one it may have
	}
	for len(d.b) > 0 {
		p.Filters = append(p.Filters, d.string())
	}
}

func (p *Unsubscribe) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.uint16(p.PacketID)
	e.properties(func() { e.userProperties(p.User) })
	for _, filter := range p.Filters {
		e.string(filter)
	}
	return e.packet(byte(unsubscribe)<<4|unsubscribe.flags(), 0)
}

// Unsuback answers UNSUBSCRIBE; 3.x has no reasons in it.
type Unsuback struct {
	PacketID     uint16
	Reasons      []ReasonCode
	ReasonString string
	User         []UserProperty
}

func (p *Unsuback) kind() kind { return unsuback }

func (p *Unsuback) check(v Version) *Error { return checkReasons(p.PacketID, p.Reasons, v, unsuback) }

func (p *Unsuback) decode(d *decoder) {
	p.PacketID = d.uint16()
	if d.v != V5 {
		return
	}
	p.ReasonString, p.User = d.explanation()
	p.Reasons = d.reasons()
}

func (p *Unsuback) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.uint16(p.PacketID)
	e.explanation(p.ReasonString, p.User)
	if v == V5 {
		for _, r := range p.Reasons {
			e.byte(byte(r))
		}
	}
	return e.packet(byte(unsuback)<<4, 0)
}

type (
	// Pingreq asks whether the server is alive, and says that the client is.
	Pingreq struct{}
	// Pingresp answers PINGREQ.
	Pingresp struct{}
)

func (*Pingreq) kind() kind  { return pingreq }
func (*Pingresp) kind() kind { return pingresp }

func (*Pingreq) check(Version) *Error  { return nil }
func (*Pingresp) check(Version) *Error { return nil }

func (*Pingreq) decode(*decoder)  {}
func (*Pingresp) decode(*decoder) {}

func (*Pingreq) append(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(pingreq)<<4, 0), nil
}

func (*Pingresp) append(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(pingresp)<<4, 0), nil
}
