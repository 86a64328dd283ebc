package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// mqttBroker is the bridge as the MQTT front-end sees it.
type mqttBroker struct{ b *Bridge }

// mqttSession is an MQTT client's session while it is connected.
type mqttSession struct {
	b       *Bridge
	key     string // of its records
	client  string
	user    string
	version packet.Version
	peer    mqtt.Peer
	window  int
	gone    chan struct{} // closed when the connection has let go
	topics  *subscriber

	kept   bool // it outlives its connection
	place  placeKeeper
	keeper filterKeeper

	receipts receipts

	// Written while it is opened.
	asked    bool // another gateway was asked to let it go
	record   sessionRecord
	revision uint64 // of record; 0: it has none

	// Owned by the connection's reader, and by Close after it.
	filters   map[string]*mqttFilter // by filter as subscribed, with $share
	publishes sync.WaitGroup         // not yet stored; a SUBSCRIBE comes after them
	noLocal   int                    // subscriptions with No Local: publishes carry the client then

	refused refusals[*consumer]

	mu     sync.Mutex
	queued map[uint64]*queued // by token
	last   uint64             // token number
}

// mqttFilter is one entry of SUBSCRIBE in force.
type mqttFilter struct {
	record filterRecord
	rest   string // the filter without $share/group

	topics *subscription // nil: shared
	tapped bool

	shared   bool
	consumer *consumer // once it competes
	group    string
	grouped  bool        // it competes for topics, not for queues
	broken   atomic.Bool // it could not join the others
}

var errTakenOver = &mqtt.Error{Reason: packet.SessionTakenOver, Text: "another connection uses this client identifier"}

// Connect opens or resumes the session of a client.
func (k mqttBroker) Connect(ctx context.Context, peer mqtt.Peer, c *mqtt.Connect) (mqtt.Connected, error) {
	b := k.b
	user, err := b.auth.Authenticate(ctx, c.Username, string(c.Password))
	if err != nil {
		return mqtt.Connected{}, mqttLogin(err)
	}
	s := &mqttSession{
		b: b, key: sessionKey(c.ClientID), client: c.ClientID, user: user.Name, version: c.Version, peer: peer,
		window: c.ReceiveMaximum, gone: make(chan struct{}), kept: c.SessionExpiry > 0,
		filters: make(map[string]*mqttFilter), queued: make(map[uint64]*queued),
	}
	s.place.s, s.keeper.s = s, s
	s.topics = &subscriber{b: b, name: c.ClientID, client: c.ClientID, sink: s, window: c.ReceiveMaximum}
	if s.kept {
		s.topics.changed = func() { b.sessions.changed(s) }
	}
	will, err := s.will(c.Will)
	if err != nil {
		return mqtt.Connected{}, err
	}
	if err := b.sessions.claim(ctx, s, errTakenOver); err != nil {
		return mqtt.Connected{}, mqttOtherUser(err)
	}
	connected, err := s.open(ctx, c, will)
	if err != nil {
		s.Close(mqtt.End{Cause: err})
		return mqtt.Connected{}, mqttOtherUser(err)
	}
	return connected, nil
}

func mqttOtherUser(err error) error {
	if errors.Is(err, errOtherUser) {
		return &mqtt.Error{Reason: packet.NotAuthorized, Text: "the client identifier belongs to another user", Err: err}
	}
	return err
}

func mqttLogin(err error) error {
	if errors.Is(err, auth.ErrRefused) {
		return &mqtt.Error{Reason: packet.BadUserNameOrPassword, Err: err}
	}
	return &mqtt.Error{Reason: packet.ServerUnavailable, Err: err}
}

// open takes the session over from whoever had it, and resumes it or begins
// a new one.
func (s *mqttSession) open(ctx context.Context, c *mqtt.Connect, will *willRecord) (mqtt.Connected, error) {
	for {
		present, err := s.take(ctx, c, will)
		switch {
		case errors.Is(err, errConflict): // a timer or another gateway was faster
			if ctx.Err() != nil {
				return mqtt.Connected{}, context.Cause(ctx)
			}
			continue
		case err != nil:
			return mqtt.Connected{}, err
		case !present:
			s.topics.high = s.b.log.end()
			if s.kept {
				err = s.b.await(s.place.save)
			}
			return mqtt.Connected{Session: s}, err
		}
		state, err := s.resume(ctx)
		return mqtt.Connected{Session: s, Present: true, State: state}, err
	}
}

