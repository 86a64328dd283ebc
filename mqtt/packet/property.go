package packet

import (
	"iter"
	"slices"
	"time"
)

// The identifiers of properties. // MQTT 5, 2.2.2.2
const (
	propPayloadFormat       = 0x01
	propMessageExpiry       = 0x02
	propContentType         = 0x03
	propResponseTopic       = 0x08
	propCorrelationData     = 0x09
	propIdentifier          = 0x0B
	propSessionExpiry       = 0x11
	propAssignedClientID    = 0x12
	propServerKeepAlive     = 0x13
	propAuthMethod          = 0x15
	propAuthData            = 0x16
	propRequestProblem      = 0x17
	propWillDelay           = 0x18
	propRequestResponse     = 0x19
	propResponseInfo        = 0x1A
	propServerReference     = 0x1C
	propReasonString        = 0x1F
	propReceiveMaximum      = 0x21
	propTopicAliasMax       = 0x22
	propTopicAlias          = 0x23
	propMaximumQoS          = 0x24
	propRetainAvailable     = 0x25
	propUser                = 0x26
	propMaximumPacket       = 0x27
	propWildcardAvailable   = 0x28
	propIdentifierAvailable = 0x29
	propSharedAvailable     = 0x2A
)

// properties says in which packets a property may stand, and whether more
// than once; the type of a property is that of the field it is decoded to.
var properties = [...]struct {
	in         kinds
	repeatable kinds
}{
	propPayloadFormat:       {in: set(publish, willProperties)},
	propMessageExpiry:       {in: set(publish, willProperties)},
	propContentType:         {in: set(publish, willProperties)},
	propResponseTopic:       {in: set(publish, willProperties)},
	propCorrelationData:     {in: set(publish, willProperties)},
	propIdentifier:          {in: set(publish, subscribe), repeatable: set(publish)},
	propSessionExpiry:       {in: set(connect, connack, disconnect)},
	propAssignedClientID:    {in: set(connack)},
	propServerKeepAlive:     {in: set(connack)},
	propAuthMethod:          {in: set(connect, connack, auth)},
	propAuthData:            {in: set(connect, connack, auth)},
	propRequestProblem:      {in: set(connect)},
	propWillDelay:           {in: set(willProperties)},
	propRequestResponse:     {in: set(connect)},
	propResponseInfo:        {in: set(connack)},
	propServerReference:     {in: set(connack, disconnect)},
	propReasonString:        {in: set(connack, puback, pubrec, pubrel, pubcomp, suback, unsuback, disconnect, auth)},
	propReceiveMaximum:      {in: set(connect, connack)},
	propTopicAliasMax:       {in: set(connect, connack)},
	propTopicAlias:          {in: set(publish)},
	propMaximumQoS:          {in: set(connack)},
	propRetainAvailable:     {in: set(connack)},
	propUser:                {in: anywhere, repeatable: anywhere},
	propMaximumPacket:       {in: set(connect, connack)},
	propWildcardAvailable:   {in: set(connack)},
	propIdentifierAvailable: {in: set(connack)},
	propSharedAvailable:     {in: set(connack)},
}

// anywhere is every packet that has properties.
var anywhere = ^set(pingreq, pingresp)

// properties yields the identifiers of a property list to a loop that takes
// the value of each and does not break. 3.x has no list.
func (d *decoder) properties(k kind) iter.Seq[uint32] {
	return func(yield func(uint32) bool) { d.eachProperty(k, yield) }
}

func (d *decoder) eachProperty(k kind, yield func(uint32) bool) {
	if d.v != V5 {
		return
	}
	list := d.take(int(d.varint()))
	behind := d.b
	d.b = list
	var seen uint64 // one bit per identifier
	for len(d.b) > 0 {
		p := d.varint()
		if p >= uint32(len(properties)) || !properties[p].in.has(k) {
			d.fail(MalformedPacket, "a property is unknown or belongs to another packet [2.2.2.2]")
			return
		}
		if seen>>p&1 != 0 && !properties[p].repeatable.has(k) {
			d.fail(ProtocolError, "a property is repeated [2.2.2.2]")
			return
		}
		seen |= 1 << p
		yield(p)
	}
	if d.err == nil {
		d.b = behind
	}
}

func (d *decoder) user() UserProperty { return UserProperty{d.string(), d.string()} }

// nonZero16 takes a number that may be left out but must not be 0.
func (d *decoder) nonZero16() uint16 {
	n := d.uint16()
	if n == 0 {
		d.fail(ProtocolError, zeroProperty)
	}
	return n
}

// nonZero32 takes a number that may be left out but must not be 0.
func (d *decoder) nonZero32() uint32 {
	n := d.uint32()
	if n == 0 {
		d.fail(ProtocolError, zeroProperty)
	}
	return n
}

const zeroProperty = "a property that must not be 0 is"

// properties appends the list of what f appends; nothing in 3.x.
func (e *encoder) properties(f func()) {
	if e.v != V5 {
		return
	}
	start := len(e.b)
	f()
	length := appendVarint(make([]byte, 0, 5), uint32(len(e.b)-start))
	e.b = slices.Insert(e.b, start, length...)
}

// The methods below append one property; those for types that have a value
// for "absent" append nothing for it.

func (e *encoder) stringProperty(id byte, s string) {
	if s != "" {
		e.byte(id)
		e.string(s)
	}
}

func (e *encoder) binaryProperty(id byte, b []byte) {
	if b != nil {
		e.byte(id)
		e.binary(b)
	}
}

func (e *encoder) uint16Property(id byte, n uint16) {
	if n != 0 {
		e.byte(id)
		e.uint16(n)
	}
}

func (e *encoder) uint32Property(id byte, n uint32) {
	if n != 0 {
		e.byte(id)
		e.uint32(n)
	}
}

func (e *encoder) boolProperty(id byte, b *bool) {
	if b != nil {
		e.byte(id)
		e.bool(*b)
	}
}

func (e *encoder) expiryProperty(d *time.Duration) {
	if d != nil {
		e.byte(propSessionExpiry)
		e.expiry(*d)
	}
}

func (e *encoder) varintProperty(id byte, n uint32) {
	e.byte(id)
	e.b = appendVarint(e.b, n)
}

func (e *encoder) userProperties(list []UserProperty) {
	for i := range list {
		e.byte(propUser)
		e.string(list[i].Name)
		e.string(list[i].Value)
	}
}
