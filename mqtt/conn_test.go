package mqtt

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// pipe serves one connection without a network, for tests in which time passes.
func pipe(t *testing.T, s *Server, v packet.Version) (*wire, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- newConn(s, far).run(t.Context()) }()
	t.Cleanup(func() { near.Close() })
	return newWire(t, near, v), ended
}

func requireReason(t *testing.T, want packet.ReasonCode, err error) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want.String(), e.Reason.String(), "%v", err)
}

func TestC6ClientSilentForOneAndAHalfKeepAlivesIsGone(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFakeBroker()
				w, ended := pipe(t, newServer(t, b), v)
				w.join(&packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: 65535 * time.Second})
				begin := time.Now()
				w.expectEnd(packet.KeepAliveTimeout)
				require.Equal(t, 65535*time.Second*3/2, time.Since(begin))
				requireReason(t, packet.KeepAliveTimeout, <-ended)
				require.True(t, (<-(<-b.connected).ended).Will)
			})
		})
	}
}

func TestC6PingKeepsAConnectionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := pipe(t, newServer(t, newFakeBroker()), packet.V311)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: time.Minute})
		for range 3 {
			<-time.After(89 * time.Second)
			w.send(&packet.Pingreq{})
			w.expect(&packet.Pingresp{})
		}
	})
}

func TestC6WithoutKeepAliveSilenceIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := pipe(t, newServer(t, newFakeBroker()), packet.V311)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		<-time.After(1000 * time.Hour)
		w.send(&packet.Pingreq{})
		w.expect(&packet.Pingresp{})
	})
}

func TestC6ServerKeepAliveReplacesTheClients(t *testing.T) {
	for name, asked := range map[string]time.Duration{"a longer one": time.Hour, "none": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, newFakeBroker(), func(c *Config) { c.MaxKeepAlive = time.Minute })
				w, _ := pipe(t, s, packet.V5)
				connack := w.join(&packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: asked})
				require.Equal(t, time.Minute, *connack.ServerKeepAlive)
				begin := time.Now()
				w.expectEnd(packet.KeepAliveTimeout)
				require.Equal(t, 90*time.Second, time.Since(begin))
			})
		})
	}
}

func TestC9ConnectMustComeInTime(t *testing.T) {
	for name, sent := range map[string]string{"nothing": "", "a part": "\x10\x10\x00\x04MQ"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, ended := pipe(t, newServer(t, newFakeBroker()), packet.V5)
				begin := time.Now()
				w.sendBytes([]byte(sent))
				_, err := w.in.Read()
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, 10*time.Second, time.Since(begin))
				require.ErrorContains(t, <-ended, "no CONNECT in time")
			})
		})
	}
}

func TestF2ClientThatReadsNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		w, ended := pipe(t, newServer(t, b), packet.V5)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		begin := time.Now()
		require.True(t, (<-b.connected).peer.Offer(Delivery{Message: &Message{Topic: "a"}, Attempt: 1}))
		require.ErrorContains(t, <-ended, "write: ")
		require.Equal(t, writeTimeout, time.Since(begin))
	})
}

func TestShutdownWaitsForAnswersButNotLong(t *testing.T) {
	for name, answered := range map[string]bool{"the broker answers in time": true, "the broker does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFakeBroker()
				pending := make(chan func(error), 1)
				b.publish = func(_ *packet.Publish, done func(error)) { pending <- done }
				near, far := net.Pipe()
				defer near.Close()
				ctx, cancel := context.WithCancelCause(t.Context())
				ended := make(chan error, 1)
				s := newServer(t, b)
				go func() { ended <- newConn(s, far).run(ctx) }()
				w := newWire(t, near, packet.V5)
				w.join(&packet.Connect{ClientID: "c", CleanStart: true})
				w.send(&packet.Publish{Topic: "a", QoS: 1, PacketID: 9})
				done := <-pending
				begin := time.Now()
				cancel(errShutdown)
				if answered {
					time.AfterFunc(time.Second/2, func() { done(nil) })
					w.expect(&packet.Puback{Answer: acks(9)})
				}
				w.expectEnd(packet.ServerShuttingDown)
				require.ErrorIs(t, <-ended, errShutdown)
				require.True(t, (<-(<-b.connected).ended).Will)
				if answered {
					require.Equal(t, time.Second/2, time.Since(begin))
				} else {
					require.Equal(t, time.Second, time.Since(begin))
					done(errors.New("too late"))
				}
			})
		})
	}
}

func TestPanicOfTheBrokerEndsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		b.publish = func(*packet.Publish, func(error)) { panic("bug") }
		s := newServer(t, b)
		w, ended := pipe(t, s, packet.V5)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		w.send(&packet.Publish{Topic: "a"})
		w.expectEnd(packet.UnspecifiedError)
		err := <-ended
		require.ErrorContains(t, err, "panic: bug")
		require.ErrorContains(t, err, "handlePublish")
		require.True(t, (<-(<-b.connected).ended).Will)
	})
}

func TestReaderPausesWhileTheBrokerOwesTooMuch(t *testing.T) {
	const limit = 10
	for name, test := range map[string]struct {
		size int // of each payload
		read int // publishes before the pause
	}{
		"answers": {1, limit + 1},
		"bytes":   {1 << 20, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFakeBroker()
				pending := make(chan func(error), 100)
				b.publish = func(_ *packet.Publish, done func(error)) { pending <- done }
				s := newServer(t, b, func(c *Config) { c.ReceiveMaximum = limit })
				w, _ := pipe(t, s, packet.V311)
				w.join(&packet.Connect{ClientID: "c", CleanStart: true})
				go func() {
					for id := range uint16(limit + 5) {
						b, _ := packet.Append(nil, w.v, &packet.Publish{Topic: "a", QoS: 1, PacketID: id + 1, Payload: make([]byte, test.size)})
						_, _ = w.nc.Write(b)
					}
				}()
				synctest.Wait()
				require.Len(t, pending, test.read)
				for id := range uint16(limit + 5) {
					(<-pending)(nil)
					w.expect(&packet.Puback{Answer: acks(id + 1)})
				}
			})
		})
	}
}

func TestReaderPausesWhileTheClientReadsNoReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ended := pipe(t, newServer(t, newFakeBroker()), packet.V311)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		pings := make(chan int, 1)
		go func() {
			n := 0
			for range 1 << 20 {
				if _, err := w.nc.Write([]byte{0xC0, 0}); err != nil {
					break
				}
				n++
			}
			pings <- n
		}()
		require.ErrorContains(t, <-ended, "write: ")
		require.Less(t, <-pings, maxReplies)
	})
}
