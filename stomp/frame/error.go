package frame

import (
	"fmt"
	"strconv"
)

// FormatError says how the input is not a frame.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "malformed frame: " + e.Reason }

// LimitError says which part of a frame is larger than the reader's Limits.
type LimitError struct {
	What  string // "header line", "header lines", "header bytes" or "body"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("frame too large: %s over %d", e.What, e.Limit)
}

// CommandError is input that cannot begin a frame: commands are upper-case
// letters on a line of their own.
type CommandError struct {
	Input []byte // what was found, its first bytes
}

func (e *CommandError) Error() string {
	return "malformed frame: no command in " + strconv.QuoteToASCII(string(e.Input))
}
