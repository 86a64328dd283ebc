package mqtt

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func message(topic, payload string) *Message { return &Message{Topic: topic, Payload: []byte(payload)} }

func TestE4RedeliveryKeepsItsIdentifierAndSaysDup(t *testing.T) {
	const high = 1 << 63
	for _, test := range []struct {
		name  string
		token uint64
		id    uint16
	}{
		{"the first token", 0, 1},
		{"a token beyond the identifiers", 65535 + 41, 42},
		{"the largest identifier", 65534, 65535},
		{"a token without an identifier of its own", high | 5, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBroker()
			address := serve(t, b)
			connect := &packet.Connect{ClientID: "c"}
			for attempt := 1; attempt <= 2; attempt++ {
				w := dialWire(t, address, packet.V311)
				w.join(connect)
				session := <-b.connected
				if attempt == 2 && test.token >= high {
					require.True(t, session.peer.Offer(Delivery{Message: message("b", ""), Token: high | 6, QoS: 1, Attempt: 1}))
					w.expect(&packet.Publish{Topic: "b", QoS: 1, PacketID: 2})
				}
				require.True(t, session.peer.Offer(Delivery{Message: message("a", ""), Token: test.token, QoS: 2, Attempt: attempt}))
				w.expect(&packet.Publish{Topic: "a", QoS: 2, PacketID: test.id, Dup: attempt > 1})
				w.nc.Close()
				<-session.ended
			}
			w := dialWire(t, address, packet.V311)
			w.join(connect)
			session := <-b.connected
			require.True(t, session.peer.Offer(Delivery{Token: test.token, QoS: 2, Attempt: 3, Released: true}))
			w.expect(&packet.Pubrel{Answer: acks(test.id)})
			w.send(&packet.Pubcomp{Answer: acks(test.id)})
			require.Equal(t, settlement{token: test.token}, <-session.settled)
		})
	}
}

func TestP1DeliveryAtQoS2(t *testing.T) {
	b := newFakeBroker()
	released := make(chan func(error), 10)
	b.release = func(_ uint64, done func(error)) { released <- done }
	w, session := joined(t, b, packet.V5)
	offer := func(token uint64) {
		require.True(t, session.peer.Offer(Delivery{Message: message("a", "x"), Token: token, QoS: 2, Attempt: 1}))
		w.expect(&packet.Publish{Topic: "a", QoS: 2, PacketID: uint16(token + 1), Payload: []byte("x")})
	}
	offer(1)
	offer(2)
	w.send(&packet.Pubrec{Answer: acks(2)}, &packet.Pubrec{Answer: acks(3)}, &packet.Pubrec{Answer: acks(2)})
	first, second := <-released, <-released
	second(nil)
	first(nil)
	w.expect(&packet.Pubrel{Answer: acks(2)}, &packet.Pubrel{Answer: acks(3)}) // in the order of PUBREC
	require.Empty(t, session.settled)
	w.send(&packet.Pubrec{Answer: acks(2)})
	w.expect(&packet.Pubrel{Answer: acks(2)})
	w.send(&packet.Pubcomp{Answer: acks(2)}, &packet.Pubcomp{Answer: acks(3)})
	require.Equal(t, settlement{token: 1}, <-session.settled)
	require.Equal(t, settlement{token: 2}, <-session.settled)
}

func TestP1AcknowledgementOfAnUnknownIdentifier(t *testing.T) {
	for _, v := range versions {
		w, session := joined(t, newFakeBroker(), v)
		w.send(&packet.Puback{Answer: acks(9)}, &packet.Pubcomp{Answer: acks(9)}, &packet.Pubrec{Answer: acks(9)})
		want := &packet.Pubrel{Answer: acks(9)}
		if v == packet.V5 {
			want.Reason = packet.PacketIdentifierNotFound
		}
		w.expect(want)
		require.Empty(t, session.settled)
	}
}