// take makes the session's record say that it is connected here, and reports
// whether there is an earlier session that goes on. What is left of one that
// does not is removed first.
func (s *mqttSession) take(ctx context.Context, c *mqtt.Connect, will *willRecord) (present bool, err error) {
	x := &s.b.sessions
	var old sessionRecord
	var revision uint64
	var found bool
	if !c.Assigned {
		if revision, found, err = x.records.load(ctx, "s."+s.key, &old); err != nil {
			return false, err
		}
	}
	if self := s.b.gateways.self; old.Owner != "" && old.Owner != self && !s.asked && old.User == s.user {
		s.asked = true
		s.b.gateways.take(ctx, old.Owner, s.key)
		return false, errConflict // read what it left
	}
	over := old.expiredAt(time.Now())
	if found && old.User != s.user && !over {
		return false, errOtherUser
	}
	present = found && old.Expiry != 0 && !over && !c.CleanStart
	if found && !present {
		if err := x.discard(ctx, s.key, old, revision); err != nil {
			return false, err
		}
		s.record.Epoch = old.Epoch
		return false, errConflict // read what is left of it
	}
	if s.kept && !present {
		var gone positionRecord
		if s.place.revision, _, err = x.records.load(ctx, "p."+s.key, &gone); err != nil {
			return false, err
		}
	}
	s.record = sessionRecord{
		Client: s.client, User: s.user, Owner: s.b.gateways.self, Epoch: max(old.Epoch, s.record.Epoch) + 1, Expiry: c.SessionExpiry, Will: will,
	}
	if s.kept || will != nil || present {
		s.revision, err = x.records.saveNow("s."+s.key, &s.record, revision)
	}
	return present, err
}

// will makes the record of a will.
func (s *mqttSession) will(w *packet.Will) (*willRecord, error) {
	if w == nil {
		return nil, nil
	}
	e, err := s.envelope(&packet.Publish{QoS: w.QoS, Retain: w.Retain, Topic: w.Topic, Payload: w.Payload, Properties: w.Properties})
	if err != nil {
		return nil, err
	}
	rec := &willRecord{Topic: e.Topic, Delay: w.Delay}
	if w.Properties.MessageExpiry != nil {
		rec.Lifetime = *w.Properties.MessageExpiry
	}
	e.Expires = time.Time{}
	rec.Header, rec.Data = e.Encode()
	return rec, nil
}

// resume takes up the subscriptions and the position of an earlier connection.
func (s *mqttSession) resume(ctx context.Context) (state []byte, err error) {
	x := &s.b.sessions
	var position positionRecord
	revision, _, err := x.records.load(ctx, "p."+s.key, &position)
	if err != nil {
		return nil, err
	}
	s.place.revision = revision
	if err := s.keeper.load(ctx); err != nil {
		return nil, err
	}
	l, t := s.b.log, s.topics
	end := l.end()
	last := end
	if position.High > end { // another gateway may be ahead of this one
		info, err := s.b.core.streamInfo(ctx, l.stream)
		if err != nil {
			return nil, err
		}
		last = info.State.LastSeq
	}
	t.mu.Lock()
	if !position.Created.Equal(l.created) || position.High > last {
		s.b.logger.Error("the session's position is not in this log; it goes on at the end", "client_id", s.client)
		s.b.counters.reset.Add(1)
		position = positionRecord{High: end, End: end, State: position.State}
	}
	s.receipts.resume(position.Receipts, position.End, end)
	t.high, t.from = position.High, position.High+1
	for _, f := range position.Flights {
		fl := flight{seq: f.Seq, qos: f.QoS, retained: f.Retained, released: f.Released}
		t.front.push(entry{seq: f.Seq, token: f.Token, flight: fl, grant: grant{retain: f.Retained}})
		if t.flights == nil {
			t.flights = make(map[uint64]flight)
		}
		t.flights[f.Token] = fl
		t.order = append(t.order, f.Token)
	}
	t.lagging, t.next = true, t.high+1
	t.mu.Unlock()
	for _, f := range s.filters {
		if err := s.join(f); err != nil {
			s.b.logger.Error("subscription not taken up again", "client_id", s.client, "filter", f.record.Filter, "error", err)
			delete(s.filters, f.record.Filter)
			continue
		}
		if sent, owed := position.Retained[f.record.Filter]; owed && f.topics != nil {
			t.load(1)
			t.owe(f.topics, sent)
			s.b.work.Go(func() { s.b.retained.send(t, f.topics) })
		}
	}
	l.scan.add(t) // not before all filters are in force
	return position.State, nil
}

