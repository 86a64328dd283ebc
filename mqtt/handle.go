package mqtt

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// handle obeys one packet. An error ends the connection.
func (c *conn) handle(ctx context.Context, p packet.Packet) error {
	switch p := p.(type) {
	case *packet.Publish:
		return c.handlePublish(ctx, p)
	case *packet.Puback:
		return c.handlePuback(p)
	case *packet.Pubrec:
		return c.handlePubrec(p)
	case *packet.Pubrel:
		return c.handlePubrel(p)
	case *packet.Pubcomp:
		return c.handlePubcomp(p)
	case *packet.Subscribe:
		return c.apart(func() error { return c.handleSubscribe(ctx, p) })
	case *packet.Unsubscribe:
		return c.apart(func() error { return c.handleUnsubscribe(ctx, p) })
	case *packet.Pingreq:
		c.mu.Lock()
		c.reply(&packet.Pingresp{}) // [MQTT-3.12.4-1]
		c.mu.Unlock()
		return nil
	case *packet.Disconnect:
		return c.handleDisconnect(p)
	case *packet.Auth:
		return &Error{Reason: packet.BadAuthenticationMethod}
	case *packet.Connect:
		return &Error{Reason: packet.ProtocolError, Text: "a second CONNECT [MQTT-3.1.0-2]"}
	default:
		return &Error{Reason: packet.ProtocolError, Text: fmt.Sprintf("a client must not send %T", p)}
	}
}

func (c *conn) handlePublish(ctx context.Context, p *packet.Publish) error {
	if err := c.aliases.resolve(p); err != nil {
		return err
	}
	if len(p.Properties.Identifiers) > 0 {
		return &Error{Reason: packet.ProtocolError, Text: "PUBLISH of a client with a subscription identifier [MQTT-3.3.4-6]"}
	}
	var refusal *Error
	if f := p.Properties.PayloadFormat; f != nil && *f == 1 && !utf8.Valid(p.Payload) {
		refusal = &Error{Reason: packet.PayloadFormatInvalid}
	}
	if p.QoS == 0 {
		c.server.counters.published.Add(1)
		if refusal == nil {
			c.session.Publish(ctx, p, nil)
		} else {
			c.server.counters.publishesRefused.Add(1)
		}
		return nil
	}

	c.mu.Lock()
	receipt, err := c.state.Receive(p.PacketID, p.QoS)
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case receipt == Pending:
		return nil
	case receipt == Repeated:
		c.answer(sendPubrecAgain, p.PacketID, nil)
		return nil
	}
	c.server.counters.published.Add(1)
	kind := sendPuback
	if p.QoS == 2 {
		kind = sendPubrec
	}
	number := c.expect(kind, p.PacketID, len(p.Payload))
	if refusal != nil {
		c.allow(number, refusal)
		return nil
	}
	c.session.Publish(ctx, p, func(err error) { c.allow(number, err) })
	return nil
}

// settle tells the session how a delivery ended, and that there is room for
// the next. A packet for a delivery that is not known is ignored.
func (c *conn) settle(end func(uint16) (uint64, error), p packet.Answer) error {
	c.mu.Lock()
	token, err := end(p.PacketID)
	ready := err == nil && c.takeReady()
	c.mu.Unlock()
	if err != nil {
		if errors.Is(err, errUnknown) {
			return nil
		}
		return err
	}
	c.session.Settle(token, refusal(p))
	if ready {
		c.session.Ready()
	}
	return nil
}

// refusal is the error of a PUBACK, PUBREC or PUBCOMP; nil: none.
func refusal(p packet.Answer) error {
	if p.Reason < packet.UnspecifiedError {
		return nil
	}
	return &Error{Reason: p.Reason, Text: p.ReasonString}
}

func (c *conn) handlePuback(p *packet.Puback) error {
	return c.settle(c.state.Acknowledge, p.Answer)
}