func TestP1WrongAcknowledgementIsAProtocolError(t *testing.T) {
	for name, wrong := range map[string]packet.Packet{
		"PUBACK at QoS 2":       &packet.Puback{Answer: acks(2)},
		"PUBCOMP before PUBREC": &packet.Pubcomp{Answer: acks(2)},
	} {
		t.Run(name, func(t *testing.T) {
			w, session := joined(t, newFakeBroker(), packet.V5)
			require.True(t, session.peer.Offer(Delivery{Message: message("a", ""), Token: 1, QoS: 2, Attempt: 1}))
			w.expect(&packet.Publish{Topic: "a", QoS: 2, PacketID: 2})
			w.send(wrong)
			w.expectEnd(packet.ProtocolError)
			require.Empty(t, session.settled)
		})
	}
}

func TestP5RefusalOfTheClientSettlesWithItsReason(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	refused := packet.Answer{PacketID: 2, Reason: packet.QuotaExceeded, ReasonString: "full"}
	for qos, p := range map[packet.QoS]packet.Packet{1: &packet.Puback{Answer: refused}, 2: &packet.Pubrec{Answer: refused}} {
		require.True(t, session.peer.Offer(Delivery{Message: message("a", ""), Token: 1, QoS: qos, Attempt: 1}))
		w.expect(&packet.Publish{Topic: "a", QoS: qos, PacketID: 2})
		w.send(p)
		require.Equal(t, settlement{1, &Error{Reason: packet.QuotaExceeded, Text: "full"}}, <-session.settled)
	}
}

func TestStepThatTheBrokerCannotPersistEndsTheConnection(t *testing.T) {
	failed := func(done func(error)) { done(errors.New("disk full")) }
	for _, v := range versions {
		b := newFakeBroker()
		b.release = func(_ uint64, done func(error)) { failed(done) }
		b.forget = func(_ uint16, done func(error)) { failed(done) }
		w, session := joined(t, b, v)
		require.True(t, session.peer.Offer(Delivery{Message: message("a", ""), Token: 1, QoS: 2, Attempt: 1}))
		w.expect(&packet.Publish{Topic: "a", QoS: 2, PacketID: 2})
		w.send(&packet.Pubrec{Answer: acks(2)})
		w.expectEnd(packet.UnspecifiedError)

		w, _ = joined(t, b, v)
		w.send(publish(2, 1))
		w.expect(&packet.Pubrec{Answer: acks(1)})
		w.send(&packet.Pubrel{Answer: acks(1)})
		w.expectEnd(packet.UnspecifiedError)
	}
}

func TestF1ReceiveMaximumOfTheClient(t *testing.T) {
	b := newFakeBroker()
	w := dialWire(t, serve(t, b, func(c *Config) { c.MaxInflight = 50 }), packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true, ReceiveMaximum: 2})
	session := <-b.connected
	require.Equal(t, 2, session.connect.ReceiveMaximum)
	offer := func(token uint64, qos packet.QoS) bool {
		return session.peer.Offer(Delivery{Message: message("a", ""), Token: token, QoS: qos, Attempt: 1})
	}
	require.True(t, offer(1, 1))
	require.True(t, offer(2, 2))
	require.False(t, offer(3, 1))
	require.True(t, offer(0, 0))
	w.expect(
		&packet.Publish{Topic: "a", QoS: 1, PacketID: 2}, &packet.Publish{Topic: "a", QoS: 2, PacketID: 3},
		&packet.Publish{Topic: "a"},
	)
	w.send(&packet.Pubrec{Answer: acks(3)})
	w.expect(&packet.Pubrel{Answer: acks(3)})
	require.False(t, offer(3, 1))
	w.send(&packet.Puback{Answer: acks(2)})
	<-session.ready
	require.True(t, offer(3, 1))
	w.expect(&packet.Publish{Topic: "a", QoS: 1, PacketID: 4})
	require.False(t, offer(4, 1))
	w.send(&packet.Pubcomp{Answer: acks(3)})
	<-session.ready
	require.True(t, offer(4, 1))
}