// Publish hands a message to the core.
func (s *mqttSession) Publish(ctx context.Context, p *packet.Publish, done func(error)) {
	e, err := s.envelope(p)
	if err != nil {
		finish(done, err)
		return
	}
	if s.noLocal > 0 || e.Retain {
		e.Origin.Client = s.client
	}
	if p.QoS == 2 && s.kept {
		s.mark(e, p.PacketID)
		if p.Dup {
			known, err := s.repeated(ctx, p.Topic, p.PacketID)
			if known || err != nil {
				finish(done, mqttError(err))
				return
			}
		}
		s.receipts.begin(p.PacketID, s.b.log.end())
	}
	s.publishes.Add(1)
	s.b.publish(e, func(err error) {
		s.publishes.Done()
		finish(done, mqttError(err))
	})
}

func finish(done func(error), err error) {
	if done != nil {
		done(err)
	}
}

// mqttError gives an error of the bridge its MQTT reason.
func mqttError(err error) error {
	var limit *mapping.LimitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return &mqtt.Error{Reason: packet.PacketTooLarge, Text: err.Error()}
	case errors.As(err, &limit):
		return &mqtt.Error{Reason: packet.TopicNameInvalid, Text: err.Error()}
	case errors.Is(err, errQueueFull):
		return &mqtt.Error{Reason: packet.QuotaExceeded, Text: errQueueFull.Error(), Err: err}
	case errors.Is(err, errStoreFull):
		return &mqtt.Error{Reason: packet.QuotaExceeded, Text: errStoreFull.Error(), Err: err}
	case errors.Is(err, errNobody):
		return &mqtt.Error{Reason: packet.TopicNameInvalid, Text: errNobody.Error(), Err: err}
	}
	return &mqtt.Error{Reason: packet.UnspecifiedError, Text: "the message could not be stored", Err: err}
}

// Forget is told that a QoS 2 publish is complete: its identifier may come
// again, as another message's, once that is written.
func (s *mqttSession) Forget(id uint16, done func(error)) {
	s.receipts.forget(id)
	s.persist(done)
}

// persist writes the position when the session outlives its connection.
func (s *mqttSession) persist(done func(error)) {
	if !s.kept {
		done(nil)
		return
	}
	s.place.save(func(err error) { done(mqttError(err)) })
}

// Settle ends a delivery.
func (s *mqttSession) Settle(token uint64, err error) {
	if token&tokenLocal == 0 || token&tokenRetained != 0 {
		s.topics.settle(token)
		return
	}
	s.mu.Lock()
	d := s.queued[token]
	delete(s.queued, token)
	s.mu.Unlock()
	if d == nil {
		return
	}
	if err != nil {
		err = errRequeue
	}
	d.settle(err, nil)
}

// Release is told that the client has a QoS 2 message: after PUBREL it must
// not get it again, so that is written first.
func (s *mqttSession) Release(token uint64, done func(error)) {
	s.topics.release(token)
	s.persist(done)
}

// Ready offers again what was refused.
func (s *mqttSession) Ready() {
	s.topics.ready()
	for c := range s.refused.take() {
		c.ready()
	}
}

// offer gives the client a message to a topic.
func (s *mqttSession) offer(d delivery) bool {
	out := mqtt.Delivery{
		Token: d.token, QoS: packet.QoS(d.qos), Retain: d.retain, Identifiers: d.ids,
		Attempt: d.attempt, Released: d.released,
	}
	if d.msg != nil {
		out.Message = d.msg.forMQTT(s.b)
	}
	return s.peer.Offer(out)
}

// offerQueued gives the client a message of a queue or a group.
func (s *mqttSession) offerQueued(f *mqttFilter, d *queued) bool {
	out := mqtt.Delivery{Message: d.forMQTT(s.b), QoS: packet.QoS(min(f.record.QoS, d.QoS)), Attempt: 1}
	if f.record.Identifier != 0 {
		out.Identifiers = []uint32{f.record.Identifier}
	}
	if out.QoS > 0 {
		s.mu.Lock()
		s.last++
		out.Token = tokenLocal | s.last
		s.queued[out.Token] = d
		s.mu.Unlock()
	}
	if !s.refused.offer(f.consumer, func() bool { return s.peer.Offer(out) }) {
		s.mu.Lock()
		delete(s.queued, out.Token)
		s.mu.Unlock()
		return false
	}
	if out.QoS == 0 {
		d.settle(nil, nil)
	}
	return true
}