func (c *conn) handlePubrec(p *packet.Pubrec) error {
	if refusal(p.Answer) != nil {
		return c.settle(c.state.Reject, p.Answer) // [MQTT-4.3.3-4]
	}
	c.mu.Lock()
	token, receipt, err := c.state.Receipted(p.PacketID)
	c.mu.Unlock()
	switch {
	case errors.Is(err, errUnknown):
		c.answer(sendPubrel, p.PacketID, errUnknown)
		return nil
	case err != nil:
		return err
	case receipt == Repeated:
		c.answer(sendPubrel, p.PacketID, nil)
		return nil
	case receipt == Pending:
		return nil
	}
	number := c.expect(sendPubrel, p.PacketID, 0)
	c.session.Release(token, func(err error) { c.allow(number, err) })
	return nil
}

func (c *conn) handlePubrel(p *packet.Pubrel) error {
	c.mu.Lock()
	receipt, err := c.state.Forget(p.PacketID)
	c.mu.Unlock()
	switch {
	case errors.Is(err, errUnknown):
		c.answer(sendPubcomp, p.PacketID, errUnknown) // [MQTT-4.3.3-11]
		return nil
	case err != nil:
		return err
	case receipt == Pending:
		return nil
	}
	number := c.expect(sendPubcomp, p.PacketID, 0)
	c.session.Forget(p.PacketID, func(err error) { c.allow(number, err) })
	return nil
}

func (c *conn) handlePubcomp(p *packet.Pubcomp) error {
	return c.settle(c.state.Complete, packet.Answer{PacketID: p.PacketID})
}

// handleSubscribe asks the broker about the filters that are well-formed.
func (c *conn) handleSubscribe(ctx context.Context, p *packet.Subscribe) error {
	suback := &packet.Suback{PacketID: p.PacketID, Reasons: make([]packet.ReasonCode, len(p.Filters))}
	valid := p.Filters[:0]
	for i, f := range p.Filters {
		if packet.ValidTopicFilter(f.Topic) != nil {
			suback.Reasons[i] = packet.TopicFilterInvalid
			continue
		}
		valid = append(valid, f)
	}
	p.Filters = valid
	done := func(granted []packet.ReasonCode) {
		fill(suback.Reasons, granted, suback)
		c.replied(suback)
	}
	c.asking()
	if len(valid) == 0 {
		done(nil)
		return nil
	}
	c.session.Subscribe(ctx, p, done)
	return nil
}

func (c *conn) handleUnsubscribe(ctx context.Context, p *packet.Unsubscribe) error {
	unsuback := &packet.Unsuback{PacketID: p.PacketID, Reasons: make([]packet.ReasonCode, len(p.Filters))}
	valid := p.Filters[:0]
	for i, f := range p.Filters {
		if packet.ValidTopicFilter(f) != nil {
			unsuback.Reasons[i] = packet.TopicFilterInvalid
			continue
		}
		valid = append(valid, f)
	}
	p.Filters = valid
	done := func(reasons []packet.ReasonCode) {
		fill(unsuback.Reasons, reasons, unsuback)
		c.replied(unsuback)
	}
	c.asking()
	if len(valid) == 0 {
		done(nil)
		return nil
	}
	c.session.Unsubscribe(ctx, p, done)
	return nil
}

// fill puts the broker's reasons where no reason is yet, in order.
func fill(reasons, given []packet.ReasonCode, in packet.Packet) {
	for i, r := range reasons {
		if r != packet.Success {
			continue
		}
		reasons[i] = packet.UnspecifiedError
		if len(given) > 0 {
			if given[0].ValidIn(in) {
				reasons[i] = given[0]
			}
			given = given[1:]
		}
	}
}

// asking notes a question to the broker whose answer need not wait for others.
func (c *conn) asking() {
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
}

// replied sends its answer.
func (c *conn) replied(p packet.Packet) {
	c.mu.Lock()
	c.asked--
	if c.phase != ended {
		c.reply(p)
	}
	c.mu.Unlock()
	c.room.Signal()
}

func (c *conn) handleDisconnect(p *packet.Disconnect) error {
	if e := p.SessionExpiry; e != nil {
		if *e > 0 && !c.expires {
			return &Error{Reason: packet.ProtocolError, Text: "DISCONNECT gives the session an expiry it did not have [MQTT-3.1.2-11.2]"}
		}
		*e = min(*e, c.server.Config.MaxSessionExpiry)
	}
	c.last = p
	return errDisconnected
}