func TestP1IdentifierInUseIsRefusedUntilItIsFree(t *testing.T) {
	w, session := joined(t, newFakeBroker(), packet.V5)
	offer := func(token uint64) bool {
		return session.peer.Offer(Delivery{Message: message("a", ""), Token: token, QoS: 1, Attempt: 1})
	}
	require.True(t, offer(1))
	require.False(t, offer(1+65535))
	w.expect(&packet.Publish{Topic: "a", QoS: 1, PacketID: 2})
	w.send(&packet.Puback{Answer: acks(2)})
	for !offer(1 + 65535) {
		<-session.ready
	}
	w.expect(&packet.Publish{Topic: "a", QoS: 1, PacketID: 2})
}

func TestOfferBeforeConnackIsRefusedAndAskedForAgain(t *testing.T) {
	b := newFakeBroker()
	early := make(chan bool, 1)
	broker := brokerFunc(func(peer Peer, connect *Connect) (Connected, error) {
		early <- peer.Offer(Delivery{Message: message("a", ""), Token: 1, QoS: 1, Attempt: 1})
		return b.Connect(t.Context(), peer, connect)
	})
	w := dialWire(t, serve(t, broker), packet.V5)
	require.Equal(t, connack(packet.V5), w.join(&packet.Connect{ClientID: "c", CleanStart: true}))
	require.False(t, <-early)
	<-(<-b.connected).ready
}

func TestF2SlowClientLosesOnlyQoS0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		s := newServer(t, b)
		w, _ := pipe(t, s, packet.V5)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		session := <-b.connected
		large := &Message{Topic: "a", Payload: make([]byte, 100<<10)}
		taken := 0
		for session.peer.Offer(Delivery{Message: large, Attempt: 1}) {
			taken++
		}
		require.Equal(t, 11, taken) // the first over 1 MiB is the last
		require.False(t, session.peer.Offer(Delivery{Message: large, Token: 1, QoS: 1, Attempt: 1}))
		require.Equal(t, int64(2), s.Stats().Denied)
		for read := range taken {
			synctest.Wait()
			if read <= 5 || read >= 8 { // between, it depends on how the writes fell
				require.Equal(t, read >= 8, len(session.ready) > 0, "after %d", read)
			}
			_, err := w.in.Read()
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Len(t, session.ready, 1)
		require.True(t, session.peer.Offer(Delivery{Message: large, Token: 1, QoS: 1, Attempt: 1}))
		_, err := w.in.Read()
		require.NoError(t, err)
	})
}

func TestB7V1PropertiesAndIdentifiersReachTheClient(t *testing.T) {
	m := &Message{Topic: "a", Payload: []byte("x"), Properties: packet.PublishProperties{
		PayloadFormat:   new(uint8(1)),
		ResponseTopic:   "answers",
		CorrelationData: []byte{0, 1},
		ContentType:     new(""),
		User:            []packet.UserProperty{{Name: "b", Value: "1"}, {Name: "b", Value: "1"}, {Name: "a", Value: ""}},
	}}
	w, session := joined(t, newFakeBroker(), packet.V5)
	require.True(t, session.peer.Offer(Delivery{Message: m, Retain: true, Identifiers: []uint32{1, 300, 268435455}, Attempt: 1}))
	want := &packet.Publish{Topic: "a", Payload: []byte("x"), Retain: true, Properties: m.Properties}
	want.Properties.Identifiers = []uint32{1, 300, 268435455}
	w.expect(want)

	w, session = joined(t, newFakeBroker(), packet.V311)
	require.True(t, session.peer.Offer(Delivery{Message: m, Identifiers: []uint32{1}, Attempt: 1}))
	w.expect(&packet.Publish{Topic: "a", Payload: []byte("x")})
}

