package mqtt

import "github.com/causeway-mq/causeway/mqtt/packet"

// aliases are the topics a peer has given an alias.
type aliases struct {
	max    int
	topics map[uint16]string
}

// resolve puts the topic of an alias in its place. // MQTT 5, 3.3.2.3.4
func (a *aliases) resolve(p *packet.Publish) error {
	alias := p.Properties.TopicAlias
	if alias == 0 {
		return nil
	}
	p.Properties.TopicAlias = 0
	switch topic, known := a.topics[alias]; {
	case int(alias) > a.max:
		return &Error{Reason: packet.TopicAliasInvalid} // [MQTT-3.3.2-9]
	case p.Topic != "":
		if a.topics == nil {
			a.topics = make(map[uint16]string)
		}
		a.topics[alias] = p.Topic
	case known:
		p.Topic = topic
	default:
		return &Error{Reason: packet.ProtocolError, Text: "a topic alias without a topic"}
	}
	return nil
}
