package packet

import (
	"bytes"
	"encoding/hex"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// vector is a packet beside its bytes. It is decoded, encoded, fuzzed and measured.
type vector struct {
	name   string
	hex    string // spaces are for the reader
	packet Packet
}

func (v vector) bytes(tb testing.TB) []byte {
	tb.Helper()
	return unhex(tb, v.hex)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err, s)
	return b
}

var vectors = map[Version][]vector{
	V31: {
		{"connect", "10 0f 0006 4d5149736470 03 02 003c 0001 61", &Connect{Version: V31, CleanStart: true, KeepAlive: time.Minute, ClientID: "a"}},
		{"connect with a password and no user name", "10 12 0006 4d5149736470 03 40 0000 0001 61 0001 70", &Connect{Version: V31, ClientID: "a", Password: []byte("p")}},
		{"connack refusing the client identifier", "20 02 00 02", &Connack{Reason: ClientIdentifierNotValid}},
		{"subscribe", "82 06 0001 0001 23 01", &Subscribe{PacketID: 1, Filters: []Filter{{Topic: "#", QoS: 1}}}},
	},
	V311: {
		{"connect with everything", "10 20 0004 4d515454 04 f6 ffff 0002 6964 0001 77 0003 627965 0004 75736572 0002 7077", &Connect{
			Version: V311, CleanStart: true, KeepAlive: 65535 * time.Second, ClientID: "id",
			Will:     &Will{Topic: "w", Payload: []byte("bye"), QoS: 2, Retain: true},
			Username: new("user"), Password: []byte("pw"),
		}},
		{"connect with empty credentials", "10 10 0004 4d515454 04 c2 0000 0000 0000 0000", &Connect{Version: V311, CleanStart: true, Username: new(""), Password: []byte{}}},
		{"connack of a session that goes on", "20 02 01 00", &Connack{SessionPresent: true}},
		{"connack refusing the password", "20 02 00 04", &Connack{Reason: BadUserNameOrPassword}},
		{"publish at QoS 0", "30 07 0003 612f62 6869", &Publish{Topic: "a/b", Payload: []byte("hi")}},
		{"publish at QoS 1", "32 09 0003 612f62 000a 6869", &Publish{QoS: 1, Topic: "a/b", PacketID: 10, Payload: []byte("hi")}},
		{"publish again at QoS 2, retained and empty", "3d 07 0003 612f62 ffff", &Publish{Dup: true, QoS: 2, Retain: true, Topic: "a/b", PacketID: 65535}},
		{"puback", "40 02 000a", &Puback{Answer{PacketID: 10}}},
		{"pubrec", "50 02 000a", &Pubrec{Answer{PacketID: 10}}},
		{"pubrel", "62 02 000a", &Pubrel{Answer{PacketID: 10}}},
		{"pubcomp", "70 02 000a", &Pubcomp{Answer{PacketID: 10}}},
		{"subscribe to two filters", "82 0d 0001 0003 612f2b 01 0002 2423 02", &Subscribe{PacketID: 1, Filters: []Filter{{Topic: "a/+", QoS: 1}, {Topic: "$#", QoS: 2}}}},
		{"suback", "90 06 0001 00 01 02 80", &Suback{PacketID: 1, Reasons: []ReasonCode{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}}},
		{"unsubscribe", "a2 07 0002 0003 612f2b", &Unsubscribe{PacketID: 2, Filters: []string{"a/+"}}},
		{"unsuback", "b0 02 0002", &Unsuback{PacketID: 2}},
		{"pingreq", "c0 00", &Pingreq{}},
		{"pingresp", "d0 00", &Pingresp{}},
		{"disconnect", "e0 00", &Disconnect{}},
	},
	V5: {
		{"connect with nothing", "10 0d 0004 4d515454 05 00 0000 00 0000", &Connect{Version: V5}},
		{"connect with everything", "10 61 0004 4d515454 05 ce 000a" +
			"22 11 ffffffff 21 0014 27 00010000 22 000a 19 01 17 00 26 0001 6b 0001 76 15 0001 6d 16 0000" +
			"0001 63" +
			"26 18 00000005 01 01 08 0001 72 09 0002 00ff 03 0000 26 0001 6b 0001 31 26 0001 6b 0001 32 02 0000000a" +
			"0001 77 0000" +
			"0000 0001 00", &Connect{
			Version: V5, CleanStart: true, KeepAlive: 10 * time.Second, ClientID: "c",
			Username: new(""), Password: []byte{0},
			Will: &Will{
				Topic: "w", Payload: []byte{}, QoS: 1, Delay: 5 * time.Second,
				Properties: PublishProperties{
					PayloadFormat: new(uint8(1)), ResponseTopic: "r", CorrelationData: []byte{0, 0xFF}, ContentType: new(""),
					User: []UserProperty{{"k", "1"}, {"k", "2"}}, MessageExpiry: new(10 * time.Second),
				},
			},
			SessionExpiry: new(Forever), ReceiveMaximum: 20, MaximumPacket: 65536, TopicAliasMax: 10,
			RequestResponse: true, RequestProblem: new(false), User: []UserProperty{{"k", "v"}}, AuthMethod: "m", AuthData: []byte{},
		}},
		{"connack", "20 03 00 00 00", &Connack{}},
		{"connack with everything", "20 3f 00 00 3c 11 00000e10 21 0014 24 01 25 00 27 00010000 12 0001 69 22 0008 1f 0001 72 26 0001 6b 0001 76" +
			"28 00 29 01 2a 00 13 001e 1a 0001 72 1c 0001 73 15 0001 6d 16 0001 64", &Connack{
			SessionExpiry: new(time.Hour), ReceiveMaximum: 20, MaximumQoS: new(QoS(1)), RetainAvailable: new(false),
			MaximumPacket: 65536, AssignedClientID: "i", TopicAliasMax: 8, ReasonString: "r", User: []UserProperty{{"k", "v"}},
			WildcardAvailable: new(false), IdentifiersAvail: new(true), SharedAvailable: new(false), ServerKeepAlive: new(30 * time.Second),
			ResponseInfo: "r", ServerReference: "s", AuthMethod: "m", AuthData: []byte("d"),
		}},
		{"publish at QoS 0", "30 08 0003 612f62 00 6869", &Publish{Topic: "a/b", Payload: []byte("hi")}},
		{"publish by alias", "32 0a 0000 0001 03 23 0007 6869", &Publish{QoS: 1, PacketID: 1, Payload: []byte("hi"), Properties: PublishProperties{TopicAlias: 7}}},
		{"publish with everything", "34 34 0003 612f62 000a 2a 01 01 08 0001 72 09 0000 03 0001 74 26 0001 6b 0001 31 26 0001 6b 0001 32" +
			"02 ffffffff 23 ffff 0b 01 0b ffffff7f 6869", &Publish{
			QoS: 2, Topic: "a/b", PacketID: 10, Payload: []byte("hi"),
			Properties: PublishProperties{
				PayloadFormat: new(uint8(1)), ResponseTopic: "r", CorrelationData: []byte{}, ContentType: new("t"),
				User:          []UserProperty{{"k", "1"}, {"k", "2"}},
				MessageExpiry: new(math.MaxUint32 * time.Second), TopicAlias: 65535, Identifiers: []uint32{1, maxVarint},
			},
		}},
		{"puback of success", "40 02 000a", &Puback{Answer{PacketID: 10}}},
		{"puback with a reason", "40 03 000a 10", &Puback{Answer{PacketID: 10, Reason: NoMatchingSubscribers}}},
		{"pubrec with properties", "50 0f 000a 97 0b 1f 0001 72 26 0001 6b 0001 76", &Pubrec{Answer{10, QuotaExceeded, "r", []UserProperty{{"k", "v"}}}}},
		{"pubrel of an unknown identifier", "62 03 000a 92", &Pubrel{Answer{PacketID: 10, Reason: PacketIdentifierNotFound}}},
		{"pubcomp of success with a reason string", "70 08 000a 00 04 1f 0001 72", &Pubcomp{Answer{PacketID: 10, ReasonString: "r"}}},
		{"subscribe with everything", "82 14 0001 0a 0b 8001 26 0001 6b 0001 76 0001 23 2e 0000 11", &Subscribe{
			PacketID: 1, Identifier: 128, User: []UserProperty{{"k", "v"}},
			Filters: []Filter{
				{Topic: "#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: RetainIgnore},
				{Topic: "", QoS: 1, RetainHandling: RetainSendIfNew},
			},
		}},
		{"suback", "90 09 0001 04 1f 0001 72 02 9e", &Suback{PacketID: 1, Reasons: []ReasonCode{GrantedQoS2, SharedNotSupported}, ReasonString: "r"}},
		{"unsubscribe", "a2 0d 0002 07 26 0001 6b 0001 76 0001 23", &Unsubscribe{PacketID: 2, Filters: []string{"#"}, User: []UserProperty{{"k", "v"}}}},
		{"unsuback", "b0 05 0002 00 00 11", &Unsuback{PacketID: 2, Reasons: []ReasonCode{Success, NoSubscriptionExisted}}},
		{"disconnect", "e0 00", &Disconnect{}},
		{"disconnect with will", "e0 01 04", &Disconnect{Reason: DisconnectWithWill}},
		{"disconnect with everything", "e0 16 9d 14 11 00000000 1f 0001 72 26 0001 6b 0001 76 1c 0001 73", &Disconnect{
			Reason: ServerMoved, SessionExpiry: new(time.Duration(0)), ReasonString: "r", User: []UserProperty{{"k", "v"}}, ServerReference: "s",
		}},
		{"auth of success without properties", "f0 00", &Auth{}},
		{"auth with everything", "f0 15 18 13 15 0001 6d 16 0001 64 1f 0001 72 26 0001 6b 0001 76", &Auth{
			Reason: ContinueAuthentication, Method: "m", Data: []byte("d"), ReasonString: "r", User: []UserProperty{{"k", "v"}},
		}},
	},
}

// readerOf returns a Reader of a connection of that version, or of one that
// begins, for CONNECT.
func readerOf(v Version, b []byte) *Reader {
	r := NewReader(bytes.NewReader(b), 0)
	if len(b) > 0 && kind(b[0]>>4) != connect {
		r.SetVersion(v)
	}
	return r
}

func TestVectors(t *testing.T) {
	for version, rows := range vectors {
		for _, row := range rows {
			t.Run(version.String()+" "+row.name, func(t *testing.T) {
				b := row.bytes(t)
				r := readerOf(version, b)
				p, err := r.Read()
				require.NoError(t, err)
				require.Equal(t, row.packet, p)
				require.Equal(t, version, r.Version())
				_, err = r.Read()
				require.Equal(t, io.EOF, err)

				encoded, err := Append([]byte("before"), version, row.packet)
				require.NoError(t, err)
				require.Equal(t, "before"+string(b), string(encoded))
			})
		}
	}
}
