package mqtt

import "github.com/causeway-mq/causeway/mqtt/packet"

// Error is a refusal or an end with a reason for the client.
type Error struct {
	Reason packet.ReasonCode
	Text   string // the MQTT 5 reason string; "" for none
	Err    error  // for the log, never for the client
}

func (e *Error) Error() string {
	s := e.Reason.String()
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
