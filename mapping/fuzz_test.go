package mapping_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"a/b", "/", "$SYS/é", "a b.*>=", "\ufffd/\xef", "cw.t.a.=.b", "cw.t$.$a", "cw.t.=2E=EF=BF=BD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if subject, err := mapping.Subject("cw.t", s); err == nil {
			back, err := mapping.TopicOf("cw.t", subject)
			require.NoError(t, err)
			require.Equal(t, s, back)
		}
		if topic, err := mapping.TopicOf("cw.t", s); err == nil {
			back, err := mapping.Subject("cw.t", topic)
			require.NoError(t, err)
			require.Equal(t, s, back)
		}
		back, ok := mapping.KeyName(mapping.Key(s))
		require.True(t, back == s || !ok)
	})
}

func FuzzDestination(f *testing.F) {
	for _, s := range []string{"/topic/a.b", "/queue/%41%2e%", "/topic/+/#", "/queue/sensors.1.set", "/topic/billing.x", "/topic/$share/a/b", "/temp-queue/x", "queue/a", "a/ ", "$temp/a"} {
		f.Add(s)
	}
	table := newTable(f, docRules...)
	f.Fuzz(func(t *testing.T, s string) {
		topic := s
		if n, err := table.FromDestination(s); err == nil {
			topic = n.Topic
			require.NoError(t, mapping.ValidTopic(topic))
		}
		if filter, err := table.FilterFromDestination(s); err == nil {
			require.NoError(t, mapping.ValidFilter(filter.Filter))
		}
		if mapping.ValidTopic(topic) != nil {
			return
		}
		back, err := table.FromDestination(table.Destination(topic))
		require.NoError(t, err)
		require.Equal(t, topic, back.Topic)
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add("1qru|ctext/plain|k%00|pa^b|omqtt^5^c^^g^1|e5|", []byte("body"))
	f.Add("body=5", []byte("1|ix|body"))
	f.Add("1|c%", []byte(nil))
	f.Fuzz(func(t *testing.T, header string, data []byte) {
		var e, back mapping.Envelope
		if e.Decode(header, data) != nil {
			return
		}
		requireHeader(t, first(e.Encode()))
		require.NoError(t, back.Decode(e.Encode()))
		require.Equal(t, e, back)
	})
}

func first[A, B any](a A, _ B) A { return a }
