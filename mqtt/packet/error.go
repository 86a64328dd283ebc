package packet

// Error is a packet that breaks the protocol: MalformedPacket, ProtocolError,
// PacketTooLarge, UnsupportedProtocolVersion or another reason to close with.
type Error struct {
	Reason ReasonCode
	Text   string // what is wrong and the statement that says so
}

func (e *Error) Error() string { return e.Text }

// in says which packet is at fault.
func (e *Error) in(k kind) *Error {
	return &Error{e.Reason, k.String() + ": " + e.Text}
}
