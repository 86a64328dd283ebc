//go:build interop

package bridge_test

import (
	"bufio"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testByHand types frames as people do with telnet, and the bytes of small devices.
func testByHand(t *testing.T, p *process) {
	t.Helper()
	type exchange struct {
		send string
		want []string // what each frame of the answer contains
	}
	for _, test := range []struct {
		name      string
		exchanges []exchange
		closed    bool // by the gateway, at the end
	}{
		{"telnet, which ends lines with CR LF, also after a frame", []exchange{
			{"CONNECT\r\n\r\n\x00\r\n", []string{"CONNECTED\n|version:1.0\n|session:|heart-beat:0,0\n"}},
			{"SUBSCRIBE\r\ndestination:/queue/telnet\r\n\r\n\x00\r\n", nil},
			{"SEND\r\ndestination:/queue/telnet\r\n\r\nhello\x00\r\n", []string{"MESSAGE\n|destination:/queue/telnet\n|\n\nhello"}},
			{"SEND\r\ndestination:/queue/telnet\r\nreceipt:1\r\n\r\n\x00\r\n\r\n\r\n", []string{"RECEIPT\nreceipt-id:1\n|", "MESSAGE\n"}},
			{"DISCONNECT\r\nreceipt:2\r\n\r\n\x00\r\n", []string{"RECEIPT\nreceipt-id:2\n"}},
		}, true},
		{"padded headers of 1.0, and an empty line more than needed", []exchange{
			{"CONNECT\nlogin: guest\npasscode: guest\n\n\n\x00", []string{"CONNECTED\n"}},
			{"SUBSCRIBE\ndestination: /topic/padded\nack: auto\n\n\x00", nil},
			{"\n\nSEND\ndestination: /topic/padded\nreceipt: 1\n\nx\x00", []string{"RECEIPT\n|receipt-id:1\n", "MESSAGE\n|\n\nx"}},
			{"DISCONNECT\n\n\x00", nil},
		}, true},
		{"everything in one segment", []exchange{
			{
				"STOMP\naccept-version:1.0,1.1,1.2\nhost:x\n\n\x00" +
					"SUBSCRIBE\nid:0\ndestination:/queue/pipelined\nack:auto\nreceipt:s\n\n\x00" +
					"BEGIN\ntransaction:t\n\n\x00SEND\ndestination:/queue/pipelined\ntransaction:t\n\nin time\x00COMMIT\ntransaction:t\nreceipt:c\n\n\x00",
				[]string{"CONNECTED\n|version:1.2\n", "RECEIPT\n|receipt-id:s\n", "RECEIPT\n|receipt-id:c\n", "MESSAGE\n|subscription:0\n|\n\nin time"},
			},
			{"DISCONNECT\nreceipt:d\n\n\x00SEND\ndestination:/queue/pipelined\n\ntoo late\x00", []string{"RECEIPT\n|receipt-id:d\n"}},
		}, true},
		{"a frame before CONNECT", []exchange{
			{"SEND\ndestination:/queue/early\n\nx\x00", []string{"ERROR\n|message:"}},
		}, true},
		{"a version that nobody knows", []exchange{
			{"CONNECT\naccept-version:2.0\nhost:x\n\n\x00", []string{"ERROR\n|version:1.0,1.1,1.2\n"}},
		}, true},
		{"an unknown command", []exchange{
			{"CONNECT\naccept-version:1.2\nhost:x\n\n\x00", []string{"CONNECTED\n"}},
			{"HELLO\nreceipt:1\n\n\x00", []string{"ERROR\n|receipt-id:1\n"}},
		}, true},
		{"a browser that is lost", []exchange{
			{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"ERROR\n"}},
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// In one piece, and a byte at a time.
			for _, pieces := range []bool{false, true} {
				conn, frames := p.dial(t, "stomp.listen")
				for _, x := range test.exchanges {
					send(t, conn, x.send, pieces)
					// Receipts and messages may overtake one another.
					var answers []string
					for range x.want {
						frame, err := frames.ReadString(0)
						require.NoError(t, err, "after %q came %q", x.send, answers)
						answers = append(answers, strings.TrimLeft(strings.TrimSuffix(frame, "\x00"), "\n"))
					}
					for _, want := range x.want {
						require.True(t, contain(answers, want), "%q is not in %q", want, answers)
					}
				}
				if test.closed {
					rest, err := io.ReadAll(frames)
					require.NoError(t, err)
					require.Empty(t, strings.Trim(string(rest), "\n"))
				}
			}
		})
	}
	t.Run("MQTT that does not wait for CONNACK", func(t *testing.T) {
		t.Parallel()
		conn, answers := p.dial(t, "mqtt.listen")
		send(t, conn, unhex(t, "100c 00044d515454 04 02 003c 0000"+ // CONNECT without a client id
			"8208 0001 0003612f62 01"+ // SUBSCRIBE to a/b
			"3209 0003612f62 000a 6869"+ // PUBLISH
			"c000"), true) // PINGREQ
		all := make([]byte, 4+5+4+2+11)
		_, err := io.ReadFull(answers, all)
		require.NoError(t, err)
		got := hex.EncodeToString(all)
		require.Regexp(t, "^20020000", got, "CONNACK")
		for _, packet := range []string{
			"9003000101",     // SUBACK
			"4002000a",       // PUBACK
			"d000",           // PINGRESP
			"32090003612f62", // PUBLISH
		} {
			require.Contains(t, got, packet)
		}
	})
	t.Run("a version of MQTT that nobody knows", func(t *testing.T) {
		t.Parallel()
		conn, answers := p.dial(t, "mqtt.listen")
		send(t, conn, unhex(t, "100c 00044d515454 07 02 003c 0000"), false)
		all, err := io.ReadAll(answers)
		require.NoError(t, err)
		require.Regexp(t, "^20..0084", hex.EncodeToString(all), "CONNACK: Unsupported Protocol Version")
	})
}

// dial connects to a listener by its key.
func (p *process) dial(t *testing.T, key string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", p.said[key])
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	return conn, bufio.NewReader(conn)
}

func send(t *testing.T, conn net.Conn, text string, pieces bool) {
	t.Helper()
	step := len(text)
	if pieces {
		step = 1
	}
	for i := 0; i < len(text); i += step {
		_, err := io.WriteString(conn, text[i:i+step])
		require.NoError(t, err)
	}
}

// contain reports whether one of the frames contains all parts of want,
// between which is a bar.
func contain(frames []string, want string) bool {
	for _, frame := range frames {
		all := true
		for part := range strings.SplitSeq(want, "|") {
			all = all && strings.Contains(frame, part)
		}
		if all {
			return true
		}
	}
	return false
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return string(b)
}
