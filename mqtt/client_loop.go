package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func (c *Client) writeLoop() {
	var chunks []chunk
	size := 0
	for {
		c.mu.Lock()
		c.out.size -= size
		if size > 0 {
			c.changed.Broadcast()
		}
		for c.out.size == 0 && c.err == nil && !c.closing {
			c.changed.Wait()
		}
		size = c.out.size
		chunks = c.out.take(chunks[:0])
		failed := c.err != nil
		c.mu.Unlock()
		if failed {
			return
		}
		if len(chunks) == 0 {
			c.end(ErrClosed)
			return
		}
		piece := make(net.Buffers, len(chunks))
		for i, k := range chunks {
			piece[i] = k.bytes
		}
		c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := piece.WriteTo(c.nc); err != nil {
			c.end(fmt.Errorf("write: %w", err))
		}
		release(chunks)
	}
}

// pingLoop gives the server a sign of life in each keep alive interval.
func (c *Client) pingLoop() {
	tick := time.NewTicker(c.alive * 3 / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-tick.C:
			c.mu.Lock()
			err := c.send(&packet.Pingreq{}) // [MQTT-3.1.2-20]
			c.mu.Unlock()
			if err != nil {
				c.end(err)
			}
		}
	}
}

func (c *Client) readLoop() {
	for {
		if c.alive > 0 {
			c.nc.SetReadDeadline(time.Now().Add(2 * c.alive))
		}
		p, err := c.in.Read()
		if err == nil {
			err = c.handle(p)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the server closed the connection: %w", err)
			}
			c.end(err)
			return
		}
	}
}

// handle obeys one packet of the server.
func (c *Client) handle(p packet.Packet) error {
	switch p := p.(type) {
	case *packet.Publish:
		return c.handlePublish(p)
	case *packet.Puback:
		return c.finish(p, p.PacketID, c.state.Acknowledge)
	case *packet.Suback:
		return c.finish(p, p.PacketID, c.state.Acknowledge)
	case *packet.Unsuback:
		return c.finish(p, p.PacketID, c.state.Acknowledge)
	case *packet.Pubrec:
		return c.handlePubrec(p)
	case *packet.Pubrel:
		return c.handlePubrel(p)
	case *packet.Pubcomp:
		return c.finish(p, p.PacketID, c.state.Complete)
	case *packet.Pingresp:
		return nil
	case *packet.Disconnect:
		return &Error{Reason: p.Reason, Text: p.ReasonString}
	default:
		return &Error{Reason: packet.ProtocolError, Text: fmt.Sprintf("a server must not send %T", p)}
	}
}

// finish ends the exchange p is the last packet of.
func (c *Client) finish(p packet.Packet, id uint16, end func(uint16) (uint64, error)) error {
	c.mu.Lock()
	token, err := end(id)
	done := c.calls[token]
	delete(c.calls, token)
	c.changed.Broadcast()
	c.mu.Unlock()
	switch {
	case errors.Is(err, errUnknown):
		return nil
	case err != nil:
		return err
	}
	done(p, nil)
	return nil
}

func (c *Client) handlePubrec(p *packet.Pubrec) error {
	if refusal(p.Answer) != nil {
		return c.finish(p, p.PacketID, c.state.Reject)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pubrel := &packet.Pubrel{Answer: packet.Answer{PacketID: p.PacketID}}
	_, _, err := c.state.Receipted(p.PacketID)
	switch {
	case errors.Is(err, errUnknown):
		pubrel.Reason = packet.PacketIdentifierNotFound
	case err != nil:
		return err
	}
	c.state.Released(p.PacketID)
	return c.send(pubrel)
}

func (c *Client) handlePubrel(p *packet.Pubrel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pubcomp := &packet.Pubcomp{Answer: packet.Answer{PacketID: p.PacketID}}
	_, err := c.state.Forget(p.PacketID)
	switch {
	case errors.Is(err, errUnknown):
		pubcomp.Reason = packet.PacketIdentifierNotFound
	case err != nil:
		return err
	}
	c.state.Forgotten(p.PacketID)
	return c.send(pubcomp)
}

func (c *Client) handlePublish(p *packet.Publish) error {
	if err := c.aliases.resolve(p); err != nil {
		return err
	}
	if p.QoS == 0 {
		if c.receive != nil {
			c.receive(p, nil)
		}
		return nil
	}
	kind := sendPuback
	if p.QoS == 2 {
		kind = sendPubrec
	}
	c.mu.Lock()
	receipt, err := c.state.Receive(p.PacketID, p.QoS)
	number := uint64(0)
	if err == nil && receipt != Pending {
		number = c.answers.add(answer{kind: kind, id: p.PacketID})
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case receipt == Pending:
	case receipt == Repeated || c.receive == nil:
		c.allow(number, nil)
	default:
		c.receive(p, func(err error) { c.allow(number, err) })
	}
	return nil
}

// allow sends the answers that may go, in order.
func (c *Client) allow(number uint64, err error) {
	refused, ok := errors.AsType[*Error](err)
	if err != nil && !ok {
		refused = &Error{Reason: packet.UnspecifiedError}
	}
	c.mu.Lock()
	c.answers.done(number, refused)
	err = nil
	for a, ok := c.answers.next(); ok && c.err == nil && err == nil; a, ok = c.answers.next() {
		err = c.sendAnswer(a)
	}
	c.mu.Unlock()
	if err != nil {
		c.end(err)
	}
}

func (c *Client) sendAnswer(a answer) error {
	out := packet.Answer{PacketID: a.id}
	if a.err != nil && c.version == packet.V5 {
		out.Reason, out.ReasonString = a.err.Reason, a.err.Text
	}
	if a.kind == sendPuback {
		c.state.Acknowledged()
		return c.send(&packet.Puback{Answer: out})
	}
	c.state.Received(a.id, out.Reason < packet.UnspecifiedError)
	return c.send(&packet.Pubrec{Answer: out})
}
