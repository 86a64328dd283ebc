package mqtt

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// joined connects a client with a clean start.
func joined(t *testing.T, b *fakeBroker, v packet.Version, change ...func(*Config)) (*wire, *fakeSession) {
	t.Helper()
	w := dialWire(t, serve(t, b, change...), v)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
	return w, <-b.connected
}

func publish(qos packet.QoS, id uint16) *packet.Publish {
	return &packet.Publish{Topic: "a", QoS: qos, PacketID: id}
}

func TestP3AcknowledgementsLeaveInTheOrderOfThePublishes(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			b := newFakeBroker()
			pending := make(chan func(error), 10)
			b.publish = func(_ *packet.Publish, done func(error)) { pending <- done }
			w, _ := joined(t, b, v)
			w.send(publish(1, 5), publish(2, 4), publish(1, 3), publish(2, 2))
			var dones []func(error)
			for range 4 {
				dones = append(dones, <-pending)
			}
			for _, i := range []int{3, 1, 2, 0} {
				go dones[i](nil)
			}
			w.expect(
				&packet.Puback{Answer: acks(5)}, &packet.Pubrec{Answer: acks(4)},
				&packet.Puback{Answer: acks(3)}, &packet.Pubrec{Answer: acks(2)},
			)
		})
	}
}

func TestP1QoS2IsPublishedOnceHoweverOftenItIsSent(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			b := newFakeBroker()
			w, session := joined(t, b, v)
			again := publish(2, 7)
			again.Dup = true
			w.send(publish(2, 7))
			w.expect(&packet.Pubrec{Answer: acks(7)})
			w.send(again)
			w.expect(&packet.Pubrec{Answer: acks(7)})
			w.send(&packet.Pubrel{Answer: acks(7)})
			w.expect(&packet.Pubcomp{Answer: acks(7)})
			require.Len(t, session.published, 1)
			w.send(publish(2, 7)) // the identifier is free again
			w.expect(&packet.Pubrec{Answer: acks(7)})
			require.Len(t, session.published, 2)
		})
	}
}

func TestClientThatSendsAndLeavesAtOnceLosesNothing(t *testing.T) {
	const n = 300
	b := newFakeBroker()
	address := serve(t, b)
	for range 10 {
		w := dialWire(t, address, packet.V311)
		packets := []packet.Packet{&packet.Connect{Version: w.v, ClientID: "c", CleanStart: true}}
		for id := range uint16(n) {
			packets = append(packets, publish(1, id+1))
		}
		w.send(append(packets, &packet.Disconnect{})...)
		require.NoError(t, w.nc.Close()) // CONNACK and PUBACKs find nobody
		session := <-b.connected
		require.NoError(t, (<-session.ended).Cause)
		require.Len(t, session.published, n)
	}
}

func TestE2QoS2ReceiptsOutliveTheConnection(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	connect := &packet.Connect{ClientID: "c"}
	w := dialWire(t, address, packet.V311)
	w.join(connect)
	w.send(publish(2, 7), publish(2, 8))
	w.expect(&packet.Pubrec{Answer: acks(7)}, &packet.Pubrec{Answer: acks(8)})
	w.send(&packet.Pubrel{Answer: acks(8)})
	w.expect(&packet.Pubcomp{Answer: acks(8)})
	w.nc.Close()
	<-(<-b.connected).ended

	w = dialWire(t, address, packet.V311)
	require.True(t, w.join(connect).SessionPresent)
	session := <-b.connected
	again := publish(2, 7)
	again.Dup = true
	w.send(again)
	w.expect(&packet.Pubrec{Answer: acks(7)})
	require.Empty(t, session.published)
	w.send(&packet.Pubrel{Answer: acks(7)})
	w.expect(&packet.Pubcomp{Answer: acks(7)})
	w.send(publish(2, 8))
	w.expect(&packet.Pubrec{Answer: acks(8)})
	require.Len(t, session.published, 1)
}

