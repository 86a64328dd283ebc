package mqtt

import (
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// exchange sends bytes and returns all the server answers until it closes.
func exchange(t *testing.T, address, sent string) string {
	t.Helper()
	w := dialWire(t, address, packet.V311)
	w.sendBytes(unhex(t, sent))
	got, err := io.ReadAll(w.nc)
	require.NoError(t, err)
	return hex.EncodeToString(got)
}

func TestC1C2ConnectThatIsNoneIsRefused(t *testing.T) {
	address := serve(t, newFakeBroker())
	for _, test := range []struct{ name, sent, want string }{
		{"level 4 under the name of 3.1", "100f 0006 4d5149736470 04 02 0000 0001 63", "20020001"},
		{"level 2 of MQTT is answered in 3.x", "100d 0004 4d515454 02 02 0000 0001 63", "20020001"},
		{"level 6 is answered in 5.0", "100e 0004 4d515454 06 02 0000 00 0001 63", "84"},
		{"an unknown name is closed", "100d 0004 4e4f4e45 04 02 0000 0001 63", ""},
		{"reserved flag of 3.1.1 is closed", "100d 0004 4d515454 04 03 0000 0001 63", ""},
		{"reserved flag of 5.0 is told", "100e 0004 4d515454 05 03 0000 00 0001 63", "81"},
		{"PUBLISH before CONNECT is closed", "3003 0001 61", ""},
		{"PINGREQ before CONNECT is closed", "c000", ""},
		{"HTTP is closed", hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), ""},
		{"STOMP is closed", hex.EncodeToString([]byte("CONNECT\n\n\x00")), ""},
		{"TLS is closed", "160301 0200 01", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := exchange(t, address, test.sent)
			if len(test.want) == 2 { // the reason of an MQTT 5 CONNACK
				require.Equal(t, "20", got[:2])
				require.Equal(t, test.want, got[6:8])
				return
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestC2SecondConnectIsAProtocolError(t *testing.T) {
	address := serve(t, newFakeBroker())
	for _, v := range versions {
		w := dialWire(t, address, v)
		w.join(&packet.Connect{ClientID: "c", CleanStart: true})
		w.send(&packet.Connect{Version: v, ClientID: "c", CleanStart: true})
		w.expectEnd(packet.ProtocolError)
	}
}

func TestC3ClientIdentifiers(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	for _, test := range []struct {
		name     string
		v        packet.Version
		id       string
		clean    bool
		refused  bool
		assigned bool
	}{
		{"3.1 accepts more than 23 characters", packet.V31, strings.Repeat("x", 100), false, false, false},
		{"3.1 accepts none with a clean session", packet.V31, "", true, false, true},
		{"3.1 refuses none with a session to keep", packet.V31, "", false, true, false},
		{"3.1.1 accepts none with a clean session", packet.V311, "", true, false, true},
		{"5.0 accepts none", packet.V5, "", false, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, address, test.v)
			connack := w.join(&packet.Connect{ClientID: test.id, CleanStart: test.clean})
			if test.refused {
				require.Equal(t, packet.ClientIdentifierNotValid, connack.Reason)
				w.expectEnd(0)
				return
			}
			require.Equal(t, packet.Success, connack.Reason)
			connect := (<-b.connected).connect
			require.Equal(t, test.assigned, connect.Assigned)
			require.NotEmpty(t, connect.ClientID)
			if test.assigned && test.v == packet.V5 {
				require.Equal(t, connect.ClientID, connack.AssignedClientID)
			}
		})
	}
	t.Run("3.1.1 refuses none with a session to keep", func(t *testing.T) {
		require.Equal(t, "20020002", exchange(t, address, "100c 0004 4d515454 04 00 0000 0000"))
	})
}

func TestC4TakeOverDisconnectsWith8E(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			b := newFakeBroker()
			address := serve(t, b)
			first := dialWire(t, address, v)
			first.join(&packet.Connect{ClientID: "c", CleanStart: true, Will: &packet.Will{Topic: "w"}})
			second := dialWire(t, address, v)
			second.join(&packet.Connect{ClientID: "c", CleanStart: true})
			first.expectEnd(packet.SessionTakenOver)
			end := <-(<-b.connected).ended
			requireReason(t, packet.SessionTakenOver, end.Cause)
			require.True(t, end.Will)
			second.send(&packet.Pingreq{})
			second.expect(&packet.Pingresp{})
		})
	}
}

