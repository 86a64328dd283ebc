package stomp

import (
	"context"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// dialClient connects a Client to the server that dial reaches.
func dialClient(t *testing.T, dial func() *peer, o Options) *Client {
	t.Helper()
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return dial().conn, nil }
	c, err := Dial(t.Context(), "test:61613", o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ended := c.Err()
		require.Equal(t, ended, c.Close())
	})
	return c
}

func message(destination, body string) *frame.Frame {
	return &frame.Frame{Header: frame.Header{{Name: "destination", Value: destination}}, Body: []byte(body)}
}

func TestClientSpeaksEveryVersion(t *testing.T) {
	for _, version := range []frame.Version{v10, v11, v12} {
		t.Run(version.String(), func(t *testing.T) {
			b := newFakeBroker()
			_, dial := startServer(t, b)
			c := dialClient(t, dial, Options{Version: version, Login: "l", Passcode: `p:\`})
			require.Equal(t, version, c.Version())
			require.NotEmpty(t, c.Connected().Header.Value("session"))
			b.await(t, "connect "+version.String()+` l/p:\`)

			received := make(chan *frame.Frame, 10)
			id, err := c.Subscribe(t.Context(), frame.Header{{Name: "destination", Value: "/q"}, {Name: "ack", Value: "client"}}, func(f *frame.Frame) { received <- f })
			require.NoError(t, err)
			require.NoError(t, c.Send(t.Context(), message("/q", "one")))
			require.NoError(t, c.Send(t.Context(), message("/q", "two")))
			m := <-received
			require.Equal(t, "one", string(m.Body))
			require.NoError(t, c.Ack(t.Context(), m))
			b.await(t, "settle 1 <nil>")
			if m = <-received; version > v10 {
				require.NoError(t, c.Nack(t.Context(), m))
				b.await(t, "settle 2 "+ErrRequeue.Error())
			}
			require.NoError(t, c.Unsubscribe(t.Context(), id))
			require.NoError(t, c.Send(t.Context(), message("/q", "three")))
			require.Empty(t, received)
		})
	}
}

func TestClientTransactions(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	c := dialClient(t, dial, Options{})
	received := make(chan *frame.Frame, 10)
	_, err := c.Subscribe(t.Context(), frame.Header{{Name: "destination", Value: "/q"}, {Name: "ack", Value: "client-individual"}}, func(f *frame.Frame) { received <- f })
	require.NoError(t, err)
	require.NoError(t, c.Send(t.Context(), message("/q", "one")))
	require.NoError(t, c.Send(t.Context(), message("/q", "two")))

	dropped, err := c.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, dropped.Send(t.Context(), message("/r", "dropped")))
	require.NoError(t, dropped.Abort(t.Context()))

	tx, err := c.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, tx.Send(t.Context(), message("/r", "kept")))
	require.NoError(t, tx.Ack(t.Context(), <-received))
	require.NoError(t, tx.Nack(t.Context(), <-received))
	require.NoError(t, tx.Commit(t.Context()))
	b.await(t, "send /r kept")
	b.await(t, "settle 1 <nil>")
	b.await(t, "settle 2 "+ErrRequeue.Error())
}

func TestClientSendsMuchWithoutWaiting(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	c := dialClient(t, dial, Options{})
	const n = 5000
	order := make(chan int, n)
	for i := range n {
		require.NoError(t, c.SendAsync(t.Context(), message("/q", strconv.Itoa(i)), func(err error) {
			if err == nil {
				order <- i
			}
		}))
	}
	for i := range n {
		require.Equal(t, i, <-order)
	}
}

func TestClientIsToldWhyTheServerEndsTheConnection(t *testing.T) {
	b := newFakeBroker()
	b.send = func(_ *frame.Frame, done func(error)) { done(&Error{Message: "no", Detail: "Never."}) }
	_, dial := startServer(t, b)
	c := dialClient(t, dial, Options{})
	err := c.Send(t.Context(), message("/q", "x"))
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, &Error{Message: "no", Detail: "Never."}, refused)
	<-c.Done()
	require.Equal(t, err, c.Err())
	require.Equal(t, err, c.SendAsync(t.Context(), message("/q", "x"), nil))
}

func TestDialReportsARefusal(t *testing.T) {
	b := newFakeBroker()
	b.connect = func(*Connect) error { return &Error{Message: "access refused"} }
	_, dial := startServer(t, b)
	_, err := Dial(t.Context(), "test:1", Options{Dial: func(context.Context, string, string) (net.Conn, error) { return dial().conn, nil }})
	require.EqualError(t, err, "connect to test:1: access refused")
}

func TestDialStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() { _, _ = server.Read(make([]byte, 1<<10)) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Dial(ctx, "test:1", Options{Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestClientHeartBeats(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		c, err := Dial(t.Context(), "test:1", Options{
			HeartBeat: 3 * time.Second,
			Dial:      func(context.Context, string, string) (net.Conn, error) { return p.conn, nil },
		})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, c.Err())
		require.NoError(t, c.Send(t.Context(), message("/q", "x")))
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-run, errDisconnected)
		require.ErrorIs(t, c.Err(), ErrClosed)
		require.ErrorIs(t, c.Send(t.Context(), message("/q", "x")), ErrClosed)
	})
}

func TestClientNoticesASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go func() {
			for b := make([]byte, 1<<10); ; {
				if _, err := server.Read(b); err != nil {
					return
				}
				if b[0] == 'C' {
					_, _ = server.Write([]byte("CONNECTED\nversion:1.2\nheart-beat:1000,1000\n\n\x00"))
					b[0] = 0
				}
			}
		}()
		c, err := Dial(t.Context(), "test:1", Options{
			HeartBeat: time.Second,
			Dial:      func(context.Context, string, string) (net.Conn, error) { return client, nil },
		})
		require.NoError(t, err)
		start := time.Now()
		<-c.Done()
		require.Equal(t, 2*time.Second, time.Since(start))
		require.ErrorContains(t, c.Err(), "no heart-beat within 2s")
		require.ErrorIs(t, c.Close(), c.Err())
		require.NoError(t, server.Close())
	})
}
