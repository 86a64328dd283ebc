package mapping

import "time"

// Envelope is what is left of a message without its wire format.
type Envelope struct {
	ID          string // the sender's message-id, or ""
	Topic       string // the canonical name
	Destination string // as a STOMP sender wrote it, when that differs from the rendering
	QoS         uint8
	Retain      bool
	Expires     time.Time // zero: never; milliseconds
	ContentType string    // "" with HasContentType: an empty one
	ReplyTo     string    // a topic
	Correlation []byte    // nil: none
	UTF8        bool      // the body is said to be UTF-8
	Properties  []Property
	Origin      Origin
	Time        time.Time // when the core stored it; zero: unknown. Not part of the header
	TraceParent string
	TraceState  string
	Body        []byte // opaque octets

	HasContentType bool
}

// Property is a header of the sender's that no field above stands for.
type Property struct{ Name, Value string }

// Origin is who sent a message, and how.
type Origin struct {
	Protocol   string // "stomp", "mqtt", "nats", or "" when not told
	Version    string
	Client     string // client id
	User       string
	Gateway    string
	Connection string // unique in the gateway
}