func TestV4MessageExpiryIsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		s := newServer(t, b)
		w, _ := pipe(t, s, packet.V5)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		session := <-b.connected
		m := &Message{Topic: "a", Expires: time.Now().Add(time.Minute)}
		expect := func(left time.Duration) {
			t.Helper()
			w.expect(&packet.Publish{Topic: "a", Properties: packet.PublishProperties{MessageExpiry: &left}})
		}
		require.True(t, session.peer.Offer(Delivery{Message: m, Attempt: 1}))
		expect(time.Minute)
		<-time.After(10*time.Second + time.Millisecond)
		require.True(t, session.peer.Offer(Delivery{Message: m, Attempt: 1}))
		expect(50 * time.Second)
		<-time.After(time.Minute)
		require.True(t, session.peer.Offer(Delivery{Message: m, Token: 5, QoS: 1, Attempt: 1}))
		require.Equal(t, settlement{token: 5}, <-session.settled)
		require.Equal(t, int64(1), s.Stats().Expired)

		// What was sent before is sent again: it is the client's already.
		require.True(t, session.peer.Offer(Delivery{Message: m, Token: 6, QoS: 1, Attempt: 2}))
		w.expect(&packet.Publish{
			Topic: "a", QoS: 1, Dup: true, PacketID: 7,
			Properties: packet.PublishProperties{MessageExpiry: new(time.Duration(0))},
		})
	})
}

func TestV5AliasesForTheClient(t *testing.T) {
	b := newFakeBroker()
	w := dialWire(t, serve(t, b), packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true, TopicAliasMax: 2, MaximumPacket: 100})
	session := <-b.connected
	expect := func(topic, payload string, wantTopic string, wantAlias uint16) {
		t.Helper()
		require.True(t, session.peer.Offer(Delivery{Message: message(topic, payload), Attempt: 1}))
		if wantTopic != "" || wantAlias != 0 {
			w.expect(&packet.Publish{Topic: wantTopic, Payload: []byte(payload), Properties: packet.PublishProperties{TopicAlias: wantAlias}})
		}
	}
	expect("topic/one", "x", "topic/one", 1)
	expect("topic/one", "x", "", 1)
	expect("short", "x", "short", 0)
	expect("topic/two", string(make([]byte, 100)), "", 0) // too large: it gives no alias
	expect("topic/two", "x", "topic/two", 2)
	expect("topic/three", "x", "topic/three", 0)
	expect("topic/two", "x", "", 2)
}

func TestV7DeliveryOverTheClientsSizeIsDroppedAsIfSent(t *testing.T) {
	b := newFakeBroker()
	s, address, stop := serveUntil(t, b)
	defer stop()
	w := dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true, MaximumPacket: 30})
	session := <-b.connected
	for i, test := range []struct {
		payload int
		arrives bool
	}{{22, true}, {23, false}} { // two bytes of header, three of topic, two of identifier, one of properties
		token := uint64(i)
		require.True(t, session.peer.Offer(Delivery{Message: message("a", string(make([]byte, test.payload))), Token: token, QoS: 1, Attempt: 1}))
		if test.arrives {
			w.expect(&packet.Publish{Topic: "a", QoS: 1, PacketID: uint16(token + 1), Payload: make([]byte, test.payload)})
			w.send(&packet.Puback{Answer: acks(uint16(token + 1))})
		}
		require.Equal(t, settlement{token: token}, <-session.settled)
	}
	require.Equal(t, int64(1), s.Stats().Undeliverable)
	w.nc.Close()
	<-session.ended
}

func TestOneMessageIsEncodedOncePerVersion(t *testing.T) {
	m := message("a", "x")
	m.Properties.User = []packet.UserProperty{{Name: "n", Value: "v"}}
	for i, vs := range [][]packet.Version{{packet.V31, packet.V311}, {packet.V5}} {
		for _, v := range vs {
			_, err := m.encoded(v)
			require.NoError(t, err)
		}
		first := m.shared[i].Load()
		_, err := m.encoded(vs[0])
		require.NoError(t, err)
		require.Same(t, first, m.shared[i].Load())
	}
}
