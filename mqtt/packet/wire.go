package packet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	maxVarint = 1<<28 - 1 // the largest variable byte integer // MQTT 5, 1.5.5
	maxString = math.MaxUint16
)

// decoder takes the fields of one packet from the front of b. The first error
// sticks; after it every field is empty, so that a packet reads as a list of
// its fields with one check at the end.
type decoder struct {
	v      Version
	kind   kind
	flags  byte // the lower half of the first byte
	b      []byte
	owned  bool // b belongs to the packet: its payload may be a part of it
	err    *Error
	topics *topicCache
}

// fail keeps the error if it is the first.
func (d *decoder) fail(reason ReasonCode, text string) {
	if d.err == nil {
		d.err = &Error{reason, text}
	}
	d.b = nil
}

// take returns the next n bytes, which are not the packet's to keep.
func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail(MalformedPacket, "a field reaches beyond its end")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint takes a variable byte integer in its only valid, shortest form. // [MQTT-1.5.5-1]
func (d *decoder) varint() uint32 {
	var n uint32
	for shift := 0; shift < 28; shift += 7 {
		b := d.byte()
		n |= uint32(b&0x7F) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 {
				d.fail(MalformedPacket, "a variable byte integer is longer than it need be [MQTT-1.5.5-1]")
			}
			return n
		}
	}
	d.fail(MalformedPacket, "a variable byte integer is over four bytes [MQTT-1.5.5-1]")
	return 0
}

// utf8 takes a string without copying it.
func (d *decoder) utf8() []byte {
	b := d.take(int(d.uint16()))
	if !utf8.Valid(b) {
		d.fail(MalformedPacket, "a string is not UTF-8 [MQTT-1.5.4-1]")
		return nil
	}
	if bytes.IndexByte(b, 0) >= 0 {
		d.fail(MalformedPacket, "a string has a null character [MQTT-1.5.4-2]")
		return nil
	}
	return b
}

func (d *decoder) string() string { return string(d.utf8()) }

// topic is a string that the connection has probably used before.
func (d *decoder) topic() string { return d.topics.string(d.utf8()) }

// binary takes Binary Data; it is never nil. // MQTT 5, 1.5.6
func (d *decoder) binary() []byte {
	b := d.take(int(d.uint16()))
	return append(make([]byte, 0, len(b)), b...)
}

// rest takes everything that is left; nil when that is nothing.
func (d *decoder) rest() []byte {
	b := d.b
	d.b = nil
	switch {
	case len(b) == 0:
		return nil
	case d.owned:
		return b
	}
	return bytes.Clone(b)
}

func (d *decoder) seconds16() time.Duration { return time.Duration(d.uint16()) * time.Second }
func (d *decoder) seconds32() time.Duration { return time.Duration(d.uint32()) * time.Second }

// expiry takes a session expiry interval. // MQTT 5, 3.1.2.11.2
func (d *decoder) expiry() time.Duration {
	n := d.uint32()
	if n == math.MaxUint32 {
		return Forever
	}
	return time.Duration(n) * time.Second
}

// bool takes a byte that may be 0 or 1.
func (d *decoder) bool() bool {
	b := d.byte()
	if b > 1 {
		d.fail(ProtocolError, "a property that is 0 or 1 has another value")
	}
	return b == 1
}

// end fails when something is left.
func (d *decoder) end() {
	if len(d.b) != 0 {
		d.fail(MalformedPacket, "there is more than the packet has fields")
	}
}

// topicCache keeps short topics of a connection, so that one seen again costs
// no allocation. A slot holds what was hashed to it last.
type topicCache [8]string

const maxCachedTopic = 128 // bytes; a cache holds at most 1 KiB

var topicSeed = maphash.MakeSeed()

func (c *topicCache) string(b []byte) string {
	if len(b) > maxCachedTopic {
		return string(b)
	}
	slot := &c[maphash.Bytes(topicSeed, b)%uint64(len(c))]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}

// encoder appends the fields of one packet to b. The first error sticks.
type encoder struct {
	b     []byte
	start int // where the packet begins
	v     Version
	err   *Error
}

func newEncoder(dst []byte, v Version) encoder { return encoder{b: dst, start: len(dst), v: v} }

func (e *encoder) fail(reason ReasonCode, text string) {
	if e.err == nil {
		e.err = &Error{reason, text}
	}
}

func (e *encoder) byte(b byte)     { e.b = append(e.b, b) }
func (e *encoder) uint16(n uint16) { e.b = binary.BigEndian.AppendUint16(e.b, n) }
func (e *encoder) uint32(n uint32) { e.b = binary.BigEndian.AppendUint32(e.b, n) }

func (e *encoder) string(s string) {
	if err := checkString(s); err != nil {
		e.err = cmp.Or(e.err, err)
		return
	}
	e.uint16(uint16(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) binary(b []byte) {
	if len(b) > maxString {
		e.fail(MalformedPacket, "binary data is over 65,535 bytes")
		return
	}
	e.uint16(uint16(len(b)))
	e.b = append(e.b, b...)
}

func (e *encoder) seconds16(d time.Duration) { e.uint16(uint16(e.seconds(d, math.MaxUint16))) }
func (e *encoder) seconds32(d time.Duration) { e.uint32(uint32(e.seconds(d, math.MaxUint32))) }

// seconds rounds up: what is left of an interval should not be nothing.
func (e *encoder) seconds(d time.Duration, limit int64) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	if d < 0 || n > limit {
		e.fail(MalformedPacket, "an interval cannot be written: "+d.String())
		return 0
	}
	return n
}

// expiry appends a session expiry interval; one too long to be written never ends.
func (e *encoder) expiry(d time.Duration) { e.seconds32(min(d, math.MaxUint32*time.Second)) }

func (e *encoder) bool(b bool) {
	if b {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

// outcome appends a reason code and properties in the shortest form; nothing in 3.x.
func (e *encoder) outcome(r ReasonCode, properties func()) {
	if e.v != V5 {
		return
	}
	start := len(e.b)
	e.byte(byte(r))
	e.properties(properties)
	switch {
	case len(e.b) > start+2:
	case r == Success:
		e.b = e.b[:start]
	default:
		e.b = e.b[:start+1]
	}
}

// packet puts the fixed header in front of what was appended; size bytes of
// payload will follow it.
func (e *encoder) packet(first byte, size int) ([]byte, error) {
	k := kind(first >> 4)
	size += len(e.b) - e.start
	if size > maxVarint {
		e.fail(PacketTooLarge, "the remaining length is over 268,435,455 bytes")
	}
	if e.err != nil {
		return nil, e.err.in(k)
	}
	header := append(make([]byte, 0, 5), first)
	header = appendVarint(header, uint32(size))
	return slices.Insert(e.b, e.start, header...), nil
}

func appendVarint(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}
