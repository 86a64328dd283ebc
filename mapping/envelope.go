package mapping

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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

	HasContentType bool // implied by a ContentType that is not empty; always set by Decode when there is one
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

// HeaderName is the one header of a message on NATS that carries metadata.
const HeaderName = "Causeway"

// The header is a version, flags, and fields, each closed by a bar:
//
//	1qr|ctext/plain; charset=utf-8|pcolour^red|omqtt^5^sensor-7^^gw1^42|
//
// A field is a letter and its value; a caret parts the values of one field.
// Bars, carets, percent signs, control characters and what is not UTF-8 are
// written %XX, so a header is one line of text that nobody trims. A reader
// skips the flags and fields it does not know.
const (
	headerVersion = '1'
	fieldEnd      = '|'
	fieldPart     = '^'

	flagQoS1   = 'q'
	flagQoS2   = 'Q'
	flagRetain = 'r'
	flagUTF8   = 'u'

	fieldID          = 'i'
	fieldDestination = 'd'
	fieldExpires     = 'e' // milliseconds since 1970
	fieldContentType = 'c'
	fieldReplyTo     = 't'
	fieldCorrelation = 'k'
	fieldProperty    = 'p' // name, value
	fieldOrigin      = 'o' // as in Origin
	fieldTraceParent = 'T'
	fieldTraceState  = 'S'
)

const (
	// maxHeader is the longest header in bytes. NATS refuses 64 KiB, and
	// other headers need some of that.
	maxHeader = 48 << 10
	// inBody is the header of a message whose metadata stands in front of the
	// body; the offset of the body follows.
	inBody = "body="
)

// Encode returns e as it travels through NATS: the value of the header, "" when
// there is nothing to say, and the payload. The payload is e.Body itself unless
// the metadata is too long for a header and stands in front of it. Topic and
// Time are not encoded.
func (e *Envelope) Encode() (header string, data []byte) {
	var buf [512]byte
	meta := e.appendMeta(buf[:0])
	switch {
	case len(meta) == len("1|"):
		return "", e.Body
	case len(meta) <= maxHeader:
		return string(meta), e.Body
	}
	data = make([]byte, 0, len(meta)+len(e.Body))
	data = append(append(data, meta...), e.Body...)
	return inBody + strconv.Itoa(len(meta)), data
}

func (e *Envelope) appendMeta(dst []byte) []byte {
	dst = append(dst, headerVersion)
	switch e.QoS {
	case 0:
	case 1:
		dst = append(dst, flagQoS1)
	default:
		dst = append(dst, flagQoS2)
	}
	if e.Retain {
		dst = append(dst, flagRetain)
	}
	if e.UTF8 {
		dst = append(dst, flagUTF8)
	}
	dst = append(dst, fieldEnd)
	dst = appendField(dst, fieldID, e.ID)
	dst = appendField(dst, fieldDestination, e.Destination)
	if !e.Expires.IsZero() {
		dst = append(strconv.AppendInt(append(dst, fieldExpires), e.Expires.UnixMilli(), 10), fieldEnd)
	}
	if e.HasContentType || e.ContentType != "" {
		dst = append(appendSafe(append(dst, fieldContentType), e.ContentType), fieldEnd)
	}
	dst = appendField(dst, fieldReplyTo, e.ReplyTo)
	if e.Correlation != nil {
		dst = append(appendSafe(append(dst, fieldCorrelation), e.Correlation), fieldEnd)
	}
	for _, p := range e.Properties {
		dst = append(appendSafe(append(dst, fieldProperty), p.Name), fieldPart)
		dst = append(appendSafe(dst, p.Value), fieldEnd)
	}
	if o := &e.Origin; *o != (Origin{}) {
		dst = append(appendSafe(append(dst, fieldOrigin), o.Protocol), fieldPart)
		dst = append(appendSafe(dst, o.Version), fieldPart)
		dst = append(appendSafe(dst, o.Client), fieldPart)
		dst = append(appendSafe(dst, o.User), fieldPart)
		dst = append(appendSafe(dst, o.Gateway), fieldPart)
		dst = append(appendSafe(dst, o.Connection), fieldEnd)
	}
	dst = appendField(dst, fieldTraceParent, e.TraceParent)
	return appendField(dst, fieldTraceState, e.TraceState)
}

// appendField appends a field that is left out when empty.
func appendField(dst []byte, letter byte, value string) []byte {
	if value == "" {
		return dst
	}
	return append(appendSafe(append(dst, letter), value), fieldEnd)
}

// inHeader is what stands in a header as it is, of ASCII.
var inHeader = func() (plain [utf8.RuneSelf]bool) {
	for b := range plain {
		plain[b] = b >= ' ' && b != 0x7f && b != fieldEnd && b != fieldPart && b != '%'
	}
	return plain
}()

