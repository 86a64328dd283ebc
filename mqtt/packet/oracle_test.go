package packet

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestOracle compares both directions with an independent implementation, on
// packets of every type and version that it can express: it has no empty
// strings among properties, and no reason codes below 0x80 in short answers.
func TestOracle(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for k := connect; k <= auth; k++ {
			if newPacket(k, v) == nil {
				continue
			}
			t.Run(v.String()+" "+k.String(), rapid.MakeCheck(func(t *rapid.T) {
				ours := drawPacket(t, k, v)
				theirs := toMochi(v, ours)

				b, err := Append(nil, v, ours)
				require.NoError(t, err)
				decoded, err := mochiDecode(b, v)
				require.NoError(t, err, "%x", b)
				theirs.FixedHeader.Remaining = decoded.FixedHeader.Remaining
				require.Equal(t, theirs, decoded)

				var buf bytes.Buffer
				theirs.Mods.AllowResponseInfo = true
				require.NoError(t, mochiEncode(&theirs, &buf))
				p, err := readerOf(v, buf.Bytes()).Read()
				require.NoError(t, err, "%x", buf.Bytes())
				require.Equal(t, ours, p)
			}))
		}
	}
}

func mochiDecode(b []byte, v Version) (packets.Packet, error) {
	p := packets.Packet{ProtocolVersion: byte(v)}
	if err := p.FixedHeader.Decode(b[0]); err != nil {
		return p, err
	}
	remaining, n, err := packets.DecodeLength(bytes.NewBuffer(b[1:]))
	if err != nil {
		return p, err
	}
	p.FixedHeader.Remaining = remaining
	decode := [...]func([]byte) error{
		connect: p.ConnectDecode, connack: p.ConnackDecode, publish: p.PublishDecode,
		puback: p.PubackDecode, pubrec: p.PubrecDecode, pubrel: p.PubrelDecode, pubcomp: p.PubcompDecode,
		subscribe: p.SubscribeDecode, suback: p.SubackDecode, unsubscribe: p.UnsubscribeDecode, unsuback: p.UnsubackDecode,
		pingreq: p.PingreqDecode, pingresp: p.PingrespDecode, disconnect: p.DisconnectDecode, auth: p.AuthDecode,
	}
	err = decode[p.FixedHeader.Type](b[1+n:])
	return p, err
}

func mochiEncode(p *packets.Packet, buf *bytes.Buffer) error {
	encode := [...]func(*bytes.Buffer) error{
		connect: p.ConnectEncode, connack: p.ConnackEncode, publish: p.PublishEncode,
		puback: p.PubackEncode, pubrec: p.PubrecEncode, pubrel: p.PubrelEncode, pubcomp: p.PubcompEncode,
		subscribe: p.SubscribeEncode, suback: p.SubackEncode, unsubscribe: p.UnsubscribeEncode, unsuback: p.UnsubackEncode,
		pingreq: p.PingreqEncode, pingresp: p.PingrespEncode, disconnect: p.DisconnectEncode, auth: p.AuthEncode,
	}
	return encode[p.FixedHeader.Type](buf)
}

// toMochi says in their words what p says in ours.
func toMochi(v Version, packet Packet) packets.Packet {
	m := packets.Packet{ProtocolVersion: byte(v)}
	m.FixedHeader.Type = byte(packet.kind())
	if packet.kind().flags() != 0 {
		m.FixedHeader.Qos = 1
	}
	switch p := packet.(type) {
	case *Connect:
		connectToMochi(p, &m)
	case *Connack:
		connackToMochi(p, &m)
	case *Publish:
		m.FixedHeader.Dup, m.FixedHeader.Qos, m.FixedHeader.Retain = p.Dup, byte(p.QoS), p.Retain
		m.TopicName, m.PacketID, m.Payload = p.Topic, p.PacketID, append([]byte{}, p.Payload...)
		m.Properties = publishToMochi(&p.Properties)
	case *Puback:
		answerToMochi(&p.Answer, &m)
	case *Pubrec:
		answerToMochi(&p.Answer, &m)
	case *Pubrel:
		answerToMochi(&p.Answer, &m)
	case *Pubcomp:
		answerToMochi(&p.Answer, &m)
	case *Subscribe:
		m.PacketID = p.PacketID
		m.Properties.User = userToMochi(p.User)
		if p.Identifier != 0 {
			m.Properties.SubscriptionIdentifier = []int{int(p.Identifier)}
		}
		for _, f := range p.Filters {
			m.Filters = append(m.Filters, packets.Subscription{
				Filter: f.Topic, Qos: byte(f.QoS), NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: byte(f.RetainHandling), Identifier: int(p.Identifier),
			})
		}
	case *Suback:
		answerToMochi(&Answer{PacketID: p.PacketID, ReasonString: p.ReasonString, User: p.User}, &m)
		m.ReasonCodes = reasonsToMochi(p.Reasons)
	case *Unsubscribe:
		m.PacketID = p.PacketID
		m.Properties.User = userToMochi(p.User)
		for _, f := range p.Filters {
			m.Filters = append(m.Filters, packets.Subscription{Filter: f})
		}
	case *Unsuback:
		answerToMochi(&Answer{PacketID: p.PacketID, ReasonString: p.ReasonString, User: p.User}, &m)
		m.ReasonCodes = reasonsToMochi(p.Reasons)
	case *Disconnect:
		answerToMochi(&Answer{Reason: p.Reason, ReasonString: p.ReasonString, User: p.User}, &m)
		m.Properties.ServerReference = p.ServerReference
		m.Properties.SessionExpiryInterval, m.Properties.SessionExpiryIntervalFlag = expiryToMochi(p.SessionExpiry)
	case *Auth:
		answerToMochi(&Answer{Reason: p.Reason, ReasonString: p.ReasonString, User: p.User}, &m)
		m.Properties.AuthenticationMethod, m.Properties.AuthenticationData = p.Method, p.Data
	}
	return m
}