func TestP1PubcompWaitsForTheBrokerToForget(t *testing.T) {
	b := newFakeBroker()
	forgotten := make(chan func(error), 1)
	b.forget = func(id uint16, done func(error)) {
		require.Equal(t, uint16(7), id)
		forgotten <- done
	}
	w, _ := joined(t, b, packet.V5)
	w.send(publish(2, 7))
	w.expect(&packet.Pubrec{Answer: acks(7)})
	w.send(&packet.Pubrel{Answer: acks(7)}, &packet.Pingreq{})
	w.expect(&packet.Pingresp{}) // and no PUBCOMP
	(<-forgotten)(nil)
	w.expect(&packet.Pubcomp{Answer: acks(7)})
}

func TestP1PubrelOfAnUnknownIdentifier(t *testing.T) {
	for _, v := range versions {
		w, _ := joined(t, newFakeBroker(), v)
		w.send(&packet.Pubrel{Answer: acks(7)})
		want := &packet.Pubcomp{Answer: acks(7)}
		if v == packet.V5 {
			want.Reason = packet.PacketIdentifierNotFound
		}
		w.expect(want)
	}
}

func TestP11RefusedPublish(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		v5   packet.ReasonCode
		v3   bool // it is acknowledged all the same
	}{
		{"not authorized", &Error{Reason: packet.NotAuthorized}, packet.NotAuthorized, true},
		{"a topic the broker does not take", &Error{Reason: packet.TopicNameInvalid}, packet.TopicNameInvalid, true},
		{"quota exceeded", &Error{Reason: packet.QuotaExceeded}, packet.QuotaExceeded, false},
		{"a reason that PUBACK cannot have", &Error{Reason: packet.ServerUnavailable}, packet.UnspecifiedError, false},
		{"an error without a reason", errors.New("disk full"), packet.UnspecifiedError, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBroker()
			b.publish = func(_ *packet.Publish, done func(error)) { done(test.err) }
			w, _ := joined(t, b, packet.V5)
			w.send(publish(1, 1), publish(2, 2), publish(2, 2)) // PUBREC with an error frees the identifier: P5
			refused := packet.Answer{PacketID: 2, Reason: test.v5}
			w.expect(
				&packet.Puback{Answer: packet.Answer{PacketID: 1, Reason: test.v5}},
				&packet.Pubrec{Answer: refused}, &packet.Pubrec{Answer: refused},
			)
			for qos := packet.QoS(1); qos <= 2; qos++ {
				w, _ = joined(t, b, packet.V311)
				w.send(publish(qos, 1))
				switch {
				case !test.v3:
					w.expectEnd(0)
				case qos == 1:
					w.expect(&packet.Puback{Answer: acks(1)})
				default:
					w.expect(&packet.Pubrec{Answer: acks(1)})
					w.send(&packet.Pubrel{Answer: acks(1)})
					w.expect(&packet.Pubcomp{Answer: acks(1)})
				}
			}
		})
	}
}

func TestP8NoMatchingSubscribersIsTold(t *testing.T) {
	b := newFakeBroker()
	b.publish = func(_ *packet.Publish, done func(error)) { done(&Error{Reason: packet.NoMatchingSubscribers}) }
	w, _ := joined(t, b, packet.V5)
	w.send(publish(1, 1), publish(2, 2))
	w.expect(
		&packet.Puback{Answer: packet.Answer{PacketID: 1, Reason: packet.NoMatchingSubscribers}},
		&packet.Pubrec{Answer: packet.Answer{PacketID: 2, Reason: packet.NoMatchingSubscribers}},
	)
	w.send(&packet.Pubrel{Answer: acks(2)})
	w.expect(&packet.Pubcomp{Answer: acks(2)})
}

