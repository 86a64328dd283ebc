package mqtt

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestAnswersLeaveInOrderWhateverTheOrderTheyAreDoneIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a answers
		waiting := map[uint64]int{} // number and size of those not done
		added, left, bytes := 0, 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "many") {
					number := a.add(answer{id: uint16(added), size: added % 7})
					waiting[number] = added
					bytes += added % 7
					added++
				}
			},
			"done": func(*rapid.T) {
				for number := range waiting { // in the order of the map
					a.done(number, nil)
					delete(waiting, number)
					if len(waiting)%5 == 0 {
						break
					}
				}
				for x, ok := a.next(); ok; x, ok = a.next() {
					require.Equal(t, uint16(left), x.id)
					bytes -= left % 7
					left++
				}
			},
			"": func(*rapid.T) {
				require.Equal(t, added-left, a.len())
				require.Equal(t, bytes, a.bytes)
			},
		})
	})
}

func TestV7ReplyOverTheClientsSizeEndsTheConnection(t *testing.T) {
	b := newFakeBroker()
	w := dialWire(t, serve(t, b), packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true, MaximumPacket: 20})
	w.send(&packet.Subscribe{PacketID: 1, Filters: make([]packet.Filter, 20)})
	w.expectEnd(packet.ImplementationSpecificError)
}

func TestB3ReasonThatSubackCannotHaveOrNobodyGaveIsAnUnspecifiedOne(t *testing.T) {
	reasons := []packet.ReasonCode{0, packet.TopicFilterInvalid, 0, 0, 0}
	fill(reasons, []packet.ReasonCode{packet.GrantedQoS2, packet.ServerBusy, packet.NotAuthorized}, &packet.Suback{})
	require.Equal(t, []packet.ReasonCode{packet.GrantedQoS2, packet.TopicFilterInvalid, packet.UnspecifiedError, packet.NotAuthorized, packet.UnspecifiedError}, reasons)
}
