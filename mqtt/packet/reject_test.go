package packet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// refusals are packets that break the protocol, and the reason to close with.
var refusals = map[Version][]struct {
	name   string
	hex    string
	reason ReasonCode
}{
	V31: {
		{"a will with QoS 3", "10 13 0006 4d5149736470 03 1c 0000 0000 0001 77 0000", MalformedPacket},
		{"a user name cut short", "10 10 0006 4d5149736470 03 80 0000 0000 0001", MalformedPacket},
		{"a subscription with QoS 3", "82 06 0001 0001 23 03", MalformedPacket},
		{"a packet type that 3.1 does not have", "f0 00", MalformedPacket},
		{"a reserved return code", "20 02 00 06", MalformedPacket},
	},
	V311: {
		{"an unknown protocol name", "10 0c 0004 48545450 04 02 0000 0000", ProtocolError},
		{"a level that the name MQTT does not have", "10 0c 0004 4d515454 03 02 0000 0000", UnsupportedProtocolVersion},
		{"a level that the name MQIsdp does not have", "10 0e 0006 4d5149736470 04 02 0000 0000", UnsupportedProtocolVersion},
		{"the level of a bridge", "10 0c 0004 4d515454 84 02 0000 0000", UnsupportedProtocolVersion},
		{"the reserved flag of CONNECT", "10 0c 0004 4d515454 04 03 0000 0000", MalformedPacket},
		{"will QoS without a will", "10 0c 0004 4d515454 04 0a 0000 0000", MalformedPacket},
		{"will retain without a will", "10 0c 0004 4d515454 04 22 0000 0000", MalformedPacket},
		{"a will with QoS 3", "10 11 0004 4d515454 04 1e 0000 0000 0001 77 0000", MalformedPacket},
		{"a will topic with a wildcard", "10 11 0004 4d515454 04 06 0000 0000 0001 23 0000", TopicNameInvalid},
		{"an empty will topic", "10 10 0004 4d515454 04 06 0000 0000 0000 0000", TopicNameInvalid},
		{"a password without a user name", "10 0f 0004 4d515454 04 42 0000 0000 0001 70", MalformedPacket},
		{"a user name that is announced and missing", "10 0c 0004 4d515454 04 82 0000 0000", MalformedPacket},
		{"a session to be kept without a client identifier", "10 0c 0004 4d515454 04 00 0000 0000", ClientIdentifierNotValid},
		{"bytes behind CONNECT", "10 0d 0004 4d515454 04 02 0000 0000 00", MalformedPacket},
		{"flags of CONNECT", "11 0c 0004 4d515454 04 02 0000 0000", MalformedPacket},
		{"a reserved acknowledge flag", "20 02 02 00", MalformedPacket},
		{"a refusal with a session present", "20 02 01 05", ProtocolError},
		{"a reserved return code", "20 02 00 06", MalformedPacket},
		{"packet type 0", "00 00", MalformedPacket},
		{"packet type 15", "f0 00", MalformedPacket},
		{"PUBLISH with QoS 3", "36 05 0001 61 0001", MalformedPacket},
		{"PUBLISH again at QoS 0", "38 03 0001 61", MalformedPacket},
		{"PUBLISH with packet identifier 0", "32 05 0001 61 0000", ProtocolError},
		{"PUBLISH without a packet identifier", "32 03 0001 61", MalformedPacket},
		{"an empty topic", "30 02 0000", TopicNameInvalid},
		{"a topic with +", "30 05 0003 612f2b", TopicNameInvalid},
		{"a topic with #", "30 05 0003 612f23", TopicNameInvalid},
		{"a topic that is not UTF-8", "30 03 0001 ff", MalformedPacket},
		{"a topic with a surrogate", "30 05 0003 eda080", MalformedPacket},
		{"a topic in overlong UTF-8", "30 04 0002 c080", MalformedPacket},
		{"a topic with a null character", "30 05 0003 610062", MalformedPacket},
		{"a topic that reaches beyond the packet", "30 03 0002 61", MalformedPacket},
		{"PUBACK with packet identifier 0", "40 02 0000", ProtocolError},
		{"PUBACK with flags", "42 02 0001", MalformedPacket},
		{"PUBACK with a reason", "40 03 0001 00", MalformedPacket},
		{"PUBREL without flags", "60 02 0001", MalformedPacket},
		{"SUBSCRIBE without flags", "80 06 0001 0001 23 00", MalformedPacket},
		{"SUBSCRIBE with packet identifier 0", "82 06 0000 0001 23 00", ProtocolError},
		{"SUBSCRIBE without a filter", "82 02 0001", ProtocolError},
		{"SUBSCRIBE without a QoS", "82 05 0001 0001 23", MalformedPacket},
		{"a subscription with QoS 3", "82 06 0001 0001 23 03", MalformedPacket},
		{"a subscription with reserved bits", "82 06 0001 0001 23 04", MalformedPacket},
		{"a filter that is not UTF-8", "82 06 0001 0001 ff 00", MalformedPacket},
		{"SUBACK without a return code", "90 02 0001", ProtocolError},
		{"SUBACK with a reserved return code", "90 03 0001 81", MalformedPacket},
		{"UNSUBSCRIBE without flags", "a0 05 0001 0001 23", MalformedPacket},
		{"UNSUBSCRIBE with packet identifier 0", "a2 05 0000 0001 23", ProtocolError},
		{"UNSUBSCRIBE without a filter", "a2 02 0001", ProtocolError},
		{"UNSUBACK with a reason", "b0 03 0001 00", MalformedPacket},
		{"PINGREQ with a body", "c0 01 00", MalformedPacket},
		{"PINGRESP with flags", "d1 00", MalformedPacket},
		{"DISCONNECT with a reason", "e0 01 00", MalformedPacket},
		{"a remaining length of five bytes", "30 80 80 80 80 01", MalformedPacket},
	},
	V5: {
		{"a level to come", "10 0d 0004 4d515454 06 02 0000 00 0000", UnsupportedProtocolVersion},
		{"the reserved flag of CONNECT", "10 0d 0004 4d515454 05 03 0000 00 0000", MalformedPacket},
		{"an unknown property", "10 0f 0004 4d515454 05 02 0000 02 7f00 0000", MalformedPacket},
		{"property 0", "10 0f 0004 4d515454 05 02 0000 02 0000 0000", MalformedPacket},
		{"a property of another packet", "10 10 0004 4d515454 05 02 0000 03 23 0001 0000", MalformedPacket},
		{"a property of the will in CONNECT", "10 12 0004 4d515454 05 02 0000 05 18 00000001 0000", MalformedPacket},
		{"a property of PUBLISH in the will", "10 16 0004 4d515454 05 06 0000 00 0000 03 23 0001 0001 77 0000", MalformedPacket},
		{"properties that reach beyond the packet", "10 0d 0004 4d515454 05 02 0000 0a 0000", MalformedPacket},
		{"a property that reaches beyond the properties", "10 0f 0004 4d515454 05 02 0000 02 21 00 0a00", MalformedPacket},
		{"a property length with padding", "10 0e 0004 4d515454 05 02 0000 8000 0000", MalformedPacket},
		{"a property repeated", "10 13 0004 4d515454 05 02 0000 06 21 0001 21 0001 0000", ProtocolError},
		{"receive maximum 0", "10 10 0004 4d515454 05 02 0000 03 21 0000 0000", ProtocolError},
		{"maximum packet size 0", "10 12 0004 4d515454 05 02 0000 05 27 00000000 0000", ProtocolError},
		{"request response information 2", "10 0f 0004 4d515454 05 02 0000 02 19 02 0000", ProtocolError},
		{"request problem information 2", "10 0f 0004 4d515454 05 02 0000 02 17 02 0000", ProtocolError},
		{"authentication data without a method", "10 11 0004 4d515454 05 02 0000 04 16 0001 00 0000", ProtocolError},
		{"a will with payload format 2", "10 15 0004 4d515454 05 06 0000 00 0000 02 01 02 0001 77 0000", ProtocolError},
		{"a remaining length with padding", "30 85 00 0001 61 00 6869", MalformedPacket},
		{"CONNACK with a reason of another packet", "20 03 00 8b 00", ProtocolError},
		{"CONNACK with maximum QoS 2", "20 05 00 00 02 24 02", ProtocolError},
		{"CONNACK with receive maximum 0", "20 06 00 00 03 21 0000", ProtocolError},
		{"neither topic nor alias", "30 03 0000 00", ProtocolError},
		{"topic alias 0", "30 07 0001 61 03 23 0000", TopicAliasInvalid},
		{"topic alias repeated", "30 0a 0001 61 06 23 0001 23 0001", ProtocolError},
		{"payload format 2", "30 06 0001 61 02 01 02", ProtocolError},
		{"a response topic with a wildcard", "30 08 0001 61 04 08 0001 23", ProtocolError},
		{"an empty response topic", "30 07 0001 61 03 08 0000", ProtocolError},
		{"subscription identifier 0", "30 06 0001 61 02 0b 00", ProtocolError},
		{"a subscription identifier of five bytes", "30 0a 0001 61 06 0b 8080808001", MalformedPacket},
		{"a user property without a value", "30 07 0001 61 03 26 0000", MalformedPacket},
		{"a content type that is not UTF-8", "30 08 0001 61 04 03 0001 ff", MalformedPacket},
		{"PUBACK with a reason of PUBREL", "40 03 0001 92", ProtocolError},
		{"PUBREL with a reason of PUBACK", "62 03 0001 10", ProtocolError},
		{"PUBCOMP with an undefined reason", "70 03 0001 ff", ProtocolError},
		{"PUBREC with a property of another packet", "50 09 0001 00 05 11 00000000", MalformedPacket},
		{"subscription identifier 0 in SUBSCRIBE", "82 09 0001 02 0b 00 0001 23 00", ProtocolError},
		{"two subscription identifiers in SUBSCRIBE", "82 0b 0001 04 0b 01 0b 02 0001 23 00", ProtocolError},
		{"a subscription with QoS 3", "82 07 0001 00 0001 23 03", ProtocolError},
		{"a subscription with retain handling 3", "82 07 0001 00 0001 23 30", ProtocolError},
		{"a subscription with reserved bits", "82 07 0001 00 0001 23 40", MalformedPacket},
		{"no local on a shared subscription", "82 0e 0001 00 0008 2473686172652f67 04", ProtocolError},
		{"SUBACK with a reason of UNSUBACK", "90 04 0001 00 11", ProtocolError},
		{"UNSUBACK without a reason", "b0 03 0001 00", ProtocolError},
		{"UNSUBACK with a reason of SUBACK", "b0 04 0001 00 01", ProtocolError},
		{"DISCONNECT with a reason of CONNACK", "e0 01 85", ProtocolError},
		{"DISCONNECT with bytes behind the properties", "e0 03 00 00 00", MalformedPacket},
		{"AUTH with a reason of DISCONNECT", "f0 06 04 04 15 0001 6d", ProtocolError},
		{"AUTH without properties to go with its reason", "f0 01 18", MalformedPacket},
		{"AUTH without a method", "f0 02 18 00", ProtocolError},
	},
}

