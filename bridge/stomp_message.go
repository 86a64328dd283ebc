package bridge

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// envelope is a SEND without its wire format.
func (s *stompSession) envelope(f *frame.Frame) (*mapping.Envelope, error) {
	destination := f.Header.Value("destination")
	topic, err := s.topic(destination)
	if err != nil {
		return nil, err
	}
	e := &mapping.Envelope{Topic: topic, QoS: s.b.cfg.DefaultQoS, Body: f.Body}
	if !strings.HasPrefix(topic, tempRoot) && s.b.table.Destination(topic) != destination && survives(destination) {
		e.Destination = destination
	}
	for i, h := range f.Header {
		switch useOf(h.Name) {
		case toReceivers:
			e.Properties = append(e.Properties, mapping.Property{Name: fromSTOMP(h.Name), Value: fromSTOMP(h.Value)})
		case toBridge:
			if _, repeated := f.Header[:i].Get(h.Name); repeated {
				continue // STOMP 1.2, Repeated Header Entries
			}
			if err := s.heed(e, f.Header, h); err != nil {
				return nil, err
			}
		case toServer:
		}
	}
	return e, nil
}

// survives reports whether a destination comes through all versions and
// clients unchanged: 1.0 has no escapes, and many trim.
func survives(destination string) bool {
	last, _ := utf8.DecodeLastRuneInString(destination)
	return !unicode.IsSpace(last) && strings.IndexFunc(destination, unicode.IsControl) < 0
}

// use is who a header of SEND is for.
type use uint8

const (
	toReceivers use = iota
	toBridge        // it has a meaning, and a form of its own in an envelope
	toServer        // it ends here, and so does what would forge a header of the server's
)

func useOf(name string) use {
	switch name {
	case "destination", "receipt", "transaction", "content-length", "id", "ack", "subscription",
		"redelivered", "delivery-count", "retained", "receipt-id", "origin-protocol", "origin-client":
		return toServer
	case "message-id", "original-message-id", "content-type", "amq-msg-type", "reply-to",
		"correlation-id", "correlation-id-base64", "expires", "expiration", "qos", "persistent", "retain":
		return toBridge
	}
	return toReceivers
}

// heed notes in e what a header of SEND means; all are the headers of the frame.
func (s *stompSession) heed(e *mapping.Envelope, all frame.Header, h frame.Field) (err error) {
	switch h.Name {
	case "message-id":
		e.ID = h.Value
	case "original-message-id":
		if all.Value("message-id") == "" {
			e.ID = h.Value
		}
	case "content-type":
		e.ContentType, e.HasContentType = fromSTOMP(h.Value), true
		e.UTF8 = e.UTF8 || strings.HasPrefix(h.Value, "text/")
	case "amq-msg-type":
		e.UTF8 = e.UTF8 || h.Value == "text"
		e.Properties = append(e.Properties, mapping.Property(h))
	case "reply-to":
		reply, err := s.topic(h.Value)
		if err != nil { // the name of something elsewhere
			e.Properties = append(e.Properties, mapping.Property(h))
			return nil
		}
		e.ReplyTo = reply
	case "correlation-id":
		if all.Value("correlation-id-base64") == "" {
			e.Correlation = []byte(h.Value)
		}
	case "correlation-id-base64":
		if h.Value != "" {
			e.Correlation, err = base64.StdEncoding.DecodeString(h.Value)
		}
	case "expires", "expiration":
		var expires time.Time
		if expires, err = expiry(h); !expires.IsZero() && (e.Expires.IsZero() || expires.Before(e.Expires)) {
			e.Expires = expires
		}
	case "qos":
		if h.Value != "" {
			err = readQoS(&e.QoS, h.Value)
		}
	case "persistent":
		if all.Value("qos") == "" {
			e.QoS = persistence(h.Value, e.QoS)
		}
	case "retain":
		e.Retain = h.Value == "true"
	}
	if err != nil {
		return &stomp.Error{Message: "invalid " + h.Name, Detail: err.Error()}
	}
	return nil
}

func readQoS(qos *uint8, value string) error {
	n, err := strconv.ParseUint(value, 10, 2)
	if err != nil || n > 2 {
		return fmt.Errorf("the header qos is 0, 1 or 2, not %.20q", value)
	}
	*qos = uint8(n)
	return nil
}

func persistence(value string, otherwise uint8) uint8 {
	switch value {
	case "true":
		return max(otherwise, 1)
	case "false":
		return 0
	}
	return otherwise
}