func TestP6P7WhatEndsAConnection(t *testing.T) {
	alias := func(alias uint16, topic string) *packet.Publish {
		return &packet.Publish{Topic: topic, Properties: packet.PublishProperties{TopicAlias: alias}}
	}
	for _, test := range []struct {
		name   string
		sent   string // or
		packet packet.Packet
		reason packet.ReasonCode
	}{
		{"a topic with a wildcard", "3006 0003 612f23 00", nil, packet.TopicNameInvalid},
		{"a topic with a null character", "3005 0002 6100 00", nil, packet.MalformedPacket},
		{"neither topic nor alias", "3003 0000 00", nil, packet.ProtocolError},
		{"QoS 3", "3606 0001 61 0001 00", nil, packet.MalformedPacket},
		{"an alias over the maximum", "", alias(101, "a"), packet.TopicAliasInvalid},
		{"an alias nobody has set", "", alias(1, ""), packet.ProtocolError},
		{"a subscription identifier", "", &packet.Publish{Topic: "a", Properties: packet.PublishProperties{Identifiers: []uint32{1}}}, packet.ProtocolError},
		{"a packet of the server", "", &packet.Pingresp{}, packet.ProtocolError},
		{"a reserved packet type", "0000", nil, packet.MalformedPacket},
		{"no local on a shared subscription", "8210 0001 00 000a 2473686172652f672f61 05", nil, packet.ProtocolError},
		{"PUBREL before PUBREC", "", nil, packet.ProtocolError},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBroker()
			b.publish = func(*packet.Publish, func(error)) {}
			w, session := joined(t, b, packet.V5)
			switch {
			case test.packet != nil:
				w.send(test.packet)
			case test.sent != "":
				w.sendBytes(unhex(t, test.sent))
			default:
				w.send(publish(2, 1), &packet.Pubrel{Answer: acks(1)})
			}
			w.expectEnd(test.reason)
			require.True(t, (<-session.ended).Will)
		})
	}
}

func TestP10PayloadIsOpaque(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	w.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: "a"}}})
	w.expect(&packet.Suback{PacketID: 1, Reasons: []packet.ReasonCode{0}})
	for _, payload := range [][]byte{nil, {0}, {0xFF, 0xFE}, bytes.Repeat([]byte{0xC3}, minReference), make([]byte, 3<<20)} {
		w.send(&packet.Publish{Topic: "a", Payload: payload})
		require.Len(t, (<-session.published).Payload, len(payload))
		p, err := w.in.Read()
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, p.(*packet.Publish).Payload))
	}
}

func TestV1V2V3PropertiesReachTheBroker(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	want := &packet.Publish{
		Topic: "a", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("hé"),
		Properties: packet.PublishProperties{
			PayloadFormat:   new(uint8(1)),
			MessageExpiry:   new(time.Minute),
			ResponseTopic:   "answers",
			CorrelationData: []byte{0, 1},
			ContentType:     new("text/plain"),
			User:            []packet.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "3"}},
		},
	}
	w.send(want)
	require.Equal(t, want, <-session.published)
}

func TestV2PayloadThatIsNotTheUTF8ItSaysIsRefused(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	broken := func(qos packet.QoS, id uint16) *packet.Publish {
		return &packet.Publish{
			Topic: "a", QoS: qos, PacketID: id, Payload: []byte{0xFF},
			Properties: packet.PublishProperties{PayloadFormat: new(uint8(1))},
		}
	}
	w.send(broken(0, 0), broken(1, 1), broken(2, 2))
	w.expect(
		&packet.Puback{Answer: packet.Answer{PacketID: 1, Reason: packet.PayloadFormatInvalid}},
		&packet.Pubrec{Answer: packet.Answer{PacketID: 2, Reason: packet.PayloadFormatInvalid}},
	)
	require.Empty(t, session.published)
}

func TestV5AliasesOfTheClient(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	send := func(alias uint16, topic string) string {
		w.send(&packet.Publish{Topic: topic, Properties: packet.PublishProperties{TopicAlias: alias}})
		p := <-session.published
		require.Zero(t, p.Properties.TopicAlias)
		return p.Topic
	}
	require.Equal(t, "a/b", send(1, "a/b"))
	require.Equal(t, "c/d", send(100, "c/d"))
	require.Equal(t, "a/b", send(1, ""))
	require.Equal(t, "c/d", send(100, ""))
	require.Equal(t, "e/f", send(1, "e/f"))
	require.Equal(t, "e/f", send(1, ""))
}

func TestV7PacketOverTheAnnouncedSizeEndsTheConnection(t *testing.T) {
	w, _ := joined(t, newFakeBroker(), packet.V5, func(c *Config) { c.MaxMessage = 1024 })
	w.send(&packet.Publish{Topic: "a", Payload: make([]byte, 1024-7)}) // 1,024 bytes in all
	w.send(&packet.Pingreq{})
	w.expect(&packet.Pingresp{})
	w.send(&packet.Publish{Topic: "a", Payload: make([]byte, 1024-6)})
	w.expectEnd(packet.PacketTooLarge)
}

