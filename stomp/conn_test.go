package stomp

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// inBubble runs test with one connection over a pipe, where time is virtual;
// the peer has the bubble's testing.T.
// The bubble fails when the connection leaves a goroutine behind.
func inBubble(t *testing.T, test func(b *fakeBroker, p *peer, run <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		s := &Server{Config: DefaultConfig(), Broker: b, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
		s.Config.ServerName = ""
		s.Config.MaxMessage = 1 << 20
		client, server := net.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		run := make(chan error, 1)
		go func() { run <- newConn(s, server, "c1").run(ctx) }()
		test(b, newPeer(t, client), run)
		require.NoError(t, client.Close())
		cancel(ErrShutdown)
		synctest.Wait()
	})
}

func TestS42AClientThatDoesNotConnectIsDropped(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		start := time.Now()
		go func() { // byte by byte
			for _, c := range []byte("CONNECT\nlogin:l\npasscode:p\n") {
				if _, err := p.conn.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		p.expectError("no CONNECT within 10s")
		require.Equal(t, 10*time.Second, time.Since(start))
		require.ErrorContains(t, <-run, "no CONNECT")
		time.Sleep(2 * time.Second)
	})
}

func TestS44HeartBeatsAreTheSlowerOfBothWishes(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name          string
		version       frame.Version
		header        string
		ours          time.Duration
		send, receive time.Duration
	}{
		{"none asked for", v12, "0,0", 10 * s, 0, 0},
		{"the client is slower", v12, "20000,30000", 10 * s, 30 * s, 20 * s},
		{"the client is faster", v12, "500,500", 10 * s, 10 * s, 10 * s},
		{"the client sends only", v11, "500,0", 10 * s, 0, 10 * s},
		{"the client receives only", v11, "0,500", 10 * s, 10 * s, 0},
		{"we want none", v12, "500,500", 0, 0, 0},
		{"1.0 has none", v10, "500,500", 10 * s, 0, 0},
		{"blanks", v12, "1000, 30000", 10 * s, 30 * s, 10 * s},
		{"absurdly large", v12, "18446744073709551615,1", 10 * s, 10 * s, 1 << 31 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			send, receive, err := heartBeats(tt.version, frame.Header{{Name: "heart-beat", Value: tt.header}}, tt.ours)
			require.NoError(t, err)
			require.Equal(t, tt.send, send)
			require.Equal(t, tt.receive, receive)
		})
	}
}

// connectBeating connects with a heart-beat header and reads CONNECTED and its line end.
func connectBeating(p *peer, version frame.Version, heartBeat string) {
	p.t.Helper()
	p.write("CONNECT\naccept-version:" + version.String() + "\nheart-beat:" + heartBeat + "\n\n^@")
	b := make([]byte, 1<<10)
	n, err := p.conn.Read(b)
	require.NoError(p.t, err)
	require.True(p.t, bytes.HasPrefix(b[:n], []byte("CONNECTED\n")), "%q", b[:n])
}

func TestS45AQuietServerBeats(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, _ <-chan error) {
		t := p.t
		connectBeating(p, v12, "0,5000")
		b := make([]byte, 100)
		for range 5 {
			last := time.Now()
			n, err := p.conn.Read(b)
			require.NoError(t, err)
			require.Equal(t, "\n", string(b[:n]))
			require.LessOrEqual(t, time.Since(last), 10*time.Second)
			require.GreaterOrEqual(t, time.Since(last), 8*time.Second)
		}
		for i := range 10 { // an answer each 5 s leaves nothing to beat for
			time.Sleep(5 * time.Second)
			p.write("BEGIN\ntransaction:" + string(rune('a'+i)) + "\nreceipt:r\n\n^@")
			n, err := p.conn.Read(b)
			require.NoError(t, err)
			require.Equal(t, "RECEIPT\nreceipt-id:r\n\n\x00\n", string(b[:n]))
		}
	})
}

func TestS46AQuietClientIsDropped(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		connectBeating(p, v12, "5000,0")
		for range 5 {
			time.Sleep(19 * time.Second)
			p.write("\n")
		}
		start := time.Now()
		p.expectError("no heart-beat within 20s")
		require.Equal(t, 20*time.Second, time.Since(start))
		require.ErrorContains(t, <-run, "no heart-beat")
	})
}

func TestS48NoBeatsIn10(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, _ <-chan error) {
		t := p.t
		connectBeating(p, v10, "1000,1000")
		time.Sleep(24 * time.Hour)
		p.write("BEGIN\ntransaction:t\nreceipt:r\n\n^@")
		b := make([]byte, 100)
		n, err := p.conn.Read(b)
		require.NoError(t, err)
		require.Equal(t, "RECEIPT\nreceipt-id:r\n\n\x00\n", string(b[:n]))
	})
}