func connectToMochi(p *Connect, m *packets.Packet) {
	c := &m.Connect
	c.ProtocolName = []byte("MQTT")
	if p.Version == V31 {
		c.ProtocolName = []byte("MQIsdp")
	}
	c.Clean, c.Keepalive, c.ClientIdentifier = p.CleanStart, uint16(p.KeepAlive/time.Second), p.ClientID
	if p.Username != nil {
		c.UsernameFlag, c.Username = true, []byte(*p.Username)
	}
	c.PasswordFlag, c.Password = p.Password != nil, p.Password
	if w := p.Will; w != nil {
		c.WillFlag, c.WillTopic, c.WillPayload, c.WillQos, c.WillRetain = true, w.Topic, w.Payload, byte(w.QoS), w.Retain
		c.WillProperties = publishToMochi(&w.Properties)
		c.WillProperties.WillDelayInterval = uint32(w.Delay / time.Second)
	}
	q := &m.Properties
	q.SessionExpiryInterval, q.SessionExpiryIntervalFlag = expiryToMochi(p.SessionExpiry)
	q.ReceiveMaximum, q.MaximumPacketSize, q.TopicAliasMaximum = p.ReceiveMaximum, p.MaximumPacket, p.TopicAliasMax
	q.RequestResponseInfo, _ = boolToMochi(&p.RequestResponse)
	q.RequestProblemInfo, q.RequestProblemInfoFlag = boolToMochi(p.RequestProblem)
	q.User, q.AuthenticationMethod, q.AuthenticationData = userToMochi(p.User), p.AuthMethod, p.AuthData
}

func connackToMochi(p *Connack, m *packets.Packet) {
	m.SessionPresent, m.ReasonCode = p.SessionPresent, byte(p.Reason)
	if m.ProtocolVersion != 5 {
		m.ReasonCode = p.Reason.ReturnCode()
	}
	q := &m.Properties
	q.SessionExpiryInterval, q.SessionExpiryIntervalFlag = expiryToMochi(p.SessionExpiry)
	q.ReceiveMaximum, q.MaximumPacketSize, q.TopicAliasMaximum = p.ReceiveMaximum, p.MaximumPacket, p.TopicAliasMax
	if p.MaximumQoS != nil {
		q.MaximumQosFlag, q.MaximumQos = true, byte(*p.MaximumQoS)
	}
	q.RetainAvailable, q.RetainAvailableFlag = boolToMochi(p.RetainAvailable)
	q.WildcardSubAvailable, q.WildcardSubAvailableFlag = boolToMochi(p.WildcardAvailable)
	q.SubIDAvailable, q.SubIDAvailableFlag = boolToMochi(p.IdentifiersAvail)
	q.SharedSubAvailable, q.SharedSubAvailableFlag = boolToMochi(p.SharedAvailable)
	if p.ServerKeepAlive != nil {
		q.ServerKeepAliveFlag, q.ServerKeepAlive = true, uint16(*p.ServerKeepAlive/time.Second)
	}
	q.AssignedClientID, q.ReasonString, q.ResponseInfo, q.ServerReference = p.AssignedClientID, p.ReasonString, p.ResponseInfo, p.ServerReference
	q.User, q.AuthenticationMethod, q.AuthenticationData = userToMochi(p.User), p.AuthMethod, p.AuthData
}

func publishToMochi(p *PublishProperties) packets.Properties {
	q := packets.Properties{
		ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: userToMochi(p.User),
		TopicAlias: p.TopicAlias, TopicAliasFlag: p.TopicAlias != 0,
	}
	if p.PayloadFormat != nil {
		q.PayloadFormatFlag, q.PayloadFormat = true, *p.PayloadFormat
	}
	if p.MessageExpiry != nil {
		q.MessageExpiryInterval = uint32(*p.MessageExpiry / time.Second)
	}
	if p.ContentType != nil {
		q.ContentType = *p.ContentType
	}
	for _, id := range p.Identifiers {
		q.SubscriptionIdentifier = append(q.SubscriptionIdentifier, int(id))
	}
	return q
}

func answerToMochi(a *Answer, m *packets.Packet) {
	m.PacketID, m.ReasonCode = a.PacketID, byte(a.Reason)
	m.Properties.ReasonString, m.Properties.User = a.ReasonString, userToMochi(a.User)
}

func userToMochi(list []UserProperty) []packets.UserProperty {
	var user []packets.UserProperty
	for _, u := range list {
		user = append(user, packets.UserProperty{Key: u.Name, Val: u.Value})
	}
	return user
}

func reasonsToMochi(reasons []ReasonCode) []byte {
	var b []byte
	for _, r := range reasons {
		b = append(b, byte(r))
	}
	return b
}

func expiryToMochi(d *time.Duration) (uint32, bool) {
	switch {
	case d == nil:
		return 0, false
	case *d == Forever:
		return math.MaxUint32, true
	}
	return uint32(*d / time.Second), true
}

func boolToMochi(b *bool) (byte, bool) {
	if b != nil && *b {
		return 1, true
	}
	return 0, b != nil
}
