package mqtt

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// FuzzConn lets a client say anything: its connection ends when it hangs up,
// and never by a fault of ours.
func FuzzConn(f *testing.F) {
	for _, v := range versions {
		for _, said := range [][]packet.Packet{
			{publish(0, 0), publish(1, 1), publish(2, 2), &packet.Pubrel{Answer: acks(2)}, &packet.Disconnect{}},
			{&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: "a", QoS: 2}}}, publish(2, 1), &packet.Pubrec{Answer: acks(2)}},
			{&packet.Pubcomp{Answer: acks(2)}, &packet.Puback{Answer: acks(1)}, &packet.Pingreq{}},
			{&packet.Unsubscribe{PacketID: 1, Filters: []string{"a", "#a"}}},
		} {
			b, err := packet.Append(nil, v, &packet.Connect{Version: v, ClientID: "c", CleanStart: true})
			require.NoError(f, err)
			for _, p := range said {
				b, err = packet.Append(b, v, p)
				require.NoError(f, err)
			}
			f.Add(b)
		}
	}
	s := &Server{Config: DefaultConfig(), Logger: discardLog}
	s.Broker = brokerFunc(func(peer Peer, _ *Connect) (Connected, error) {
		go func() {
			for token := uint64(1); token <= 3; token++ {
				peer.Offer(Delivery{Message: message("a", "x"), Token: token, QoS: packet.QoS(token % 3), Attempt: 1})
			}
			peer.State()
		}()
		return Connected{Session: leanSession{peer}}, nil
	})
	f.Fuzz(func(t *testing.T, said []byte) {
		near, far := net.Pipe()
		go func() {
			_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, _ = near.Write(said)
			near.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		err := newConn(s, far).run(t.Context())
		if e, ok := errors.AsType[*Error](err); ok && e.Err != nil {
			require.False(t, strings.HasPrefix(e.Err.Error(), "panic"), "%v", err)
		}
	})
}
