// Package mapping is the names of messages and what is left of them between
// protocols: it converts between STOMP destinations, MQTT topics and NATS
// subjects, and between an Envelope and its header on NATS. All of it is pure.
package mapping

// Kind is what a topic means: who gets a message sent to it.
type Kind uint8

// The kinds.
const (
	Topic Kind = iota // every subscription gets a copy
	Queue             // stored until one consumer acknowledges it
	Temp              // private to the connection that owns it, never stored
)

// String returns the word used in configuration and by "map explain".
func (k Kind) String() string { return [...]string{"topic", "queue", "temp"}[k] }

// Rule maps destinations to topics, as in the configuration. Placeholders:
// {name} is one level, {name...} the rest.
type Rule struct {
	STOMP string `koanf:"stomp"`
	MQTT  string `koanf:"mqtt"`
	Kind  string `koanf:"kind"` // "topic" (default) or "queue"
}