func TestRefusals(t *testing.T) {
	for version, rows := range refusals {
		for _, row := range rows {
			t.Run(version.String()+" "+row.name, func(t *testing.T) {
				_, err := readerOf(version, unhex(t, row.hex)).Read()
				var refusal *Error
				require.ErrorAs(t, err, &refusal)
				require.Equal(t, row.reason, refusal.Reason, refusal.Text)
			})
		}
	}
}

func TestToleratedPackets(t *testing.T) {
	for _, row := range []struct {
		name    string
		version Version
		hex     string
		packet  Packet
	}{
		{"a user name and a password that 3.1 announces and omits", V31, "10 0f 0006 4d5149736470 03 c2 0000 0001 61", &Connect{Version: V31, CleanStart: true, ClientID: "a"}},
		{"a long client identifier in 3.1", V31, "10 26 0006 4d5149736470 03 02 0000 0018" + strings.Repeat("61", 24), &Connect{Version: V31, CleanStart: true, ClientID: strings.Repeat("a", 24)}},
		{"reserved and will flags without a will in 3.1", V31, "10 0f 0006 4d5149736470 03 3b 0000 0001 61", &Connect{Version: V31, CleanStart: true, ClientID: "a"}},
		{"the reserved byte of CONNACK in 3.1", V31, "20 02 01 00", &Connack{}},
		{"PUBREL repeated in 3.1", V31, "6a 02 0001", &Pubrel{Answer{PacketID: 1}}},
		{"SUBSCRIBE without flags and with reserved bits in 3.1", V31, "80 06 0001 0001 23 fd", &Subscribe{PacketID: 1, Filters: []Filter{{Topic: "#", QoS: 1}}}},
		{"a remaining length with padding in 3.1.1", V311, "40 82 00 0001", &Puback{Answer{PacketID: 1}}},
		{"control and private characters in a topic", V311, "30 09 0007 01 7f efbfbf 0a 20", &Publish{Topic: "\x01\x7f\uFFFF\n "}},
		{"filters that are answered one by one", V311, "82 0f 0001 0000 00 0003 236123 00 0001 2b 00", &Subscribe{PacketID: 1, Filters: []Filter{{}, {Topic: "#a#"}, {Topic: "+"}}}},
		{"DISCONNECT in the long form", V5, "e0 02 00 00", &Disconnect{}},
		{"PUBACK in the long form", V5, "40 04 0001 00 00", &Puback{Answer{PacketID: 1}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := readerOf(row.version, unhex(t, row.hex)).Read()
			require.NoError(t, err)
			require.Equal(t, row.packet, p)
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("a", 65536)
	for _, row := range []struct {
		name    string
		version Version
		packet  Packet
		reason  ReasonCode
	}{
		{"a version that does not exist", 6, &Pingreq{}, UnsupportedProtocolVersion},
		{"CONNECT of another version", V5, &Connect{Version: V311, CleanStart: true}, ProtocolError},
		{"a string that is too long", V5, &Connect{Version: V5, ClientID: long}, MalformedPacket},
		{"binary data that is too long", V5, &Connect{Version: V5, Password: []byte(long)}, MalformedPacket},
		{"a string that is not UTF-8", V5, &Connect{Version: V5, Username: new("\xff")}, MalformedPacket},
		{"a property with a null character", V5, &Disconnect{ReasonString: "\x00"}, MalformedPacket},
		{"a topic that is too long", V311, &Publish{Topic: long}, MalformedPacket},
		{"a topic with a wildcard", V311, &Publish{Topic: "a/+"}, TopicNameInvalid},
		{"a keep alive that is too long", V311, &Connect{Version: V311, CleanStart: true, KeepAlive: 65536 * time.Second}, MalformedPacket},
		{"a negative interval", V5, &Publish{Topic: "a", Properties: PublishProperties{MessageExpiry: new(-time.Second)}}, MalformedPacket},
		{"a will with a topic alias", V5, &Connect{Version: V5, Will: &Will{Topic: "w", Properties: PublishProperties{TopicAlias: 1}}}, ProtocolError},
		{"a packet identifier at QoS 0", V311, &Publish{Topic: "a", PacketID: 1}, ProtocolError},
		{"a subscription identifier that is too large", V5, &Subscribe{PacketID: 1, Identifier: 1 << 28, Filters: []Filter{{Topic: "#"}}}, ProtocolError},
		{"no local in 3.1.1", V311, &Subscribe{PacketID: 1, Filters: []Filter{{Topic: "#", NoLocal: true}}}, ProtocolError},
		{"a reason for DISCONNECT in 3.1.1", V311, &Disconnect{Reason: ServerBusy}, ProtocolError},
		{"a reason that the packet may not carry", V5, &Puback{Answer{PacketID: 1, Reason: ServerBusy}}, ProtocolError},
		{"a success that 3.1.1 does not have", V311, &Connack{Reason: ContinueAuthentication}, ProtocolError},
		{"AUTH in 3.1.1", V311, &Auth{Method: "m"}, ProtocolError},
		{"more than a remaining length can say", V311, &Publish{Topic: "a", Payload: make([]byte, maxVarint-2)}, PacketTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			dst, err := Append([]byte("before"), row.version, row.packet)
			require.Equal(t, "before", string(dst))
			var refusal *Error
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, row.reason, refusal.Reason, refusal.Text)
		})
	}
}

func TestAppendAdaptsTo3(t *testing.T) {
	for _, row := range []struct {
		name   string
		packet Packet
		hex    string
	}{
		{"a reason becomes a return code", &Connack{Reason: Banned, ReasonString: "out"}, "20 02 00 05"},
		{"the reason of an answer is dropped", &Puback{Answer{PacketID: 1, Reason: QuotaExceeded, ReasonString: "full"}}, "40 02 0001"},
		{"a failed subscription is 0x80", &Suback{PacketID: 1, Reasons: []ReasonCode{GrantedQoS1, TopicFilterInvalid}}, "90 04 0001 01 80"},
		{"UNSUBACK has no reasons", &Unsuback{PacketID: 1, Reasons: []ReasonCode{Success}}, "b0 02 0001"},
		{"properties are dropped", &Publish{Topic: "a", Properties: PublishProperties{ContentType: new("\xff"), User: []UserProperty{{"k", "v"}}}}, "30 03 0001 61"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, err := Append(nil, V311, row.packet)
			require.NoError(t, err)
			require.Equal(t, unhex(t, row.hex), b)
		})
	}
}

