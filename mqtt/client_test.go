package mqtt

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func TestClientExchangesMessagesInEachVersionAndQoS(t *testing.T) {
	address := serve(t, newFakeBroker())
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			received := make(chan *packet.Publish, 10)
			c, err := Dial(t.Context(), address, Options{
				Connect: packet.Connect{Version: v, ClientID: "c" + v.String(), CleanStart: true},
				Receive: func(p *packet.Publish, done func(error)) {
					received <- p
					if done != nil {
						done(nil)
					}
				},
			})
			require.NoError(t, err)
			granted, err := c.Subscribe(t.Context(), packet.Filter{Topic: "x/#", QoS: 2})
			require.NoError(t, err)
			require.Equal(t, []packet.ReasonCode{packet.GrantedQoS2}, granted)
			for qos := range packet.QoS(3) {
				require.NoError(t, c.Publish(t.Context(), &packet.Publish{Topic: "x/y", QoS: qos, Payload: []byte{byte(qos)}}))
				p := <-received
				require.Equal(t, "x/y", p.Topic)
				require.Equal(t, qos, p.QoS)
				require.Equal(t, []byte{byte(qos)}, p.Payload)
			}
			_, err = c.Unsubscribe(t.Context(), "x/#")
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.ErrorIs(t, c.Publish(t.Context(), &packet.Publish{Topic: "x"}), ErrClosed)
		})
	}
}

func TestClientReportsRefusals(t *testing.T) {
	b := newFakeBroker()
	b.publish = func(_ *packet.Publish, done func(error)) { done(&Error{Reason: packet.QuotaExceeded, Text: "full"}) }
	b.connect = func(c *Connect) (Connected, error) {
		if c.Username == "nobody" {
			return Connected{}, &Error{Reason: packet.BadUserNameOrPassword}
		}
		return Connected{}, nil
	}
	address := serve(t, b)
	user := "nobody"
	_, err := Dial(t.Context(), address, Options{Connect: packet.Connect{CleanStart: true, Username: &user}})
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, packet.BadUserNameOrPassword, refused.Reason)

	c, err := Dial(t.Context(), address, Options{Connect: packet.Connect{CleanStart: true}})
	require.NoError(t, err)
	for qos := packet.QoS(1); qos <= 2; qos++ {
		require.ErrorAs(t, c.Publish(t.Context(), &packet.Publish{Topic: "x", QoS: qos}), &refused)
		require.Equal(t, packet.QuotaExceeded, refused.Reason)
		require.Equal(t, "full", refused.Text)
	}
	require.NoError(t, c.Close())
}

func TestClientWaitsForRoomInTheServersWindow(t *testing.T) {
	b := newFakeBroker()
	pending := make(chan func(error), 10)
	b.publish = func(_ *packet.Publish, done func(error)) { pending <- done }
	c, err := Dial(t.Context(), serve(t, b, func(c *Config) { c.ReceiveMaximum = 2 }), Options{Connect: packet.Connect{CleanStart: true}})
	require.NoError(t, err)
	results := make(chan error, 10)
	publish := func(ctx context.Context) error {
		return c.PublishAsync(ctx, &packet.Publish{Topic: "x", QoS: 1}, func(err error) { results <- err })
	}
	require.NoError(t, publish(t.Context()))
	require.NoError(t, publish(t.Context()))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, publish(canceled), context.Canceled)
	(<-pending)(nil)
	require.NoError(t, publish(t.Context()))
	require.NoError(t, <-results)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-results, ErrClosed)
	require.ErrorIs(t, <-results, ErrClosed)
	<-(<-b.connected).ended
}

func TestClientLearnsWhyTheServerEndsIt(t *testing.T) {
	b := newFakeBroker()
	c, err := Dial(t.Context(), serve(t, b), Options{Connect: packet.Connect{CleanStart: true}})
	require.NoError(t, err)
	(<-b.connected).peer.End(&Error{Reason: packet.AdministrativeAction})
	<-c.Done()
	var e *Error
	require.ErrorAs(t, c.Err(), &e)
	require.Equal(t, packet.AdministrativeAction, e.Reason)
	require.Error(t, c.Close())
}

func TestClientGivesUpDialingWhenTheServerIsSilent(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := Dial(ctx, l.Addr().String(), Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestClientIsSafeForManyPublishers(t *testing.T) {
	b := newFakeBroker()
	c, err := Dial(t.Context(), serve(t, b), Options{Connect: packet.Connect{CleanStart: true}})
	require.NoError(t, err)
	var publishers sync.WaitGroup
	errs := make(chan error, 1000)
	for range 10 {
		publishers.Go(func() {
			for i := range 100 {
				errs <- c.Publish(t.Context(), &packet.Publish{Topic: "x", QoS: packet.QoS(i % 3)})
			}
		})
	}
	publishers.Wait()
	for range 1000 {
		require.NoError(t, <-errs)
	}
	require.NoError(t, c.Close())
}

// dialPipe connects a client to the far end of a pipe.
func dialPipe(t *testing.T, o Options, server func(far net.Conn)) (*Client, error) {
	t.Helper()
	near, far := net.Pipe()
	go server(far)
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return near, nil }
	return Dial(t.Context(), "pipe", o)
}

func TestClientKeepsItsConnectionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newFakeBroker())
		connect := packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: time.Minute}
		c, err := dialPipe(t, Options{Connect: connect}, func(far net.Conn) { _ = newConn(s, far).run(t.Context()) })
		require.NoError(t, err)
		<-time.After(time.Hour)
		require.NoError(t, c.Publish(t.Context(), publish(1, 0)))
		require.NoError(t, c.Close())
	})
}

func TestClientGivesUpAServerThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect := packet.Connect{Version: packet.V311, ClientID: "c", CleanStart: true, KeepAlive: time.Minute}
		c, err := dialPipe(t, Options{Connect: connect}, func(far net.Conn) {
			_, _ = packet.NewReader(far, 0).Read()
			_, _ = far.Write([]byte{0x20, 2, 0, 0})
			_, _ = io.Copy(io.Discard, far)
		})
		require.NoError(t, err)
		begin := time.Now()
		require.ErrorIs(t, c.Publish(t.Context(), publish(1, 0)), os.ErrDeadlineExceeded)
		require.Equal(t, 2*time.Minute, time.Since(begin))
		require.Error(t, c.Close())
	})
}

func TestClientRefusesWhatAServerMustNotSend(t *testing.T) {
	for name, sent := range map[string]packet.Packet{
		"PINGREQ":           &packet.Pingreq{},
		"an unknown alias":  &packet.Publish{Properties: packet.PublishProperties{TopicAlias: 1}},
		"a malformed reply": &packet.Suback{PacketID: 1, Reasons: []packet.ReasonCode{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connect := packet.Connect{ClientID: "c", CleanStart: true, TopicAliasMax: 1}
				c, err := dialPipe(t, Options{Connect: connect}, func(far net.Conn) {
					in := packet.NewReader(far, 0)
					for _, p := range []packet.Packet{&packet.Connack{}, sent} {
						_, _ = in.Read()
						b, _ := packet.Append(nil, packet.V5, p)
						_, _ = far.Write(b)
					}
					_, _ = io.Copy(io.Discard, far)
				})
				require.NoError(t, err)
				requireReason(t, packet.ProtocolError, c.Publish(t.Context(), publish(1, 0)))
				_ = c.Close()
			})
		})
	}
}