// expiry reads expires (when, ms since 1970; 0 or "": never) or expiration
// (how long, ms; "": for ever).
func expiry(h frame.Field) (time.Time, error) {
	if h.Value == "" {
		return time.Time{}, nil
	}
	const longest = 1 << 42 // 139 years
	ms, err := strconv.ParseUint(h.Value, 10, 63)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("the header %s is a number of milliseconds, not %.40q", h.Name, h.Value)
	case h.Name == "expiration":
		return time.Now().Add(time.Duration(min(ms, longest)) * time.Millisecond), nil //nolint:gosec // bounded
	case ms == 0: // JMS
		return time.Time{}, nil
	}
	return time.UnixMilli(int64(min(ms, 2*longest))), nil //nolint:gosec // bounded
}

// forSTOMP is the message as STOMP clients see it, made once.
func (m *message) forSTOMP(b *Bridge) *stomp.Message {
	if out := m.stomp.Load(); out != nil {
		return out
	}
	out := &stomp.Message{Destination: b.destination(m), Body: m.Body}
	h := &out.Header
	*h = make(frame.Header, 0, 4+len(m.Properties))
	if m.HasContentType || m.ContentType != "" {
		h.Add("content-type", toSTOMP(m.ContentType))
	} else if m.UTF8 && !m.has("amq-msg-type") {
		h.Add("content-type", "text/plain;charset=utf-8")
	}
	if m.ReplyTo != "" {
		h.Add("reply-to", b.table.Destination(m.ReplyTo))
	}
	switch {
	case m.Correlation == nil:
	case utf8.Valid(m.Correlation) && bytes.IndexByte(m.Correlation, 0) < 0:
		h.Add("correlation-id", string(m.Correlation))
	default:
		h.Add("correlation-id-base64", base64.StdEncoding.EncodeToString(m.Correlation))
	}
	if !m.Expires.IsZero() {
		h.Add("expires", strconv.FormatInt(m.Expires.UnixMilli(), 10))
	}
	h.Add("qos", strconv.Itoa(int(m.QoS)))
	if m.QoS > 0 {
		h.Add("persistent", "true")
	}
	if m.ID != "" {
		h.Add("original-message-id", toSTOMP(m.ID))
	}
	if !m.Time.IsZero() && !m.has("timestamp") {
		h.Add("timestamp", strconv.FormatInt(m.Time.UnixMilli(), 10))
	}
	for _, p := range m.Properties {
		h.Add(propertyName(p.Name), toSTOMP(p.Value))
	}
	m.stomp.Store(out)
	return out
}

func (m *message) has(property string) bool {
	return slices.ContainsFunc(m.Properties, func(p mapping.Property) bool { return p.Name == property })
}

// propertyName is the header that carries a property. A name that would pass
// for a header of the server's, or that a client would obey when it is sent
// back, is prefixed, so that nobody can forge one. Clients trim names, and
// STOMP 1.0 has a blank for what it cannot write.
func propertyName(name string) string {
	name = toSTOMP(name)
	switch strings.Trim(name, ": \t\r\n") {
	case "", "destination", "message-id", "subscription", "ack", "redelivered", "delivery-count", "retained",
		"content-length", "receipt", "receipt-id", "transaction", "id", "requeue", "qos", "persistent", "expires",
		"content-type", "correlation-id", "correlation-id-base64", "origin-protocol", "origin-client":
		return "user-" + name
	}
	return name
}

// fromSTOMP is a header as it stands in an envelope, where only what was
// escaped for MQTT looks like that.
func fromSTOMP(s string) string {
	if _, marked := mapping.FromMQTTString(s); marked {
		s, _ = mapping.MQTTString(s)
	}
	return s
}

// toSTOMP is a text of an envelope as a header: what was escaped on its way
// through MQTT is restored. NUL is escaped, because it ends frames.
func toSTOMP(s string) string {
	s, _ = mapping.FromMQTTString(s)
	if strings.IndexByte(s, 0) >= 0 {
		s, _ = mapping.MQTTString(s)
	}
	return s
}

// destination is the name of a message for its STOMP receivers: as the sender
// wrote it where that means the same topic here.
func (b *Bridge) destination(m *message) string {
	if m.Destination != "" {
		if name, err := b.table.FromDestination(m.Destination); err == nil && !name.Own && name.Topic == m.Topic {
			return m.Destination
		}
	}
	return b.table.Destination(m.Topic)
}
