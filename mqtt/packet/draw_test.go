package packet

import (
	"math"
	"time"

	"pgregory.net/rapid"
)

// drawPacket draws a valid packet, every property present or not, none empty.
func drawPacket(t *rapid.T, k kind, v Version) Packet {
	d := drawer{t, v}
	switch p := newPacket(k, v).(type) {
	case *Connect:
		d.connect(p)
		return p
	case *Connack:
		d.connack(p)
		return p
	case *Publish:
		d.publish(p)
		return p
	case *Puback:
		p.Answer = d.answer(k)
		return p
	case *Pubrec:
		p.Answer = d.answer(k)
		return p
	case *Pubrel:
		p.Answer = d.answer(k)
		return p
	case *Pubcomp:
		p.Answer = d.answer(k)
		return p
	case *Subscribe:
		p.PacketID = d.uint16()
		p.Filters = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Filter { return drawer{t, v}.filter() }), 1, 5).Draw(t, "filters")
		if v == V5 {
			p.Identifier = rapid.Uint32Range(0, maxVarint).Draw(t, "identifier")
			p.User = d.user()
		}
		return p
	case *Suback:
		p.PacketID, p.Reasons = d.uint16(), d.reasons(k)
		p.ReasonString, p.User = d.optional(), d.user()
		return p
	case *Unsubscribe:
		p.PacketID, p.User = d.uint16(), d.user()
		p.Filters = rapid.SliceOfN(text, 1, 5).Draw(t, "filters")
		return p
	case *Unsuback:
		p.PacketID = d.uint16()
		if v == V5 {
			p.Reasons = d.reasons(k)
		}
		p.ReasonString, p.User = d.optional(), d.user()
		return p
	case *Disconnect:
		p.ReasonString, p.User, p.ServerReference = d.optional(), d.user(), d.optional()
		if v == V5 {
			p.SessionExpiry = d.expiry()
		}
		if p.SessionExpiry != nil || p.ReasonString != "" { // the oracle cannot read a reason on its own
			p.Reason = d.reason(k)
		}
		return p
	case *Auth:
		p.Reason, p.Method = d.reason(k), text.Draw(t, "method")
		p.Data, p.ReasonString, p.User = d.binary(), d.optional(), d.user()
		return p
	default:
		return p
	}
}

var (
	text   = rapid.StringOfN(rapid.RuneFrom([]rune("aZ /+#$é水😀\uFEFF")), 1, 200, -1)
	topics = rapid.StringOfN(rapid.RuneFrom([]rune("aZ /$é水😀")), 1, 200, -1)
	octets = rapid.SliceOfN(rapid.Byte(), 1, 200)
)

// drawer draws the fields of a packet; properties are absent in 3.x.
type drawer struct {
	*rapid.T
	v Version
}

func (d drawer) bool() bool     { return rapid.Bool().Draw(d.T, "bool") }
func (d drawer) uint16() uint16 { return rapid.Uint16Min(1).Draw(d.T, "uint16") }
func (d drawer) qos() QoS       { return QoS(rapid.Uint8Max(2).Draw(d.T, "qos")) }

// present says whether to draw a property.
func (d drawer) present() bool { return d.v == V5 && d.bool() }

func (d drawer) optional() string {
	if !d.present() {
		return ""
	}
	return text.Draw(d.T, "string")
}

func (d drawer) binary() []byte {
	if !d.present() {
		return nil
	}
	return octets.Draw(d.T, "binary")
}

func (d drawer) optionalBool() *bool {
	if !d.present() {
		return nil
	}
	return new(d.bool())
}

func (d drawer) optionalUint16() uint16 {
	if !d.present() {
		return 0
	}
	return d.uint16()
}

func (d drawer) seconds(from, to int64) time.Duration {
	return time.Duration(rapid.Int64Range(from, to).Draw(d.T, "seconds")) * time.Second
}

func (d drawer) expiry() *time.Duration {
	switch {
	case !d.present():
		return nil
	case d.bool():
		return new(Forever)
	}
	return new(d.seconds(0, math.MaxUint32-1))
}

func (d drawer) user() []UserProperty {
	if !d.present() {
		return nil
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) UserProperty {
		return UserProperty{text.Draw(t, "name"), text.Draw(t, "value")}
	}), 1, 4).Draw(d.T, "user")
}

func (d drawer) reason(k kind) ReasonCode {
	var valid []ReasonCode
	for r := range ReasonCode(len(reasons)) {
		if r.in(k) && (d.v == V5 || r < 0x80 || r == UnspecifiedError) {
			valid = append(valid, r)
		}
	}
	return rapid.SampledFrom(valid).Draw(d.T, "reason")
}

