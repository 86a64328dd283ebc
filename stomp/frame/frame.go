// Package frame is the wire format of STOMP 1.0, 1.1 and 1.2: frames, their
// ordered headers, and the reader and writer that bound both.
package frame

import "strconv"

// Version is a protocol version that was negotiated by CONNECT.
// The zero value is a connection that has not been negotiated yet.
type Version uint8

// The versions of the protocol, in ascending order.
const (
	V10 Version = iota + 1
	V11
	V12
)

// String returns the version as headers spell it.
func (v Version) String() string {
	switch v {
	case V10:
		return "1.0"
	case V11:
		return "1.1"
	case V12:
		return "1.2"
	}
	return "Version(" + strconv.Itoa(int(v)) + ")"
}

// Commands.
const (
	Connect     = "CONNECT"
	Stomp       = "STOMP"
	Connected   = "CONNECTED"
	Send        = "SEND"
	Subscribe   = "SUBSCRIBE"
	Unsubscribe = "UNSUBSCRIBE"
	Ack         = "ACK"
	Nack        = "NACK"
	Begin       = "BEGIN"
	Commit      = "COMMIT"
	Abort       = "ABORT"
	Disconnect  = "DISCONNECT"
	Message     = "MESSAGE"
	Receipt     = "RECEIPT"
	Error       = "ERROR"
)

// Frame is one command with its headers and body. A frame that a Reader
// returned owns its bytes.
type Frame struct {
	Command string
	Header  Header
	Body    []byte
}

// Field is one header line.
type Field struct{ Name, Value string }

// Header is the header lines of a frame in the order of the wire.
// Names may repeat; the first one counts. // STOMP 1.2, Repeated Header Entries
type Header []Field

// Get returns the value of the first line of that name, and whether there is one.
func (h Header) Get(name string) (string, bool) {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value, true
		}
	}
	return "", false
}

// Value returns the value of the first line of that name, or "".
func (h Header) Value(name string) string {
	v, _ := h.Get(name)
	return v
}

// Add appends a line.
func (h *Header) Add(name, value string) { *h = append(*h, Field{name, value}) }