func TestF1ReceiveMaximumOfTheServer(t *testing.T) {
	b := newFakeBroker()
	pending := make(chan func(error), 10)
	b.publish = func(p *packet.Publish, done func(error)) {
		if p.QoS == 1 {
			pending <- done
		} else {
			done(nil)
		}
	}
	two := func(c *Config) { c.ReceiveMaximum = 2 }

	t.Run("a publish counts until PUBACK", func(t *testing.T) {
		w, _ := joined(t, b, packet.V5, two)
		w.send(publish(1, 1), publish(1, 2))
		(<-pending)(nil)
		w.expect(&packet.Puback{Answer: acks(1)})
		w.send(publish(1, 3), publish(1, 4))
		w.expectEnd(packet.ReceiveMaximumExceeded)
	})
	t.Run("a publish counts until PUBCOMP", func(t *testing.T) {
		w, _ := joined(t, b, packet.V5, two)
		w.send(publish(2, 1), publish(2, 2))
		w.expect(&packet.Pubrec{Answer: acks(1)}, &packet.Pubrec{Answer: acks(2)})
		w.send(&packet.Pubrel{Answer: acks(1)})
		w.expect(&packet.Pubcomp{Answer: acks(1)})
		w.send(publish(2, 3))
		w.expect(&packet.Pubrec{Answer: acks(3)})
		w.send(publish(2, 4))
		w.expectEnd(packet.ReceiveMaximumExceeded)
	})
	t.Run("3.1.1 has no such limit", func(t *testing.T) {
		w, _ := joined(t, b, packet.V311, two)
		for id := range uint16(10) {
			w.send(publish(2, id+1))
			w.expect(&packet.Pubrec{Answer: acks(id + 1)})
		}
	})
}

func TestB3B9FiltersAreAnsweredOneByOne(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			w, _ := joined(t, newFakeBroker(), v)
			w.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{
				{Topic: "a", QoS: 2}, {Topic: "a#", QoS: 1}, {Topic: "b/#", QoS: 1}, {Topic: "$share//x"}, {Topic: "c"},
			}})
			invalid := packet.TopicFilterInvalid
			if v != packet.V5 {
				invalid = packet.UnspecifiedError
			}
			w.expect(&packet.Suback{PacketID: 1, Reasons: []packet.ReasonCode{2, invalid, 1, invalid, 0}})
			w.send(&packet.Subscribe{PacketID: 2, Filters: []packet.Filter{{Topic: "#a"}}})
			w.expect(&packet.Suback{PacketID: 2, Reasons: []packet.ReasonCode{invalid}})

			w.send(&packet.Unsubscribe{PacketID: 3, Filters: []string{"a", "a#", "x"}})
			w.send(&packet.Unsubscribe{PacketID: 4, Filters: []string{"a#"}})
			if v == packet.V5 {
				w.expect(
					&packet.Unsuback{PacketID: 3, Reasons: []packet.ReasonCode{0, packet.TopicFilterInvalid, packet.NoSubscriptionExisted}},
					&packet.Unsuback{PacketID: 4, Reasons: []packet.ReasonCode{packet.TopicFilterInvalid}},
				)
			} else {
				w.expect(&packet.Unsuback{PacketID: 3}, &packet.Unsuback{PacketID: 4})
			}
		})
	}
}

func TestV6WithoutProblemInformationNoReasonIsExplained(t *testing.T) {
	b := newFakeBroker()
	b.publish = func(_ *packet.Publish, done func(error)) { done(&Error{Reason: packet.NotAuthorized, Text: "why"}) }
	address := serve(t, b)
	for _, asked := range []*bool{nil, new(true), new(false)} {
		w := dialWire(t, address, packet.V5)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true, RequestProblem: asked, RequestResponse: true})
		w.send(publish(1, 1))
		want := packet.Answer{PacketID: 1, Reason: packet.NotAuthorized, ReasonString: "why"}
		if asked != nil && !*asked {
			want.ReasonString = ""
		}
		w.expect(&packet.Puback{Answer: want})
	}
}
