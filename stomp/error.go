package stomp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// Error is a refusal that the client may read. It becomes an ERROR frame and
// ends the connection. // STOMP 1.2, ERROR
type Error struct {
	Message string // the message header: short, one line
	Detail  string // the body: what to do about it; "" for none
	Err     error  // for the log, never for the client

	header frame.Header // more of the ERROR frame
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

// ErrShutdown is the cause of the end of connections when the server stops.
var ErrShutdown = &Error{Message: "the server is shutting down", Detail: "Connect again; unacknowledged messages will be redelivered."}

// Why a connection ended that no frame of the client is to blame for.
var (
	errDisconnected = errors.New("the client disconnected")
	errInterrupted  = errors.New("interrupted") // the cause is the context's
)

// answerable reports whether err is told to the client: not what the network
// said, and not that the client left.
func answerable(err error) bool {
	_, lost := errors.AsType[*lostError](err)
	return !lost && !errors.Is(err, errDisconnected)
}

// lostError is a connection that can neither be read nor answered.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// panicError is a bug in a handler.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

const internalError = "internal error"

// refusal returns what the client is told about err.
func refusal(err error) *Error {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused
	}
	if command, ok := errors.AsType[*frame.CommandError](err); ok {
		return &Error{Message: notSTOMP(command.Input), Detail: "A frame begins with an upper-case command on a line of its own.", Err: err}
	}
	if isFrameError(err) {
		return &Error{Message: err.Error()}
	}
	return &Error{Message: internalError, Err: err}
}

// isFrameError reports whether err is the frame reader's judgement of input.
func isFrameError(err error) bool {
	_, command := errors.AsType[*frame.CommandError](err)
	_, format := errors.AsType[*frame.FormatError](err)
	_, limit := errors.AsType[*frame.LimitError](err)
	return command || format || limit
}

// notSTOMP names the protocol that input begins, which another protocol's
// client sent to this port.
func notSTOMP(input []byte) string {
	const speaks = "this port speaks STOMP, not "
	first := input[0]
	method, _, isRequest := strings.Cut(string(input), " ")
	switch {
	case first == 0x10:
		return speaks + "MQTT"
	case first == 0x16:
		return speaks + "TLS"
	case strings.HasPrefix(string(input), "AMQP"):
		return speaks + "AMQP"
	case isRequest && strings.Contains(" GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT PRI ", " "+method+" "):
		return speaks + "HTTP"
	}
	return "malformed frame: no command"
}

// errorFrame is the ERROR that tells the client of err; receipt is that of the
// offending frame, or "". // STOMP 1.2, ERROR
func errorFrame(err error, receipt string) *frame.Frame {
	refused := refusal(err)
	f := &frame.Frame{Command: frame.Error, Header: frame.Header{{Name: "message", Value: refused.Message}}}
	if receipt != "" {
		f.Header.Add("receipt-id", receipt)
	}
	f.Header = append(f.Header, refused.header...)
	if refused.Detail != "" {
		f.Header.Add("content-type", "text/plain")
		f.Body = []byte(refused.Detail)
	}
	return f
}
