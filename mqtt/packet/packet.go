// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5.0.
//
// A Reader decodes the packets of a connection, Append encodes them. Both
// enforce what a single packet can be judged by; what needs the state of a
// session or the role of the peer is left to their callers. Statements of the
// specification are cited by their numbers in MQTT 5.0 unless 3.1.1 is named.
package packet

import "strconv"

// Version is the protocol level of CONNECT.
type Version uint8

// The versions, by their level on the wire.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String returns the usual name of the version.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "Version(" + strconv.Itoa(int(v)) + ")"
}

// MaxSize is the size in bytes of the largest packet that can be encoded: a
// fixed header of five bytes and a remaining length of 268,435,455.
const MaxSize = 5 + maxVarint

// Packet is one control packet: *Connect, *Connack, *Publish, *Puback,
// *Pubrec, *Pubrel, *Pubcomp, *Subscribe, *Suback, *Unsubscribe, *Unsuback,
// *Pingreq, *Pingresp, *Disconnect or *Auth.
type Packet interface {
	kind() kind
	// check reports what the specification forbids in a packet of that
	// version; it guards both directions.
	check(v Version) *Error
	// decode takes the fields from behind the fixed header.
	decode(d *decoder)
	// append encodes the packet behind dst.
	append(dst []byte, v Version) ([]byte, error)
}

// Append encodes p behind dst in version v. The properties of MQTT 5 are left
// out for 3.x; anything else that v cannot express is an error, an *Error
// when the packet itself is at fault, and dst comes back as it was.
func Append(dst []byte, v Version, p Packet) ([]byte, error) {
	if v < V31 || v > V5 {
		return dst, &Error{UnsupportedProtocolVersion, "no such version: " + v.String()}
	}
	if err := p.check(v); err != nil {
		return dst, err.in(p.kind())
	}
	encoded, err := p.append(dst, v)
	if err != nil {
		return dst, err
	}
	return encoded, nil
}

// kind is the type of a packet as the fixed header has it, or willProperties.
type kind uint8

// The types of packets. [MQTT-2.1.2]
const (
	willProperties kind = iota // not a packet: the one property list inside another's payload
	connect
	connack
	publish
	puback
	pubrec
	pubrel
	pubcomp
	subscribe
	suback
	unsubscribe
	unsuback
	pingreq
	pingresp
	disconnect
	auth
)

var kindNames = [...]string{
	"packet type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

func (k kind) String() string { return kindNames[k] }

// flags returns what the lower half of the first byte must be, except for PUBLISH.
func (k kind) flags() byte {
	if k == pubrel || k == subscribe || k == unsubscribe {
		return 2
	}
	return 0
}

// kinds is a set of packet types.
type kinds uint16

func set(of ...kind) kinds {
	var s kinds
	for _, k := range of {
		s |= 1 << k
	}
	return s
}

func (s kinds) has(k kind) bool { return s>>k&1 != 0 }

// newPacket returns an empty packet of that type, nil for one that version v does not have.
func newPacket(k kind, v Version) Packet {
	switch k {
	case willProperties:
	case connect:
		return new(Connect)
	case connack:
		return new(Connack)
	case publish:
		return new(Publish)
	case puback:
		return new(Puback)
	case pubrec:
		return new(Pubrec)
	case pubrel:
		return new(Pubrel)
	case pubcomp:
		return new(Pubcomp)
	case subscribe:
		return new(Subscribe)
	case suback:
		return new(Suback)
	case unsubscribe:
		return new(Unsubscribe)
	case unsuback:
		return new(Unsuback)
	case pingreq:
		return new(Pingreq)
	case pingresp:
		return new(Pingresp)
	case disconnect:
		return new(Disconnect)
	case auth:
		if v == V5 {
			return new(Auth)
		}
	}
	return nil
}