func TestIntervalsAreRoundedUp(t *testing.T) {
	b, err := Append(nil, V5, &Publish{Topic: "a", Properties: PublishProperties{MessageExpiry: new(1500 * time.Millisecond)}})
	require.NoError(t, err)
	require.Equal(t, unhex(t, "30 09 0001 61 05 02 00000002"), b)
}

func TestErrorNamesThePacket(t *testing.T) {
	_, err := readerOf(V311, unhex(t, "30 05 0003 612f23")).Read()
	require.EqualError(t, err, "PUBLISH: the topic name has a wildcard [MQTT-3.3.2-2]")
}

func TestTopics(t *testing.T) {
	for _, row := range []struct {
		name         string
		s            string
		topic, match ReasonCode // of ValidTopicName and ValidTopicFilter
	}{
		{"a level", "a", Success, Success},
		{"a slash", "/", Success, Success},
		{"empty levels and blanks", "/ //é", Success, Success},
		{"control and non-characters", "\x01\x1f\uFFFE", Success, Success},
		{"a system topic", "$SYS/x", Success, Success},
		{"the longest", strings.Repeat("a", 65535), Success, Success},
		{"nothing", "", TopicNameInvalid, TopicFilterInvalid},
		{"too long", strings.Repeat("a", 65536), MalformedPacket, MalformedPacket},
		{"a null character", "a\x00", MalformedPacket, MalformedPacket},
		{"ill-formed UTF-8", "a\xc0\x80", MalformedPacket, MalformedPacket},
		{"a surrogate", "\xed\xa0\x80", MalformedPacket, MalformedPacket},
		{"everything", "#", TopicNameInvalid, Success},
		{"one level", "+", TopicNameInvalid, Success},
		{"wildcards in their places", "+/a/+/#", TopicNameInvalid, Success},
		{"# before the end", "#/a", TopicNameInvalid, TopicFilterInvalid},
		{"# behind letters", "a#", TopicNameInvalid, TopicFilterInvalid},
		{"# twice", "##", TopicNameInvalid, TopicFilterInvalid},
		{"+ with letters", "a/b+/c", TopicNameInvalid, TopicFilterInvalid},
		{"a shared filter", "$share/g/a/#", TopicNameInvalid, Success},
		{"a shared filter of an empty level", "$share/g//", Success, Success},
		{"no share name", "$share//a", Success, TopicFilterInvalid},
		{"a wildcard for a share name", "$share/+/a", TopicNameInvalid, TopicFilterInvalid},
		{"a share name without a filter", "$share/g", Success, TopicFilterInvalid},
		{"a share name with an empty filter", "$share/g/", Success, TopicFilterInvalid},
		{"a shared filter that is not valid", "$share/g/a#", TopicNameInvalid, TopicFilterInvalid},
		{"the bare word", "$share", Success, Success},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.topic, reasonOf(t, ValidTopicName(row.s)))
			require.Equal(t, row.match, reasonOf(t, ValidTopicFilter(row.s)))
		})
	}
}

func reasonOf(t *testing.T, err error) ReasonCode {
	t.Helper()
	if err == nil {
		return Success
	}
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	return refusal.Reason
}

func TestReasons(t *testing.T) {
	require.Equal(t, "session taken over", SessionTakenOver.String())
	require.Equal(t, "reason 0x05", ReasonCode(5).String())
	require.Equal(t, "reason 0xA3", ReasonCode(0xA3).String())
	require.True(t, NoMatchingSubscribers.ValidIn(&Puback{}))
	require.False(t, NoMatchingSubscribers.ValidIn(&Pubrel{}))
	require.False(t, ReasonCode(0xFF).ValidIn(&Disconnect{}))
	for code, reason := range returnCodes {
		require.EqualValues(t, code, reason.ReturnCode())
	}
	for r := ReasonCode(0x80); r != 0; r++ {
		require.GreaterOrEqual(t, r.ReturnCode(), byte(1), r)
		require.LessOrEqual(t, r.ReturnCode(), byte(5), r)
	}
}