func appendSafe[S string | []byte](dst []byte, s S) []byte {
	plain := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if inHeader[b] {
				i++
				continue
			}
		} else if size := runeLen(s[i:min(i+utf8.UTFMax, len(s))]); size > 0 {
			i += size
			continue
		}
		dst = append(append(dst, s[plain:i]...), '%', upperHex[b>>4], upperHex[b&15])
		i++
		plain = i
	}
	return append(dst, s[plain:]...)
}

// runeLen returns the length of the rune that s begins with, 0 if it is none.
func runeLen[S string | []byte](s S) int {
	r, size := utf8.DecodeRuneInString(string(s))
	if r == utf8.RuneError && size == 1 {
		return 0
	}
	return size
}

var errMeta = errors.New("metadata of a message is damaged")

// Decode sets all of e but Topic and Time to what Encode returned. Body aliases
// data, the strings alias header. Nothing that a stranger may have written makes
// it panic or allocate more than a small multiple of what it was given.
func (e *Envelope) Decode(header string, data []byte) error {
	*e = Envelope{Topic: e.Topic, Time: e.Time, Body: data}
	if header == "" {
		return nil
	}
	if offset, ok := strings.CutPrefix(header, inBody); ok {
		n, err := strconv.ParseUint(offset, 10, 31)
		if err != nil || n > uint64(len(data)) {
			return fmt.Errorf("%w: its body begins at %s of %d bytes", errMeta, quote(offset), len(data))
		}
		header, e.Body = string(data[:n]), data[n:]
	}
	return e.decodeMeta(header)
}

func (e *Envelope) decodeMeta(meta string) error {
	flags, meta, ok := strings.Cut(meta, string(fieldEnd))
	if !ok || flags == "" || flags[0] != headerVersion {
		return fmt.Errorf("%w: %s is not of version 1", errMeta, quote(flags))
	}
	for _, flag := range flags[1:] {
		switch flag {
		case flagQoS1:
			e.QoS = 1
		case flagQoS2:
			e.QoS = 2
		case flagRetain:
			e.Retain = true
		case flagUTF8:
			e.UTF8 = true
		}
	}
	for meta != "" {
		var field string
		if field, meta, ok = strings.Cut(meta, string(fieldEnd)); !ok || field == "" {
			return fmt.Errorf("%w: field %s", errMeta, quote(field))
		}
		if err := e.decodeField(field[0], field[1:], meta); err != nil {
			return err
		}
	}
	return nil
}

func (e *Envelope) decodeField(letter byte, value, following string) (err error) {
	switch letter {
	case fieldID:
		e.ID, err = unescape(value)
	case fieldDestination:
		e.Destination, err = unescape(value)
	case fieldExpires:
		var ms int64
		if ms, err = strconv.ParseInt(value, 10, 64); err == nil {
			e.Expires = time.UnixMilli(ms)
		}
	case fieldContentType:
		e.HasContentType = true
		e.ContentType, err = unescape(value)
	case fieldReplyTo:
		e.ReplyTo, err = unescape(value)
	case fieldCorrelation:
		value, err = unescape(value)
		e.Correlation = []byte(value)
	case fieldProperty:
		if e.Properties == nil {
			const most = 64 // a guess, which a stranger may have inflated
			guess := 1 + strings.Count(following, "|p")
			if strings.HasPrefix(following, "p") {
				guess++
			}
			e.Properties = make([]Property, 0, min(guess, most))
		}
		var p Property
		err = unescapeParts(value, &p.Name, &p.Value)
		e.Properties = append(e.Properties, p)
	case fieldOrigin:
		o := &e.Origin
		err = unescapeParts(value, &o.Protocol, &o.Version, &o.Client, &o.User, &o.Gateway, &o.Connection)
	case fieldTraceParent:
		e.TraceParent, err = unescape(value)
	case fieldTraceState:
		e.TraceState, err = unescape(value)
	}
	if err != nil {
		return fmt.Errorf("%w: field %q", errMeta, letter)
	}
	return nil
}

func unescapeParts(value string, parts ...*string) (err error) {
	for i, part := range parts {
		raw, following, more := strings.Cut(value, string(fieldPart))
		if more != (i < len(parts)-1) {
			return errMeta
		}
		if *part, err = unescape(raw); err != nil {
			return err
		}
		value = following
	}
	return nil
}

func unescape(value string) (string, error) {
	i := strings.IndexByte(value, '%')
	if i < 0 {
		return value, nil
	}
	s := make([]byte, i, len(value))
	copy(s, value)
	for ; i < len(value); i++ {
		b := value[i]
		if b == '%' {
			c, ok := unhex(value[i+1:])
			if !ok {
				return "", errMeta
			}
			b, i = c, i+2
		}
		s = append(s, b)
	}
	return string(s), nil
}
