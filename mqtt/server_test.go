package mqtt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestP1PublishAtEachQoSReachesASubscriber(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			address := serve(t, newFakeBroker())
			to := dialWire(t, address, v)
			require.Equal(t, connack(v), to.join(&packet.Connect{ClientID: "to", CleanStart: true}))
			to.send(&packet.Subscribe{PacketID: 7, Filters: []packet.Filter{{Topic: "a/b", QoS: 2}}})
			to.expect(&packet.Suback{PacketID: 7, Reasons: []packet.ReasonCode{2}})

			from := dialWire(t, address, v)
			from.join(&packet.Connect{ClientID: "from", CleanStart: true})
			from.send(
				&packet.Publish{Topic: "a/b", Payload: []byte("zero")},
				&packet.Publish{Topic: "a/b", QoS: 1, PacketID: 1, Payload: []byte("one")},
				&packet.Publish{Topic: "a/b", QoS: 2, PacketID: 2, Payload: []byte("two")},
			)
			from.expect(&packet.Puback{Answer: acks(1)}, &packet.Pubrec{Answer: acks(2)})
			from.send(&packet.Pubrel{Answer: acks(2)})
			from.expect(&packet.Pubcomp{Answer: acks(2)})

			to.expect(
				&packet.Publish{Topic: "a/b", Payload: []byte("zero")},
				&packet.Publish{Topic: "a/b", QoS: 1, PacketID: 2, Payload: []byte("one")},
				&packet.Publish{Topic: "a/b", QoS: 2, PacketID: 3, Payload: []byte("two")},
			)
			to.send(&packet.Puback{Answer: acks(2)}, &packet.Pubrec{Answer: acks(3)})
			to.expect(&packet.Pubrel{Answer: acks(3)})
			to.send(&packet.Pubcomp{Answer: acks(3)})
		})
	}
}
