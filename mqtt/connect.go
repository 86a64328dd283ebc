package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// handleConnect opens the session and answers with CONNACK.
func (c *conn) handleConnect(ctx context.Context, p packet.Packet) error {
	connect, ok := p.(*packet.Connect)
	if !ok {
		return &Error{Reason: packet.ProtocolError, Text: "the first packet is not CONNECT [MQTT-3.1.0-1]"}
	}
	c.server.counters.packetsReceived.Add(1)
	c.version = connect.Version
	c.quiet = connect.RequestProblem != nil && !*connect.RequestProblem
	if connect.MaximumPacket > 0 {
		c.maxPacket = int(connect.MaximumPacket)
	}

	ask, connack, err := c.negotiate(connect)
	if err != nil {
		return c.refuse(err)
	}
	c.log = c.log.With("client_id", ask.ClientID, "user", ask.Username)

	connected, err := c.server.Broker.Connect(ctx, c, ask)
	if err != nil {
		return c.refuse(err)
	}
	c.session = connected.Session
	c.server.counters.active.Add(1)

	limit := 0
	if c.version == packet.V5 {
		limit = c.server.Config.ReceiveMaximum
	}
	state := NewState(ask.ReceiveMaximum, limit)
	if connected.Present {
		if err := state.Restore(connected.State); err != nil {
			c.log.Error("session goes on without its packet identifiers", "error", err)
		}
	}
	connack.SessionPresent = connected.Present && c.version > packet.V31 // [MQTT-3.2.2-2]
	c.open(connect, connack, state)
	c.log.Info("client connected", "version", c.version.String(), "session_present", connected.Present)
	return nil
}

// open sends CONNACK and lets deliveries in.
func (c *conn) open(connect *packet.Connect, connack *packet.Connack, state *State) {
	keepAlive := connect.KeepAlive
	if connack.ServerKeepAlive != nil {
		keepAlive = *connack.ServerKeepAlive
	}
	c.in.SetMaxPacket(c.server.Config.MaxMessage)

	c.mu.Lock()
	c.state = state
	c.deadline = time.Time{}
	c.silence = keepAlive + keepAlive/2 // [MQTT-3.1.2-22]
	c.maxAlias = min(int(connect.TopicAliasMax), c.server.Config.TopicAliasMax)
	c.reply(connack)
	c.phase = max(c.phase, running)
	ready := c.takeReady()
	c.mu.Unlock()
	if ready {
		c.session.Ready()
	}
}

// negotiate checks a CONNECT and applies limits and defaults. The CONNACK it
// returns tells the client which.
func (c *conn) negotiate(p *packet.Connect) (*Connect, *packet.Connack, error) {
	cfg := &c.server.Config
	ask := &Connect{
		Version:        p.Version,
		ClientID:       p.ClientID,
		CleanStart:     p.CleanStart,
		ReceiveMaximum: cfg.MaxInflight,
		Password:       p.Password,
		Will:           p.Will,
		Remote:         c.nc.RemoteAddr(),
	}
	if p.Username != nil {
		ask.Username = *p.Username
	}
	connack := &packet.Connack{}
	if p.AuthMethod != "" {
		return nil, nil, &Error{Reason: packet.BadAuthenticationMethod} // [MQTT-4.12.0-1]
	}
	if err := checkWill(p.Will); err != nil {
		return nil, nil, err
	}
	if p.ClientID == "" {
		if p.Version != packet.V5 && !p.CleanStart {
			return nil, nil, &Error{Reason: packet.ClientIdentifierNotValid} // [MQTT-3.1.3-8] of 3.1.1
		}
		ask.ClientID, ask.Assigned = rand.Text(), true // [MQTT-3.1.3-6]
	}
	if p.Version != packet.V5 {
		if !p.CleanStart {
			ask.SessionExpiry = cfg.MaxSessionExpiry
		}
		c.expires = ask.SessionExpiry > 0
		return ask, connack, nil
	}

	if ask.Assigned {
		connack.AssignedClientID = ask.ClientID // [MQTT-3.2.2-16]
	}
	if p.SessionExpiry != nil {
		ask.SessionExpiry = min(*p.SessionExpiry, cfg.MaxSessionExpiry)
		if ask.SessionExpiry != *p.SessionExpiry {
			connack.SessionExpiry = &ask.SessionExpiry // [MQTT-3.2.2-21]
		}
	}
	c.expires = ask.SessionExpiry > 0
	if p.ReceiveMaximum > 0 {
		ask.ReceiveMaximum = min(ask.ReceiveMaximum, int(p.ReceiveMaximum)) // [MQTT-3.3.4-9]
	}
	if cfg.MaxKeepAlive > 0 && (p.KeepAlive == 0 || p.KeepAlive > cfg.MaxKeepAlive) {
		connack.ServerKeepAlive = &cfg.MaxKeepAlive // [MQTT-3.1.2-21]
	}
	if cfg.ReceiveMaximum < 65535 {
		connack.ReceiveMaximum = uint16(cfg.ReceiveMaximum)
	}
	if cfg.MaxMessage < packet.MaxSize {
		connack.MaximumPacket = uint32(cfg.MaxMessage)
	}
	connack.TopicAliasMax = uint16(cfg.TopicAliasMax)
	return ask, connack, nil
}

// checkWill checks what decoding leaves open.
func checkWill(w *packet.Will) error {
	if w == nil {
		return nil
	}
	if f := w.Properties.PayloadFormat; f != nil && *f == 1 && !utf8.Valid(w.Payload) {
		return &Error{Reason: packet.PayloadFormatInvalid, Text: "will: the payload is not UTF-8"}
	}
	return nil
}

// refuse answers a CONNECT with err and returns it.
func (c *conn) refuse(err error) error {
	c.server.counters.refused.Add(1)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Reason: packet.UnspecifiedError, Err: err}
	}
	switch e.Reason {
	case packet.MalformedPacket, packet.ProtocolError, packet.TopicNameInvalid, packet.PacketTooLarge:
		if c.version != packet.V5 {
			return e // [MQTT-3.1.4-1] of 3.1.1
		}
	default:
	}
	connack := &packet.Connack{Reason: e.Reason, ReasonString: c.text(e)}
	if !e.Reason.ValidIn(connack) {
		connack.Reason = packet.UnspecifiedError
	}
	c.mu.Lock()
	c.reply(connack)
	c.mu.Unlock()
	return e
}
