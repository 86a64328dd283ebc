package mqtt

import (
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// minAliased is the length from which a topic gets an alias: three bytes of
// property must be worth it.
const minAliased = 8

// Offer implements Peer. What it takes is encoded at once, so that the writer
// finds as many packets as possible in one buffer.
func (c *conn) Offer(d Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok := c.phase == running && c.out.size < maxOut && c.send(d)
	if !ok {
		c.refused = true
		c.server.counters.denied.Add(1)
	}
	return ok
}

// send reports whether there was room. c.mu is held.
func (c *conn) send(d Delivery) bool {
	if d.Released {
		id, ok := c.state.Resume(d.Token)
		if ok {
			c.reply(&packet.Pubrel{Answer: packet.Answer{PacketID: id}})
		}
		return ok
	}
	extra := packet.PublishExtra{QoS: d.QoS, Retain: d.Retain}
	if !d.Message.Expires.IsZero() {
		left := time.Until(d.Message.Expires)
		if left <= 0 && d.Attempt <= 1 { // [MQTT-3.3.2-5]
			c.server.counters.expired.Add(1)
			c.skip(d)
			return true
		}
		left = max((left + time.Second - 1).Truncate(time.Second), 0)
		extra.Expiry = &left // [MQTT-3.3.2-6]
	}
	if d.QoS > 0 {
		id, ok := c.state.Send(d.Token, d.QoS)
		if !ok {
			return false
		}
		extra.PacketID = id
		extra.Dup = d.Attempt > 1 // [MQTT-3.3.1-1]
	}
	extra.Identifiers = d.Identifiers
	fresh := c.alias(d.Message.Topic, &extra)

	encoded, err := d.Message.encoded(c.version)
	size := len(d.Message.Payload)
	if err != nil || encoded.Size(extra, size) > c.maxPacket { // [MQTT-3.1.2-24]
		if fresh {
			delete(c.topics, d.Message.Topic)
		}
		if d.QoS > 0 {
			c.state.Cancel(extra.PacketID)
		}
		c.server.counters.undeliverable.Add(1)
		c.skip(d)
		return true // dropped as if it had been sent [MQTT-3.1.2-25]
	}
	b := encoded.Append(c.out.begin(), extra, size)
	if size >= minReference {
		c.out.commit(b, d.Message.Payload)
	} else {
		c.out.commit(append(b, d.Message.Payload...), nil)
	}
	c.server.counters.delivered.Add(1)
	c.wake()
	return true
}

// skip settles a delivery that is not sent; not here, because Offer must not
// call the session. c.mu is held.
func (c *conn) skip(d Delivery) {
	if d.QoS > 0 {
		c.skipped = append(c.skipped, d.Token)
		c.wake()
	}
}

// alias replaces a topic by its alias, or gives it one when the client takes
// more of them, which it reports. First come, first served. c.mu is held.
func (c *conn) alias(topic string, extra *packet.PublishExtra) bool {
	if c.maxAlias == 0 || len(topic) < minAliased {
		return false
	}
	if a, ok := c.topics[topic]; ok {
		extra.Alias, extra.OmitTopic = a, true
		return false
	}
	if len(c.topics) >= c.maxAlias {
		return false
	}
	if c.topics == nil {
		c.topics = make(map[string]uint16)
	}
	extra.Alias = uint16(len(c.topics) + 1)
	c.topics[topic] = extra.Alias
	return true
}
