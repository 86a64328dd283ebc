package packet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestEncoded holds what Encoded makes against Append of the whole packet.
func TestEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom([]Version{V31, V311, V5}).Draw(t, "version")
		whole := drawPacket(t, publish, v).(*Publish)
		topic := whole.Topic
		if topic == "" { // sent by its alias
			topic = "a"
		}
		encoded, err := EncodePublish(v, topic, &whole.Properties)
		require.NoError(t, err)
		extra := PublishExtra{
			Dup: whole.Dup, QoS: whole.QoS, Retain: whole.Retain, PacketID: whole.PacketID,
			Identifiers: whole.Properties.Identifiers, Expiry: whole.Properties.MessageExpiry,
			Alias: whole.Properties.TopicAlias, OmitTopic: whole.Topic == "",
		}
		got := encoded.Append([]byte("before"), extra, len(whole.Payload))
		got = append(got, whole.Payload...)

		want, err := Append([]byte("before"), v, whole)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, len(want)-len("before"), encoded.Size(extra, len(whole.Payload)))
	})
}

func TestEncodedIgnoresWhat3DoesNotHave(t *testing.T) {
	encoded, err := EncodePublish(V311, "a/b", &PublishProperties{ContentType: new("text/plain")})
	require.NoError(t, err)
	extra := PublishExtra{Identifiers: []uint32{1}, Expiry: new(time.Second), Alias: 1, OmitTopic: true}
	require.Equal(t, unhex(t, "30 07 0003 612f62"), encoded.Append(nil, extra, 2))
	require.Equal(t, 9, encoded.Size(extra, 2))
}

func TestEncodedClampsTheExpiry(t *testing.T) {
	encoded, err := EncodePublish(V5, "a", &PublishProperties{MessageExpiry: new(-time.Second)}) // not shared, not looked at
	require.NoError(t, err)
	require.Equal(t, unhex(t, "30 09 0001 61 05 02 00000000"), encoded.Append(nil, PublishExtra{Expiry: new(-time.Second)}, 0))
	require.Equal(t, unhex(t, "30 09 0001 61 05 02 ffffffff"), encoded.Append(nil, PublishExtra{Expiry: new(Forever)}, 0))
}

func TestEncodePublishRefuses(t *testing.T) {
	for _, row := range []struct {
		name       string
		topic      string
		properties PublishProperties
		reason     ReasonCode
	}{
		{"a wildcard", "a/#", PublishProperties{}, TopicNameInvalid},
		{"no topic", "", PublishProperties{TopicAlias: 1}, ProtocolError},
		{"a topic that is not UTF-8", "\xff", PublishProperties{}, MalformedPacket},
		{"a user property that is not UTF-8", "a", PublishProperties{User: []UserProperty{{"\xff", ""}}}, MalformedPacket},
		{"a response topic with a wildcard", "a", PublishProperties{ResponseTopic: "+"}, ProtocolError},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := EncodePublish(V5, row.topic, &row.properties)
			require.Equal(t, row.reason, reasonOf(t, err))
		})
	}
}

func TestEncodedAllocations(t *testing.T) {
	encoded, err := EncodePublish(V5, "sensors/17/temperature", &PublishProperties{ContentType: new("application/json")})
	require.NoError(t, err)
	dst := make([]byte, 0, 1000)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		left := 10 * time.Second
		encoded.Append(dst, PublishExtra{QoS: 1, PacketID: 1, Identifiers: []uint32{1}, Expiry: &left}, 100)
	}))
}
