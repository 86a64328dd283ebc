package frame

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

const (
	maxCommand  = 32       // bytes
	idleSize    = 512      // what a reader holds while nothing comes
	bufferSize  = 32 << 10 // what it borrows while much comes
	firstBody   = 64 << 10 // allocated at once for a body that was only announced
	smallHeader = 8        // lines that are allocated with their frame

	contentLength = "content-length"
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Limits bounds the frames a Reader takes. Sizes are bytes.
type Limits struct {
	HeaderLine  int // one header line
	HeaderLines int // number of header lines, repeated ones too
	HeaderBytes int // all header lines of a frame
	Body        int
}

// Reader reads frames from a stream. It takes LF and CRLF, and skips NUL and
// line ends between frames: heart-beats are seen by the io.Reader only.
//
// A reader that waits for the next frame holds 512 bytes of buffer.
type Reader struct {
	src     io.Reader
	limits  Limits
	version Version

	buf        []byte // idle, *borrowed, or larger for a large header
	start, end int    // buf[start:end] was read and not consumed
	err        error  // what src said with its last bytes
	borrowed   *[bufferSize]byte
	idle       [idleSize]byte
}

// NewReader returns a reader that reads as for STOMP 1.0, without escapes and
// without trimming, until SetVersion is called.
func NewReader(src io.Reader, limits Limits) *Reader {
	r := &Reader{src: src, limits: limits}
	r.buf = r.idle[:]
	return r
}

// SetVersion sets how the headers of the next frames are written.
func (r *Reader) SetVersion(v Version) { r.version = v }

// SetLimits bounds the next frames.
func (r *Reader) SetLimits(limits Limits) { r.limits = limits }

// Close gives borrowed memory back. The reader is of no use afterwards.
func (r *Reader) Close() {
	r.start, r.end = 0, 0
	r.release()
}

// Read returns the next frame. Bodies are kept for SEND, MESSAGE and ERROR,
// where alone content-length counts; others are dropped.
//
// The error is io.EOF between frames, a *CommandError, *FormatError or
// *LimitError, or what the stream said. A frame comes with an error when its
// header could be read, so that an answer can name its receipt. Nothing can be
// read after an error.
func (r *Reader) Read() (*Frame, error) {
	if err := r.skipNoise(); err != nil {
		return nil, err
	}
	command, err := r.readCommand()
	if err != nil {
		return nil, err
	}
	f, err := r.readHeader(command)
	if err != nil {
		return f, err
	}
	switch command {
	case Send, Message, Error:
		length, sized := f.Header.Get(contentLength)
		if !sized {
			f.Body, err = r.readToNUL(true)
			break
		}
		var n int
		if n, err = r.bodyLength(length); err == nil {
			f.Body, err = r.readBody(n)
		}
	default: // STOMP 1.2, Body: others MUST NOT have one
		_, err = r.readToNUL(false)
	}
	return f, err
}

func (r *Reader) skipNoise() error {
	for {
		for r.start < r.end {
			switch r.buf[r.start] {
			case '\n', '\r', 0:
				r.start++
			default:
				return nil
			}
		}
		if err := r.fill(1); err != nil {
			return err
		}
	}
}

// readCommand consumes the command's line. Bytes are judged as they come:
// another protocol's client may send less than a line and wait.
func (r *Reader) readCommand() (string, error) {
	for i := 0; ; i++ {
		for r.start+i == r.end {
			if err := r.more(1); err != nil {
				return "", err
			}
		}
		line, c := r.buf[r.start:r.start+i], r.buf[r.start+i]
		cr := bytes.HasSuffix(line, []byte{'\r'})
		if !cr && i < maxCommand && ('A' <= c && c <= 'Z' || c == '\r') {
			continue
		}
		if c != '\n' {
			return "", &CommandError{bytes.Clone(r.buf[r.start:min(r.end, r.start+maxCommand)])}
		}
		if cr {
			line = line[:i-1]
		}
		r.start += i + 1
		return intern(line), nil
	}
}

func intern(command []byte) string {
	switch string(command) {
	case Send:
		return Send
	case Message:
		return Message
	case Ack:
		return Ack
	case Nack:
		return Nack
	case Receipt:
		return Receipt
	case Begin:
		return Begin
	case Commit:
		return Commit
	}
	return string(command)
}

// readHeader consumes the header and its blank line. The values of all lines
// share one string.
func (r *Reader) readHeader(command string) (*Frame, error) {
	var lines, line, scanned int // counted from r.start
	for {
		i := bytes.IndexByte(r.buf[r.start+scanned:r.end], '\n')
		end := scanned + i
		if i < 0 {
			end = r.end - r.start
		}
		switch {
		case end-line > r.limits.HeaderLine:
			return nil, &LimitError{"header line", r.limits.HeaderLine}
		case end > r.limits.HeaderBytes:
			return nil, &LimitError{"header bytes", r.limits.HeaderBytes}
		}
		scanned = end
		if i < 0 {
			if err := r.more(1); err != nil {
				return nil, err
			}
			continue
		}
		if end == line || end == line+1 && r.buf[r.start+line] == '\r' {
			break
		}
		if lines++; lines > r.limits.HeaderLines {
			return nil, &LimitError{"header lines", r.limits.HeaderLines}
		}
		scanned++
		line = scanned
	}
	text := string(r.buf[r.start : r.start+line])
	r.start += scanned + 1
	return r.parseHeader(command, text, lines)
}

func (r *Reader) parseHeader(command, text string, lines int) (*Frame, error) {
	f := newFrame(command, lines)
	escapes := escaped(r.version, command) && strings.IndexByte(text, '\\') >= 0
	var broken error
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			broken = cmp.Or[error](broken, &FormatError{"a header line without a name and a colon"})
			continue
		}
		if r.version == V10 {
			value = strings.TrimLeft(value, " \t") // the examples of STOMP 1.0 pad values
		}
		if escapes {
			var nameErr, valueErr error
			name, nameErr = unescape(r.version, name)
			value, valueErr = unescape(r.version, value)
			broken = cmp.Or(broken, nameErr, valueErr)
		}
		f.Header = append(f.Header, Field{name, value})
	}
	return f, broken
}

