package stomp

import "errors"

// Error is a refusal that the client may read. It becomes an ERROR frame and
// ends the connection. // STOMP 1.2, ERROR
type Error struct {
	Message string // the message header: short, one line
	Detail  string // the body: what to do about it; "" for none
	Err     error  // for the log, never for the client
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// What Settle is told about a delivery that was not acknowledged.
var (
	ErrRequeue  = errors.New("stomp: not acknowledged, to be delivered again")
	ErrReject   = errors.New("stomp: rejected, not to be delivered again")
	ErrReturned = errors.New("stomp: returned unread")
)