func (d drawer) reasons(k kind) []ReasonCode {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ReasonCode { return drawer{t, d.v}.reason(k) }), 1, 5).Draw(d.T, "reasons")
}

func (d drawer) answer(k kind) Answer {
	a := Answer{PacketID: d.uint16(), ReasonString: d.optional(), User: d.user()}
	if d.v == V5 {
		a.Reason = d.reason(k)
	}
	if a.Reason < 0x80 && a.ReasonString == "" && a.User == nil { // the oracle leaves such a reason out
		a.Reason = Success
	}
	return a
}

func (d drawer) filter() Filter {
	f := Filter{Topic: text.Draw(d.T, "filter"), QoS: d.qos()}
	if d.v == V5 {
		f.NoLocal, f.RetainAsPublished = d.bool(), d.bool()
		f.RetainHandling = RetainHandling(rapid.Uint8Max(2).Draw(d.T, "retain handling"))
	}
	return f
}

func (d drawer) connect(p *Connect) {
	p.Version, p.CleanStart, p.KeepAlive, p.ClientID = d.v, d.bool(), d.seconds(0, math.MaxUint16), text.Draw(d.T, "client id")
	if d.bool() {
		p.Username = new(text.Draw(d.T, "user name"))
		if d.bool() {
			p.Password = octets.Draw(d.T, "password")
		}
	}
	if d.bool() {
		p.Will = &Will{Topic: topics.Draw(d.T, "topic"), Payload: octets.Draw(d.T, "payload"), QoS: d.qos(), Retain: d.bool()}
		p.Will.Properties = d.publishProperties()
		if d.present() {
			p.Will.Delay = d.seconds(0, math.MaxUint32)
		}
	}
	p.SessionExpiry, p.ReceiveMaximum, p.MaximumPacket, p.TopicAliasMax = d.expiry(), d.optionalUint16(), uint32(d.optionalUint16()), d.optionalUint16()
	p.RequestResponse, p.RequestProblem, p.User = d.present(), d.optionalBool(), d.user()
	if p.AuthMethod = d.optional(); p.AuthMethod != "" {
		p.AuthData = d.binary()
	}
}

func (d drawer) connack(p *Connack) {
	if p.SessionPresent = d.v != V31 && d.bool(); !p.SessionPresent {
		if p.Reason = d.reason(connack); d.v != V5 {
			p.Reason = rapid.SampledFrom(returnCodes[:]).Draw(d.T, "return code")
		}
	}
	p.SessionExpiry, p.ReceiveMaximum, p.MaximumPacket, p.TopicAliasMax = d.expiry(), d.optionalUint16(), uint32(d.optionalUint16()), d.optionalUint16()
	if d.present() {
		p.MaximumQoS = new(d.qos() & 1)
	}
	p.RetainAvailable, p.WildcardAvailable, p.IdentifiersAvail, p.SharedAvailable = d.optionalBool(), d.optionalBool(), d.optionalBool(), d.optionalBool()
	p.AssignedClientID, p.ReasonString, p.User = d.optional(), d.optional(), d.user()
	if d.present() {
		p.ServerKeepAlive = new(d.seconds(0, math.MaxUint16))
	}
	p.ResponseInfo, p.ServerReference = d.optional(), d.optional()
	if p.AuthMethod = d.optional(); p.AuthMethod != "" {
		p.AuthData = d.binary()
	}
}

func (d drawer) publish(p *Publish) {
	p.QoS, p.Retain, p.Topic = d.qos(), d.bool(), topics.Draw(d.T, "topic")
	if p.QoS > 0 {
		p.Dup, p.PacketID = d.bool(), d.uint16()
	}
	if d.bool() {
		p.Payload = octets.Draw(d.T, "payload")
	}
	p.Properties = d.publishProperties()
	if d.present() {
		p.Properties.TopicAlias = d.uint16()
		if d.bool() {
			p.Topic = ""
		}
	}
	if d.present() {
		p.Properties.Identifiers = rapid.SliceOfN(rapid.Uint32Range(1, maxVarint), 1, 4).Draw(d.T, "identifiers")
	}
}

func (d drawer) publishProperties() PublishProperties {
	p := PublishProperties{CorrelationData: d.binary(), User: d.user()}
	if d.present() {
		p.PayloadFormat = new(rapid.Uint8Max(1).Draw(d.T, "payload format"))
	}
	if d.present() {
		p.MessageExpiry = new(d.seconds(1, math.MaxUint32))
	}
	if d.present() {
		p.ResponseTopic = topics.Draw(d.T, "response topic")
	}
	if d.present() {
		p.ContentType = new(text.Draw(d.T, "content type"))
	}
	return p
}
