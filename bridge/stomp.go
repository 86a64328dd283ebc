package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// stompBroker is the bridge as the STOMP front-end sees it.
type stompBroker struct{ b *Bridge }

// stompSession is a STOMP client while it is connected.
type stompSession struct {
	b    *Bridge
	name string // for the log
	user string
	peer stomp.Peer
	temp *tempOwner // made when it is first needed; owned by the reader

	// Owned by the connection's reader, and by Close after it.
	subs      map[*stomp.Subscription]*stompSubscription
	publishes sync.WaitGroup // not yet stored; a SUBSCRIBE comes after them

	mu         sync.Mutex
	deliveries map[uint64]stompDelivery // unsettled, by token
	last       uint64                   // token
	open       []*stompSubscription     // replaced as a whole
}

// stompSubscription is one SUBSCRIBE in force: on topics, a temporary
// destination, or as a consumer of queues.
type stompSubscription struct {
	s         *stompSession
	of        *stomp.Subscription
	topics    *subscriber
	filter    *subscription
	temporary string // the topic of the temporary destination
	consumer  *consumer
	group     string
	rest      string // the group's filter
}

// stompDelivery is what a token stands for.
type stompDelivery struct {
	sub    *stompSubscription
	seq    uint64  // of topics
	queued *queued // of a consumer
}

// Connect opens the session of a client.
func (k stompBroker) Connect(ctx context.Context, peer stomp.Peer, c *stomp.Connect) (stomp.Session, error) {
	user, err := k.b.auth.Authenticate(ctx, c.Login, c.Passcode)
	if errors.Is(err, auth.ErrRefused) {
		return nil, &stomp.Error{Message: "login refused", Detail: "The login or passcode is not right.", Err: err}
	}
	if err != nil {
		return nil, err
	}
	name := c.Session
	if c.ClientID != "" {
		name = c.ClientID
	}
	return &stompSession{
		b: k.b, name: name, user: user.Name, peer: peer,
		subs: make(map[*stomp.Subscription]*stompSubscription), deliveries: make(map[uint64]stompDelivery),
	}, nil
}

// Send hands a message to the core.
func (s *stompSession) Send(_ context.Context, f *frame.Frame, done func(error)) {
	e, err := s.envelope(f)
	if err != nil {
		done(err)
		return
	}
	s.publishes.Add(1)
	s.b.publish(e, func(err error) {
		s.publishes.Done()
		done(stompError(err))
	})
}

// stompError gives an error of the bridge the words of an ERROR frame.
func stompError(err error) error {
	var limit *mapping.LimitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return &stomp.Error{Message: "message too large", Detail: err.Error()}
	case errors.As(err, &limit):
		return &stomp.Error{Message: "destination too long", Detail: err.Error()}
	case errors.Is(err, errQueueFull):
		return &stomp.Error{Message: "queue full", Detail: "The queue holds as many messages as its policy allows.", Err: err}
	case errors.Is(err, errNobody):
		return &stomp.Error{Message: "no such temporary destination", Detail: errNobody.Error(), Err: err}
	}
	return &stomp.Error{Message: "message not stored", Detail: "The core did not take the message.", Err: err}
}

// own returns the topic of a temporary destination of this connection.
func (s *stompSession) own(name string) string {
	if s.temp == nil {
		s.temp = s.b.temps.owner()
	}
	return s.temp.root + name
}

// topic is the topic a destination names for this client.
func (s *stompSession) topic(destination string) (string, error) {
	name, err := s.b.table.FromDestination(destination)
	if err != nil {
		return "", &stomp.Error{Message: "invalid destination", Detail: err.Error()}
	}
	if name.Own {
		return s.own(name.Topic), nil
	}
	return name.Topic, nil
}