func TestC5SessionPresentIsToldExceptIn31(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	for _, v := range versions {
		for _, known := range []bool{false, true} {
			w := dialWire(t, address, v)
			connect := &packet.Connect{ClientID: "c" + v.String()}
			if v == packet.V5 {
				connect.SessionExpiry = new(time.Hour)
			}
			require.Equal(t, known && v != packet.V31, w.join(connect).SessionPresent, "%v %v", v, known)
			w.send(&packet.Disconnect{})
			<-(<-b.connected).ended
		}
	}
}

func TestC7CredentialsReachTheBroker(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	user := "anna"
	w := dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true, Username: &user, Password: []byte("secret")})
	connect := (<-b.connected).connect
	require.Equal(t, "anna", connect.Username)
	require.Equal(t, []byte("secret"), connect.Password)
	require.Equal(t, w.nc.LocalAddr(), connect.Remote)

	w = dialWire(t, address, packet.V5) // only 3.1.1 wants a user name with a password
	w.join(&packet.Connect{ClientID: "d", CleanStart: true, Password: []byte("token")})
	require.Equal(t, []byte("token"), (<-b.connected).connect.Password)
}

func TestC8RefusalOfTheBrokerBecomesConnack(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		reason packet.ReasonCode
		code   string // of 3.1.1
	}{
		{"bad password", &Error{Reason: packet.BadUserNameOrPassword, Text: "no"}, packet.BadUserNameOrPassword, "04"},
		{"not authorized", &Error{Reason: packet.NotAuthorized, Text: "no"}, packet.NotAuthorized, "05"},
		{"server unavailable", &Error{Reason: packet.ServerUnavailable, Text: "no"}, packet.ServerUnavailable, "03"},
		{"a reason that CONNACK cannot have", &Error{Reason: packet.SessionTakenOver, Text: "no"}, packet.UnspecifiedError, "03"},
		{"an error without a reason", errors.New("disk full"), packet.UnspecifiedError, "03"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newFakeBroker()
			b.connect = func(*Connect) (Connected, error) { return Connected{}, test.err }
			address := serve(t, b)
			w := dialWire(t, address, packet.V5)
			connack := w.join(&packet.Connect{ClientID: "c", CleanStart: true})
			require.Equal(t, test.reason, connack.Reason)
			if _, ok := errors.AsType[*Error](test.err); ok {
				require.Equal(t, "no", connack.ReasonString)
			} else {
				require.Empty(t, connack.ReasonString)
			}
			_, err := w.in.Read()
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, "200200"+test.code, exchange(t, address, "100d 0004 4d515454 04 02 0000 0001 63"))
		})
	}
}

func TestC9PacketsBeforeConnackAreProcessedInOrder(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	for _, v := range versions {
		w := dialWire(t, address, v)
		w.send(
			&packet.Connect{Version: v, ClientID: "c", CleanStart: true},
			&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: "a", QoS: 1}}},
			&packet.Publish{Topic: "a", QoS: 1, PacketID: 2, Payload: []byte("x")},
			&packet.Pingreq{},
		)
		p, err := w.in.Read()
		require.NoError(t, err)
		require.IsType(t, &packet.Connack{}, p)
		w.expect(&packet.Suback{PacketID: 1, Reasons: []packet.ReasonCode{packet.GrantedQoS1}})
		seen := map[string]bool{}
		for range 3 {
			p, err := w.in.Read()
			require.NoError(t, err)
			switch p.(type) {
			case *packet.Publish:
				seen["message"] = true
			case *packet.Puback:
				seen["puback"] = true
			case *packet.Pingresp:
				seen["pingresp"] = true
			}
		}
		require.Len(t, seen, 3)
	}
}

func TestE1SessionExpiry(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b, func(c *Config) { c.MaxSessionExpiry = time.Hour })
	for _, test := range []struct {
		name   string
		v      packet.Version
		clean  bool
		asked  *time.Duration
		want   time.Duration
		capped bool
	}{
		{"3.1.1 with a clean session ends with the connection", packet.V311, true, nil, 0, false},
		{"3.1.1 with a session to keep gets the longest", packet.V311, false, nil, time.Hour, false},
		{"5.0 without an expiry ends with the connection", packet.V5, false, nil, 0, false},
		{"5.0 gets what it asks for", packet.V5, true, new(time.Minute), time.Minute, false},
		{"5.0 gets less than it asks for", packet.V5, false, new(24 * time.Hour), time.Hour, true},
		{"5.0 for ever is capped", packet.V5, false, new(packet.Forever), time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, address, test.v)
			connack := w.join(&packet.Connect{ClientID: "c", CleanStart: test.clean, SessionExpiry: test.asked})
			require.Equal(t, test.want, (<-b.connected).connect.SessionExpiry)
			if test.capped {
				require.Equal(t, test.want, *connack.SessionExpiry)
			} else {
				require.Nil(t, connack.SessionExpiry)
			}
		})
	}
}