// Close lets go of the client.
func (s *mqttSession) Close(end mqtt.End) {
	defer s.b.sessions.release(s)
	s.detach(end.Cause == nil)
	s.publishes.Wait() // who resumes the session looks for them in the log
	if s.revision == 0 {
		for _, f := range s.filters {
			s.left(f)
		}
		return
	}
	ctx, cancel := context.WithTimeout(s.b.ctx, s.b.cfg.NATS.Patience)
	defer cancel()
	rec := s.record
	if end.Expiry != nil {
		rec.Expiry = *end.Expiry
	}
	s.keeper.close() // nothing of this connection may be written once the session is forgotten
	if s.kept {
		if err := s.place.last(ctx, end.State); err != nil {
			s.b.logger.Error("position not written", "client_id", s.client, "error", err)
		}
	}
	if err := s.b.sessions.end(ctx, s.key, rec, s.revision, end.Will); err != nil {
		s.b.logger.Error("end of the session not written", "client_id", s.client, "error", err)
	}
}

// detach ends all deliveries and returns when none is under way. What was not
// acknowledged of queues and groups goes back.
func (s *mqttSession) detach(clean bool) {
	s.topics.close()
	var left sync.WaitGroup
	for _, f := range s.filters {
		if f.topics != nil {
			s.b.drop(f.topics, f.tapped)
		}
		if f.consumer != nil {
			left.Add(1)
			s.b.queues.leave(f.consumer, clean, left.Done)
		}
	}
	left.Wait()
}

// envelope is a PUBLISH without its wire format.
func (s *mqttSession) envelope(p *packet.Publish) (*mapping.Envelope, error) {
	if strings.HasPrefix(p.Topic, "$SYS/") || strings.HasPrefix(p.Topic, "$share/") || strings.HasPrefix(p.Topic, "$queue/") {
		return nil, &mqtt.Error{Reason: packet.TopicNameInvalid, Text: errReserved.Error()}
	}
	if p.Properties.PayloadFormat != nil && *p.Properties.PayloadFormat == 1 && !utf8.Valid(p.Payload) {
		return nil, &mqtt.Error{Reason: packet.PayloadFormatInvalid, Text: "the payload is said to be UTF-8 and is not"}
	}
	e := &mapping.Envelope{
		Topic: p.Topic, QoS: uint8(p.QoS), Retain: p.Retain, Body: p.Payload,
		ReplyTo: p.Properties.ResponseTopic, Correlation: p.Properties.CorrelationData,
		UTF8: p.Properties.PayloadFormat != nil && *p.Properties.PayloadFormat == 1,
	}
	if p.Properties.ContentType != nil {
		e.ContentType, e.HasContentType = *p.Properties.ContentType, true
	}
	if p.Properties.MessageExpiry != nil {
		e.Expires = time.Now().Add(*p.Properties.MessageExpiry)
	}
	if n := len(p.Properties.User); n > 0 {
		e.Properties = make([]mapping.Property, n)
		for i, u := range p.Properties.User {
			e.Properties[i] = mapping.Property(u)
		}
	}
	return e, nil
}

// maxCorrelation is the length of the longest binary data, in bytes. // [MQTT-1.5.6]
const maxCorrelation = 65535

// forMQTT is the message as MQTT clients see it, made once.
func (m *message) forMQTT(b *Bridge) *mqtt.Message {
	if out := m.mqtt.Load(); out != nil {
		return out
	}
	out := &mqtt.Message{Topic: m.Topic, Payload: m.Body, Expires: m.Expires}
	p := &out.Properties
	p.ResponseTopic = m.ReplyTo
	if len(m.Correlation) <= maxCorrelation {
		p.CorrelationData = m.Correlation
	} else {
		p.User = append(p.User, packet.UserProperty{Name: "correlation-id", Value: b.mqttText(string(m.Correlation))})
	}
	if m.ID != "" {
		p.User = append(p.User, packet.UserProperty{Name: "original-message-id", Value: b.mqttText(m.ID)})
	}
	if m.UTF8 && utf8.Valid(m.Body) {
		one := uint8(1)
		p.PayloadFormat = &one
	}
	if m.HasContentType || m.ContentType != "" {
		text := b.mqttText(m.ContentType)
		p.ContentType = &text
	}
	for _, u := range m.Properties {
		p.User = append(p.User, packet.UserProperty{Name: b.mqttText(u.Name), Value: b.mqttText(u.Value)})
	}
	m.mqtt.Store(out)
	return out
}

// mqttText is a string from anywhere as one that MQTT can carry.
func (b *Bridge) mqttText(s string) string {
	if _, marked := mapping.FromMQTTString(s); marked {
		return s // it was escaped before
	}
	text, escaped := mapping.MQTTString(s)
	if escaped {
		b.counters.escaped.Add(1)
	}
	return text
}