// envelope is a SEND without its wire format.
func (s *stompSession) envelope(f *frame.Frame) (*mapping.Envelope, error) {
	destination := f.Header.Value("destination")
	topic, err := s.topic(destination)
	if err != nil {
		return nil, err
	}
	e := &mapping.Envelope{Topic: topic, QoS: s.b.cfg.DefaultQoS, Body: f.Body}
	if !strings.HasPrefix(topic, tempRoot) && s.b.table.Destination(topic) != destination {
		e.Destination = destination
	}
	qos, hasQoS := f.Header.Get("qos")
	first := f.Header.Value
	for i, h := range f.Header {
		if v, _ := f.Header.Get(h.Name); reads(h.Name) && !isFirst(f.Header, i, v) {
			continue // a repeated header that has a meaning: the first one counts
		}
		switch h.Name {
		case "destination", "receipt", "transaction", "content-length", "id", "ack", "subscription",
			"redelivered", "delivery-count", "retained", "receipt-id", "qos", "correlation-id-base64", "origin-protocol", "origin-client":
		case "message-id":
			e.ID = h.Value
		case "original-message-id":
			if _, has := f.Header.Get("message-id"); !has {
				e.ID = h.Value
			}
		case "content-type":
			e.ContentType, e.HasContentType = h.Value, true
			e.UTF8 = e.UTF8 || isText(h.Value)
		case "amq-msg-type":
			e.UTF8 = e.UTF8 || h.Value == "text"
			e.Properties = append(e.Properties, mapping.Property(h))
		case "reply-to":
			if reply, err := s.topic(h.Value); err == nil {
				e.ReplyTo = reply
			} else {
				e.Properties = append(e.Properties, mapping.Property(h))
			}
		case "correlation-id":
			e.Correlation = []byte(h.Value)
		case "expires", "expiration":
			expires, err := expiry(h.Name, h.Value)
			if err != nil {
				return nil, err
			}
			if !expires.IsZero() && (e.Expires.IsZero() || expires.Before(e.Expires)) {
				e.Expires = expires
			}
		case "persistent":
			if !hasQoS {
				e.QoS = persistence(h.Value, e.QoS)
			}
		case "retain":
			e.Retain = h.Value == "true"
		default:
			e.Properties = append(e.Properties, mapping.Property(h))
		}
	}
	if b64 := first("correlation-id-base64"); b64 != "" {
		raw, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			return nil, &stomp.Error{Message: "invalid correlation-id-base64", Detail: err.Error()}
		}
		e.Correlation = raw
	}
	if hasQoS {
		n, err := strconv.ParseUint(qos, 10, 8)
		if err != nil || n > 2 {
			return nil, &stomp.Error{Message: "invalid qos", Detail: "The qos header is 0, 1 or 2."}
		}
		e.QoS = uint8(n)
	}
	return e, nil
}

// reads reports whether a SEND header means something to the bridge, so that
// only the first of its name counts.
func reads(name string) bool {
	switch name {
	case "message-id", "original-message-id", "content-type", "reply-to", "correlation-id", "expires", "expiration", "persistent", "retain":
		return true
	}
	return false
}

func isFirst(h frame.Header, i int, _ string) bool {
	for j := range i {
		if h[j].Name == h[i].Name {
			return false
		}
	}
	return true
}

func isText(contentType string) bool { return strings.HasPrefix(contentType, "text/") }

func persistence(value string, otherwise uint8) uint8 {
	switch value {
	case "true":
		return max(otherwise, 1)
	case "false":
		return 0
	}
	return otherwise
}

// expiry reads expires (when, ms since 1970) or expiration (how long, ms).
func expiry(name, value string) (time.Time, error) {
	ms, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || ms < 0 {
		return time.Time{}, &stomp.Error{Message: "invalid " + name, Detail: "The header " + name + " is a number of milliseconds."}
	}
	if name == "expiration" {
		return time.Now().Add(time.Duration(min(ms, 1<<42)) * time.Millisecond), nil
	}
	if ms == 0 { // JMS: never
		return time.Time{}, nil
	}
	return time.UnixMilli(ms), nil
}

// forSTOMP is the message as STOMP clients see it, made once.
func (m *message) forSTOMP(b *Bridge) *stomp.Message {
	if out := m.stomp.Load(); out != nil {
		return out
	}
	out := &stomp.Message{Destination: b.destination(m), Body: m.Body}
	h := &out.Header
	if m.HasContentType || m.ContentType != "" {
		h.Add("content-type", m.ContentType)
	} else if m.UTF8 {
		h.Add("content-type", "text/plain;charset=utf-8")
	}
	if m.ReplyTo != "" {
		h.Add("reply-to", b.table.Destination(m.ReplyTo))
	}
	if m.Correlation != nil {
		if utf8.Valid(m.Correlation) {
			h.Add("correlation-id", string(m.Correlation))
		} else {
			h.Add("correlation-id-base64", base64.StdEncoding.EncodeToString(m.Correlation))
		}
	}
	if !m.Expires.IsZero() {
		h.Add("expires", strconv.FormatInt(m.Expires.UnixMilli(), 10))
	}
	h.Add("qos", strconv.Itoa(int(m.QoS)))
	if m.QoS > 0 {
		h.Add("persistent", "true")
	}
	if m.ID != "" {
		h.Add("original-message-id", m.ID)
	}
	hasTime := false
	for _, p := range m.Properties {
		hasTime = hasTime || p.Name == "timestamp"
	}
	if !hasTime && !m.Time.IsZero() {
		h.Add("timestamp", strconv.FormatInt(m.Time.UnixMilli(), 10))
	}
	for _, p := range m.Properties {
		h.Add(propertyName(p.Name), p.Value)
	}
	m.stomp.Store(out)
	return out
}

// propertyName is the header that carries a property. A name that would pass
// for a header of the server's is prefixed, so that nobody can forge one.
func propertyName(name string) string {
	switch name {
	case "destination", "message-id", "subscription", "ack", "redelivered", "delivery-count", "retained",
		"content-length", "receipt", "receipt-id", "transaction", "id", "qos", "persistent", "expires",
		"content-type", "correlation-id", "correlation-id-base64", "original-message-id", "":
		return "user-" + name
	}
	return name
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
