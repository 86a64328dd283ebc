// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5.0.
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

// Packet is one control packet: *Connect, *Connack, *Publish, *Puback,
// *Pubrec, *Pubrel, *Pubcomp, *Subscribe, *Suback, *Unsubscribe, *Unsuback,
// *Pingreq, *Pingresp, *Disconnect or *Auth.
type Packet interface {
	// append encodes the packet behind dst.
	append(dst []byte, v Version) ([]byte, error)
}