// newFrame allocates a frame together with the lines most frames have.
func newFrame(command string, lines int) *Frame {
	if lines > smallHeader {
		return &Frame{Command: command, Header: make(Header, 0, lines)}
	}
	f := new(struct {
		Frame
		fields [smallHeader]Field
	})
	f.Command, f.Header = command, f.fields[:0]
	return &f.Frame
}

// bodyLength parses content-length: digits and nothing else.
func (r *Reader) bodyLength(s string) (int, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, &FormatError{"content-length is not a number"}
		}
	}
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, &FormatError{"content-length is not a number"}
	case err != nil || n > r.limits.Body:
		return 0, &LimitError{"body", r.limits.Body}
	}
	return n, nil
}

// readBody consumes n bytes and the NUL behind them. What is large is
// allocated as it arrives and read without a copy.
func (r *Reader) readBody(n int) ([]byte, error) {
	var body []byte
	if n > 0 {
		body = make([]byte, 0, min(n, firstBody))
	}
	for len(body) < n {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(n, 2*cap(body))), body...)
		}
		if k := min(r.end-r.start, cap(body)-len(body)); k > 0 {
			body = append(body, r.buf[r.start:r.start+k]...)
			r.start += k
			continue
		}
		if n-len(body) < bufferSize {
			if err := r.more(n - len(body) + 1); err != nil {
				return nil, err
			}
			continue
		}
		r.release()
		k, err := r.readSource(body[len(body):cap(body)])
		if err != nil {
			return nil, unexpected(err)
		}
		body = body[:len(body)+k]
	}
	if r.start == r.end {
		if err := r.more(1); err != nil {
			return nil, err
		}
	}
	if r.buf[r.start] != 0 {
		return nil, &FormatError{"no NUL where content-length ends the body"}
	}
	r.start++
	return body, nil
}

// readToNUL consumes a body of unknown length.
func (r *Reader) readToNUL(keep bool) ([]byte, error) {
	var body []byte
	for n := 0; ; {
		i := bytes.IndexByte(r.buf[r.start:r.end], 0)
		end := r.end
		if i >= 0 {
			end = r.start + i
		}
		if n += end - r.start; n > r.limits.Body {
			return nil, &LimitError{"body", r.limits.Body}
		}
		if keep {
			body = append(body, r.buf[r.start:end]...)
		}
		r.start = end
		if i >= 0 {
			r.start++
			return body, nil
		}
		if err := r.more(idleSize); err != nil {
			return nil, err
		}
	}
}

// more fills the buffer in the middle of a frame.
func (r *Reader) more(want int) error { return unexpected(r.fill(want)) }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill reads at least one byte behind what is not consumed yet, which may
// move. want is how many bytes are known to be missing.
func (r *Reader) fill(want int) error {
	switch {
	case r.start == r.end:
		if r.start, r.end = 0, 0; want <= idleSize {
			r.release()
		} else if r.borrowed == nil {
			r.borrow()
		}
	case r.end < len(r.buf):
	case r.borrowed == nil && len(r.buf) <= idleSize:
		r.borrow()
	case r.start > 0:
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	default:
		larger := make([]byte, 2*len(r.buf)) // a header; Limits stop the caller
		r.end = copy(larger, r.buf)
		r.giveBack()
		r.buf = larger
	}
	n, err := r.readSource(r.buf[r.end:])
	r.end += n
	return err
}

// borrow moves what is not consumed into a pooled buffer.
func (r *Reader) borrow() {
	r.borrowed = buffers.Get().(*[bufferSize]byte)
	r.end = copy(r.borrowed[:], r.buf[r.start:r.end])
	r.start = 0
	r.buf = r.borrowed[:]
}

// release returns a drained reader to its idle buffer.
func (r *Reader) release() {
	r.start, r.end = 0, 0
	r.buf = r.idle[:]
	r.giveBack()
}

func (r *Reader) giveBack() {
	if r.borrowed != nil {
		buffers.Put(r.borrowed)
		r.borrowed = nil
	}
}

// readSource reads at least one byte, or fails.
func (r *Reader) readSource(p []byte) (int, error) {
	for range 100 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		if n, r.err = r.src.Read(p); n > 0 {
			return n, nil
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.ErrNoProgress
}
