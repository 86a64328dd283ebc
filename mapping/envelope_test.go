package mapping_test

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// requireHeader checks that NATS clients carry a header as it is.
func requireHeader(t require.TestingT, header string) {
	require.Equal(t, header, strings.TrimSpace(header))
	require.True(t, utf8.ValidString(header))
	require.False(t, strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r == 0x7f }))
}

// requireMQTT checks that every peer takes s for an MQTT string.
func requireMQTT(t require.TestingT, s string) {
	require.LessOrEqual(t, len(s), 65535)
	require.True(t, utf8.ValidString(s))
	require.False(t, strings.ContainsFunc(s, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
	}))
}

func TestHeaders(t *testing.T) {
	for _, row := range []struct {
		name     string
		header   string
		envelope mapping.Envelope
	}{
		{"nothing to say", "", mapping.Envelope{}},
		{"at least once", "1q|", mapping.Envelope{QoS: 1}},
		{"exactly once, retained, text", "1Qru|", mapping.Envelope{QoS: 2, Retain: true, UTF8: true}},
		{"a content type", "1|ctext/plain; charset=utf-8|", mapping.Envelope{ContentType: "text/plain; charset=utf-8", HasContentType: true}},
		{"an empty content type", "1|c|", mapping.Envelope{HasContentType: true}},
		{"a request", "1|treplies/7|kab%00|", mapping.Envelope{ReplyTo: "replies/7", Correlation: []byte("ab\x00")}},
		{"an empty correlation", "1|k|", mapping.Envelope{Correlation: []byte{}}},
		{"an expiry", "1|e1700000000123|", mapping.Envelope{Expires: time.UnixMilli(1700000000123)}},
		{"what a STOMP sender wrote", "1|im-1|d/queue/a.b|", mapping.Envelope{ID: "m-1", Destination: "/queue/a.b"}},
		{
			"properties in order, with duplicates and without values", "1|pb^1|pa^|pb^2|p^|",
			mapping.Envelope{Properties: []mapping.Property{{"b", "1"}, {"a", ""}, {"b", "2"}, {"", ""}}},
		},
		{
			"properties with every kind of character", "1|p%7C^%5E%25|pé^%0D%0A%00%7F%FF|",
			mapping.Envelope{Properties: []mapping.Property{{"|", "^%"}, {"é", "\r\n\x00\x7f\xff"}}},
		},
		{
			"an origin", "1|omqtt^5^sensor-7^^gw1^42|",
			mapping.Envelope{Origin: mapping.Origin{Protocol: "mqtt", Version: "5", Client: "sensor-7", Gateway: "gw1", Connection: "42"}},
		},
		{
			"a trace", "1|T00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01|Svendor=1|",
			mapping.Envelope{TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "vendor=1"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.envelope.Body = []byte("body")
			header, data := row.envelope.Encode()
			require.Equal(t, row.header, header)
			require.Equal(t, row.envelope.Body, data)
			requireHeader(t, header)

			// The topic and the time are not the header's.
			got := mapping.Envelope{Topic: "a/b", Time: time.Unix(1, 0), ID: "old", Properties: []mapping.Property{{"old", ""}}}
			require.NoError(t, got.Decode(header, data))
			row.envelope.Topic, row.envelope.Time = "a/b", time.Unix(1, 0)
			require.Equal(t, row.envelope, got)
		})
	}
}

func TestHeadersOfANewerGateway(t *testing.T) {
	var e mapping.Envelope
	require.NoError(t, e.Decode("1qZ|znew^thing|ctext/plain|", nil))
	require.Equal(t, mapping.Envelope{QoS: 1, ContentType: "text/plain", HasContentType: true}, e)
}

func TestDamagedHeaders(t *testing.T) {
	for _, row := range []struct{ name, header string }{
		{"another version", "2|"},
		{"no end of the flags", "1q"},
		{"no version", "|"},
		{"no end of a field", "1|cx"},
		{"an empty field", "1||"},
		{"half an escape", "1|c%4|"},
		{"no escape", "1|c%zz|"},
		{"no value of a property", "1|pname|"},
		{"two values of a property", "1|pname^a^b|"},
		{"half an origin", "1|omqtt^5|"},
		{"an expiry that is no number", "1|esoon|"},
		{"an offset that is no number", "body=x"},
		{"a negative offset", "body=-1"},
		{"an offset behind the end", "body=5"},
		{"an offset beyond all bounds", "body=99999999999999999999"},
		{"no metadata in front of the body", "body=0"},
		{"other metadata in front of the body", "body=4"},
		{"blanks", " "},
	} {
		t.Run(row.name, func(t *testing.T) {
			var e mapping.Envelope
			require.ErrorContains(t, e.Decode(row.header, []byte("data")), "metadata of a message is damaged")
		})
	}
}

func TestNATSClientsCarryTheHeader(t *testing.T) {
	e := mapping.Envelope{QoS: 1, ContentType: " é ", Correlation: []byte{0, 0xff, ' '}, Properties: []mapping.Property{{" ", "\r\n "}}}
	header, _ := e.Encode()
	carried, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\n" + mapping.HeaderName + ": " + header + "\r\n\r\n"))
	require.NoError(t, err)
	require.Equal(t, []string{header}, carried.Values(mapping.HeaderName))
}