func TestE1DisconnectChangesTheExpiry(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b, func(c *Config) { c.MaxSessionExpiry = time.Hour })
	w := dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", SessionExpiry: new(time.Minute)})
	w.send(&packet.Disconnect{SessionExpiry: new(packet.Forever)})
	require.Equal(t, time.Hour, *(<-(<-b.connected).ended).Expiry)

	w = dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
	w.send(&packet.Disconnect{SessionExpiry: new(time.Minute)})
	w.expectEnd(packet.ProtocolError)
	require.True(t, (<-(<-b.connected).ended).Will)
}

func TestW1WillIsPublishedUnlessTheClientSaysGoodbye(t *testing.T) {
	b := newFakeBroker()
	address := serve(t, b)
	for _, test := range []struct {
		name  string
		v     packet.Version
		leave func(*wire)
		will  bool
		clean bool // no cause
	}{
		{"DISCONNECT of 3.1.1", packet.V311, func(w *wire) { w.send(&packet.Disconnect{}) }, false, true},
		{"DISCONNECT of 5.0", packet.V5, func(w *wire) { w.send(&packet.Disconnect{}) }, false, true},
		{"DISCONNECT with will", packet.V5, func(w *wire) { w.send(&packet.Disconnect{Reason: packet.DisconnectWithWill}) }, true, true},
		{"DISCONNECT with an error", packet.V5, func(w *wire) { w.send(&packet.Disconnect{Reason: packet.UnspecifiedError}) }, true, false},
		{"a closed connection", packet.V311, func(w *wire) { w.nc.Close() }, true, false},
		{"a malformed packet", packet.V5, func(w *wire) { w.sendBytes([]byte{0, 0}) }, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, address, test.v)
			will := &packet.Will{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true}
			if test.v == packet.V5 {
				will.Delay = 5 * time.Second
				will.Properties.ContentType = new("text/plain")
			}
			w.join(&packet.Connect{ClientID: "c", CleanStart: true, Will: will})
			session := <-b.connected
			require.Equal(t, will, session.connect.Will)
			test.leave(w)
			end := <-session.ended
			require.Equal(t, test.will, end.Will)
			require.Equal(t, test.clean, end.Cause == nil)
		})
	}
}

func TestW2WillMustBeAMessage(t *testing.T) {
	address := serve(t, newFakeBroker())
	w := dialWire(t, address, packet.V5)
	w.sendBytes(unhex(t, "1016 0004 4d515454 05 06 0000 00 0001 63 00 0003 612f23 0000"))
	p, err := w.in.Read()
	require.NoError(t, err)
	require.Equal(t, packet.TopicNameInvalid, p.(*packet.Connack).Reason)

	w = dialWire(t, address, packet.V5)
	will := &packet.Will{Topic: "w", Payload: []byte{0xFF}, Properties: packet.PublishProperties{PayloadFormat: new(uint8(1))}}
	require.Equal(t, packet.PayloadFormatInvalid, w.join(&packet.Connect{ClientID: "c", CleanStart: true, Will: will}).Reason)
}

func TestV9EnhancedAuthenticationIsRefused(t *testing.T) {
	address := serve(t, newFakeBroker())
	w := dialWire(t, address, packet.V5)
	require.Equal(t, packet.BadAuthenticationMethod, w.join(&packet.Connect{ClientID: "c", AuthMethod: "SCRAM-SHA-256"}).Reason)

	w = dialWire(t, address, packet.V5)
	w.join(&packet.Connect{ClientID: "c", CleanStart: true})
	w.send(&packet.Auth{Reason: packet.ReAuthenticate, Method: "SCRAM-SHA-256"})
	w.expectEnd(packet.BadAuthenticationMethod)
}

func TestV8ShutdownIsTold(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			b := newFakeBroker()
			_, address, stop := serveUntil(t, b)
			w := dialWire(t, address, v)
			w.join(&packet.Connect{ClientID: "c", CleanStart: true})
			stopped := make(chan struct{})
			go func() { defer close(stopped); stop() }()
			w.expectEnd(packet.ServerShuttingDown)
			w.nc.Close()
			<-stopped
			require.True(t, (<-(<-b.connected).ended).Will)
		})
	}
}