func TestS49AnyByteIsASignOfLife(t *testing.T) {
	inBubble(t, func(b *fakeBroker, p *peer, _ <-chan error) {
		t := p.t
		connectBeating(p, v12, "10000,0")
		p.write("SEND\ndestination:/q\n\n")
		for range 60 {
			time.Sleep(19 * time.Second)
			p.write("x")
		}
		p.write("^@")
		b.await(t, "send /q "+strings.Repeat("x", 60))
	})
}

func TestShutdownDoesNotWaitForABrokerThatHangs(t *testing.T) {
	inBubble(t, func(b *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		b.send = func(*frame.Frame, func(error)) { b.event("hangs") }
		p.connect(v12)
		p.write("SEND\ndestination:/q\nreceipt:r\n\n^@")
		b.await(t, "hangs")
		start := time.Now()
		b.only().peer.End(&Error{Message: "enough"})
		p.expectError("enough")
		require.Equal(t, 10*time.Second, time.Since(start))
		require.ErrorContains(t, <-run, "enough")
	})
}

func TestAClientThatReadsNothingDoesNotHoldTheEndUp(t *testing.T) {
	inBubble(t, func(b *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		p.connect(v12)
		p.write("BEGIN\ntransaction:t\nreceipt:r\n\n^@")
		synctest.Wait()
		start := time.Now()
		b.only().peer.End(&Error{Message: "enough"})
		b.await(t, "close enough")
		require.Equal(t, time.Second, time.Since(start), "the broker does not wait long")
		require.ErrorContains(t, <-run, "enough")
		require.Equal(t, 11*time.Second, time.Since(start))
	})
}

// A consumer may be busy for minutes: nothing but silence ends it.
func TestAConsumerMayPause(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, _ <-chan error) {
		t := p.t
		connectBeating(p, v12, "0,10000")
		p.write("BEGIN\ntransaction:t\nreceipt:r\n\n^@")
		time.Sleep(stall - time.Second)
		b := make([]byte, 100)
		n, err := p.conn.Read(b)
		require.NoError(t, err)
		require.Equal(t, "RECEIPT\nreceipt-id:r\n\n\x00\n", string(b[:n]))
	})
}

func TestAClientThatReadsNothingIsNotReadForEver(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, _ <-chan error) {
		t := p.t
		p.connect(v12)
		receipt := strings.Repeat("r", 10_000)
		frames := strings.Repeat("SEND\ndestination:/q\nreceipt:"+receipt+"\n\n^@", 900)
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(p.conn, strings.ReplaceAll(frames, "^@", "\x00"))
			wrote <- err
		}()
		synctest.Wait()
		require.Empty(t, wrote, "nine million bytes were read and their receipts are kept")
		for range 900 {
			require.Equal(t, receipt, p.read().Header.Value("receipt-id"))
		}
		require.NoError(t, <-wrote)
	})
}

func TestS74TransactionsAreBoundedInBytes(t *testing.T) {
	inBubble(t, func(_ *fakeBroker, p *peer, _ <-chan error) {
		p.connect(v12)
		p.write("BEGIN\ntransaction:t\n\n^@BEGIN\ntransaction:u\n\n^@")
		body := strings.Repeat("x", 900<<10)
		p.write("SEND\ntransaction:t\ndestination:/q\n\n" + body + "^@")
		p.write("SEND\ntransaction:u\ndestination:/q\n\n" + body + "^@")
		p.write("ABORT\ntransaction:u\n\n^@BEGIN\ntransaction:u\n\n^@")
		p.write("SEND\ntransaction:u\ndestination:/q\n\n" + body + "^@")
		p.write("SEND\ntransaction:t\ndestination:/q\n\n" + body + "^@")
		p.expectError("more than 2097152 bytes in open transactions")
	})
}

func TestWhatWasWrittenToAClientThatLeftIsNotSettled(t *testing.T) {
	inBubble(t, func(b *fakeBroker, p *peer, run <-chan error) {
		t := p.t
		p.connect(v12)
		p.play(b, subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@", "! send /q x")
		require.NoError(t, p.conn.Close())
		require.ErrorContains(t, <-run, "connection lost")
		b.mu.Lock()
		defer b.mu.Unlock()
		for len(b.events) > 0 {
			require.NotContains(t, <-b.events, "settle")
		}
	})
}
