package mapping_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/causeway-mq/causeway/mapping"
)

// levels are drawn from what means something somewhere, so that names meet,
// and from anything at all.
var (
	meaningful = rapid.SampledFrom([]string{
		"", "", "a", "b", "queue", "topic", "$temp", "$share", "$SYS", "$queue", "*", ">", "=", ".", "%", "%2B", "%20", "%zz",
		" ", "a b", " a", "a ", "\t", "\u0085", "\u00a0", "\u2003", "\ufeff", "\ufffd", "é", "=20", "=", "{x}", "a.b", ">a", "a*",
	})
	anything = rapid.Custom(func(t *rapid.T) string {
		return strings.Map(func(r rune) rune {
			if r == 0 || strings.ContainsRune("+#/", r) {
				return '.'
			}
			return r
		}, rapid.StringN(0, 6, 20).Draw(t, "text"))
	})
	topics = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(meaningful, anything), 1, 5).Draw(t, "levels"), "/")
	}).Filter(func(topic string) bool { return mapping.ValidTopic(topic) == nil })
	filters = rapid.Custom(func(t *rapid.T) string {
		plus := rapid.Just("+")
		levels := rapid.SliceOfN(rapid.OneOf(meaningful, plus, plus), 1, 5).Draw(t, "levels")
		if rapid.Bool().Draw(t, "rest") {
			levels[len(levels)-1] = "#"
		}
		return strings.Join(levels, "/")
	}).Filter(func(filter string) bool { return mapping.ValidFilter(filter) == nil })
)

// rules draws rules that New takes, over few literals, so that they overlap.
var rules = rapid.Custom(func(t *rapid.T) []mapping.Rule {
	part := rapid.SampledFrom([]string{"a", "b", "{x}", "{y}", "{z...}", "%2E", "", "queue"})
	var rules []mapping.Rule
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		prefix := rapid.SampledFrom([]string{"topic", "queue", "a", "mine"}).Draw(t, "prefix")
		parts := rapid.SliceOfN(part, 0, 3).Draw(t, "stomp")
		sep := rapid.SampledFrom([]string{"/", "."}).Draw(t, "separator")
		r := mapping.Rule{
			STOMP: "/" + strings.Join(append([]string{prefix}, parts...), sep),
			MQTT:  strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "mqtt"), "/"),
			Kind:  rapid.SampledFrom([]string{"topic", "queue"}).Draw(t, "kind"),
		}
		if rapid.IntRange(0, 4).Draw(t, "shared") == 0 {
			r.MQTT, r.Kind = "$share/g/"+r.MQTT, ""
		}
		if _, err := mapping.New(mapping.Options{Rules: []mapping.Rule{r}}); err == nil {
			rules = append(rules, r)
		}
	}
	return rules
})

// ruleTopics are topics that such rules are likely to match.
var ruleTopics = rapid.Map(
	rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "queue", "%2E", "$temp"}), 1, 5),
	func(levels []string) string { return strings.Join(levels, "/") },
).Filter(func(topic string) bool { return topic != "" })

func drawTable(t *rapid.T) *mapping.Table {
	table, err := mapping.New(mapping.Options{Rules: rules.Draw(t, "rules")})
	require.NoError(t, err)
	return table
}

func TestEveryTopicSurvivesItsSubject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := topics.Draw(t, "topic")
		subject, err := mapping.Subject("cw.t", topic)
		require.NoError(t, err)
		require.True(t, server.IsValidPublishSubject(subject), "%q", subject)
		require.NotContains(t, subject, "\ufffd", "a file store takes it for damage")
		back, err := mapping.TopicOf("cw.t", subject)
		require.NoError(t, err)
		require.Equal(t, topic, back)
	})
}

func TestATopicHasOneSubject(t *testing.T) {
	token := rapid.SampledFrom([]string{"a", "=", "=20", "=2E", "=3D", "==", "=2e", "=41", "=2F", "=00", "=EF=BF=BD", "=EF", "\ufffd", "", "*", ">", "$a", "a=", "/", "+", " ", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		subject := rapid.SampledFrom([]string{"cw.t.", "cw.t$.", "cw.t"}).Draw(t, "root") +
			strings.Join(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
				return strings.Join(rapid.SliceOfN(token, 1, 3).Draw(t, "parts"), "")
			}), 1, 4).Draw(t, "tokens"), ".")
		topic, err := mapping.TopicOf("cw.t", subject)
		if err != nil {
			return
		}
		back, err := mapping.Subject("cw.t", topic)
		require.NoError(t, err)
		require.Equal(t, subject, back)
	})
}

func TestEveryTopicSurvivesItsDestination(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, topic := drawTable(t), rapid.OneOf(topics, ruleTopics).Draw(t, "topic")
		destination := table.Destination(topic)
		require.Equal(t, destination, strings.TrimSpace(destination), "clients trim")
		require.False(t, strings.ContainsFunc(destination, func(r rune) bool { return r < ' ' || r == 0x7f }), "1.0 has no escapes")
		n, err := table.FromDestination(destination)
		require.NoError(t, err)
		require.Equal(t, topic, n.Topic)
		require.Equal(t, table.Kind(topic), n.Kind)
		require.False(t, n.Own)

		f, err := table.FilterFromDestination(destination)
		require.NoError(t, err, "what is received can be subscribed to")
		require.Equal(t, topic, f.Filter)
		require.Equal(t, n.Kind, f.Kind)
	})
}

func TestWhatADestinationMeansCanBeSentBack(t *testing.T) {
	text := rapid.OneOf(meaningful, rapid.SampledFrom([]string{"+", "#", "%2", "%41", "%2f", "%C3%A9", "%C3", "%00", "a+b"}))
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		destination := "/" + rapid.SampledFrom([]string{"topic", "queue", "a", "mine", "mqtt-topic", "remote-temp-queue"}).Draw(t, "prefix") +
			rapid.SampledFrom([]string{"/", "."}).Draw(t, "separator") +
			strings.Join(rapid.SliceOfN(text, 1, 4).Draw(t, "levels"), rapid.SampledFrom([]string{"/", "."}).Draw(t, "separator"))
		n, err := table.FromDestination(destination)
		if err != nil {
			return
		}
		require.NoError(t, mapping.ValidTopic(n.Topic))
		back, err := table.FromDestination(table.Destination(n.Topic))
		require.NoError(t, err)
		require.Equal(t, n.Topic, back.Topic)
		require.Equal(t, n.Kind, back.Kind)
	})
}

// nearFilter draws a filter that most likely matches topic.
func nearFilter(t *rapid.T, topic string) string {
	levels := strings.Split(topic, "/")
	for i := range levels {
		if rapid.Bool().Draw(t, "wild") {
			levels[i] = "+"
		}
	}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		levels = append(levels, "#")
	case 1:
		levels[len(levels)-1] = "#"
	}
	return strings.Join(levels, "/")
}

// natsMatch is NATS's own rule, in the plainest words.
func natsMatch(filter, subject []string) bool {
	switch {
	case len(filter) == 0 || len(subject) == 0:
		return len(filter) == len(subject)
	case filter[0] == ">":
		return true
	}
	return (filter[0] == "*" || filter[0] == subject[0]) && natsMatch(filter[1:], subject[1:])
}

// mqttMatch is MQTT's rule, in the plainest words.
func mqttMatch(filter, topic []string, first bool) bool {
	wild := len(filter) > 0 && (filter[0] == "+" || filter[0] == "#")
	switch {
	case first && wild && strings.HasPrefix(topic[0], "$"):
		return false
	case len(filter) > 0 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic)
	}
	return (wild || filter[0] == topic[0]) && mqttMatch(filter[1:], topic[1:], false)
}

func TestFiltersMatchTheSameInMQTTAndNATS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic, filter := topics.Draw(t, "topic"), filters.Draw(t, "filter")
		if rapid.Bool().Draw(t, "near") { // make a match likely
			filter = nearFilter(t, topic)
		}
		if mapping.ValidFilter(filter) != nil {
			return
		}
		want := mqttMatch(strings.Split(filter, "/"), strings.Split(topic, "/"), true)
		require.Equal(t, want, mapping.MatchFilter(filter, topic), "%s of %s", filter, topic)

		subject, err := mapping.Subject("cw.t", topic)
		require.NoError(t, err)
		subjects, err := mapping.FilterSubjects("cw.t", filter)
		require.NoError(t, err)
		matches := 0
		for _, s := range subjects {
			require.True(t, server.IsValidSubject(s), "%q", s)
			if natsMatch(strings.Split(s, "."), strings.Split(subject, ".")) {
				matches++
			}
		}
		require.Equal(t, want, matches == 1, "%v of %s", subjects, subject)
		require.LessOrEqual(t, matches, 1, "a message must come once")
	})
}

func TestCoversAllThatMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, topic := drawTable(t), ruleTopics.Draw(t, "topic")
		filter := nearFilter(t, topic)
		if mapping.ValidFilter(filter) != nil || !mapping.MatchFilter(filter, topic) {
			return
		}
		topics, queues := table.Covers(filter)
		switch table.Kind(topic) {
		case mapping.Topic:
			require.True(t, topics)
		case mapping.Queue:
			require.True(t, queues)
		case mapping.Temp:
		}
	})
}

func TestLintFindsEveryTopicOfTwoKinds(t *testing.T) {
	builtIn := newTable(t)
	rapid.Check(t, func(t *rapid.T) {
		rules, topic := rules.Draw(t, "rules"), ruleTopics.Draw(t, "topic")
		table, err := mapping.New(mapping.Options{Rules: rules})
		require.NoError(t, err)
		kinds := map[string]bool{}
		if builtIn.Kind(topic) == mapping.Queue {
			kinds["queue"] = true
		}
		for _, r := range rules {
			if !strings.HasPrefix(r.MQTT, "$share/") && matchesTopic(t, r, builtIn, topic) {
				kinds[r.Kind] = true
			}
		}
		if len(kinds) > 1 {
			require.True(t, slices.ContainsFunc(table.Lint(), func(f mapping.Finding) bool { return f.Severity == mapping.Error }), "%v", rules)
		}
	})
}

// matchesTopic reports whether a rule, alone, changes the kind of a topic when it can.
func matchesTopic(t *rapid.T, r mapping.Rule, builtIn *mapping.Table, topic string) bool {
	switch builtIn.Kind(topic) {
	case mapping.Topic:
		r.Kind = "queue"
	case mapping.Queue:
		r.Kind = "topic"
	case mapping.Temp:
		return false
	}
	alone, err := mapping.New(mapping.Options{Rules: []mapping.Rule{r}})
	require.NoError(t, err)
	return alone.Kind(topic) != builtIn.Kind(topic)
}

func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("aZ9-_=.*> /"))), 0, 140).Draw(t, "name"))
		key := mapping.Key(name)
		require.Regexp(t, `^[-=_a-zA-Z0-9]{1,128}$`, key)
		if back, ok := mapping.KeyName(key); ok {
			require.Equal(t, name, back)
		} else {
			require.Greater(t, 3*len(name), 128)
		}
		if back, ok := mapping.KeyName(name); ok {
			require.Equal(t, name, mapping.Key(back), "a name has one key")
		}
	})
}

func TestShardIsWhatNATSSays(t *testing.T) {
	partition, err := server.NewSubjectTransform(">", "{{partition(16)}}.>")
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		topic := topics.Draw(t, "topic")
		subject, err := mapping.Subject("cw.t", topic)
		require.NoError(t, err)
		_, tokens, _ := strings.Cut(subject[len("cw.t"):], ".")
		require.Equal(t, strconv.Itoa(mapping.Shard(topic, 16))+"."+tokens, partition.TransformSubject(tokens))
		require.Zero(t, mapping.Shard(topic, 1))
	})
}

var octets = rapid.Custom(func(t *rapid.T) string {
	return string(rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("az|^%\r\n\x00 é"))), 0, 12).Draw(t, "octets"))
})

var envelopes = rapid.Custom(func(t *rapid.T) mapping.Envelope {
	e := mapping.Envelope{
		ID:          octets.Draw(t, "id"),
		Destination: octets.Draw(t, "destination"),
		QoS:         rapid.Uint8Range(0, 2).Draw(t, "qos"),
		Retain:      rapid.Bool().Draw(t, "retain"),
		UTF8:        rapid.Bool().Draw(t, "utf8"),
		ContentType: octets.Draw(t, "content type"),
		ReplyTo:     octets.Draw(t, "reply to"),
		Origin: mapping.Origin{
			Protocol: rapid.SampledFrom([]string{"", "mqtt", "stomp"}).Draw(t, "protocol"), Version: octets.Draw(t, "version"),
			Client: octets.Draw(t, "client"), User: octets.Draw(t, "user"),
			Gateway: octets.Draw(t, "gateway"), Connection: octets.Draw(t, "connection"),
		},
		TraceParent: octets.Draw(t, "parent"),
		TraceState:  octets.Draw(t, "state"),
		Body:        []byte(octets.Draw(t, "body")),
	}
	e.HasContentType = e.ContentType != "" || rapid.Bool().Draw(t, "has content type")
	if rapid.Bool().Draw(t, "correlated") {
		e.Correlation = []byte(octets.Draw(t, "correlation"))
	}
	if rapid.Bool().Draw(t, "expires") {
		e.Expires = time.UnixMilli(rapid.Int64Range(1, 1<<50).Draw(t, "ms"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "properties") {
		e.Properties = append(e.Properties, mapping.Property{Name: octets.Draw(t, "name"), Value: octets.Draw(t, "value")})
	}
	return e
})

func TestEveryEnvelopeSurvivesNATS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := envelopes.Draw(t, "envelope")
		header, data := e.Encode()
		requireHeader(t, header)
		require.Equal(t, e.Body, data)
		got := mapping.Envelope{}
		require.NoError(t, got.Decode(header, data))
		require.Equal(t, e, got)
	})
}

func TestMQTTStringsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(octets, rapid.String(), rapid.Map(octets, func(s string) string { return "%esc:" + s })).Draw(t, "value")
		legal, changed := mapping.MQTTString(s)
		requireMQTT(t, legal)
		require.Equal(t, changed, s != legal)
		back, marked := mapping.FromMQTTString(legal)
		require.Equal(t, s, back)
		require.Equal(t, changed, marked)
	})
}

func TestLongStringsAreCutBetweenCharacters(t *testing.T) {
	for _, unit := range []string{"a", "é", "\x01", "\U0001F600", "a\x01"} {
		for head := range 6 {
			s := strings.Repeat("x", head) + strings.Repeat(unit, 66000/len(unit))
			legal, changed := mapping.MQTTString(s)
			require.True(t, changed)
			requireMQTT(t, legal)
			require.Greater(t, len(legal), 65520)
			back, marked := mapping.FromMQTTString(legal)
			require.True(t, marked)
			require.True(t, strings.HasPrefix(s, back), "%q…", unit)
		}
	}
}

func TestSubjectsThatAreTooLong(t *testing.T) {
	fits := strings.Repeat("a", mapping.MaxSubject-len("cw.t."))
	subject, err := mapping.Subject("cw.t", fits)
	require.NoError(t, err)
	require.Len(t, subject, mapping.MaxSubject)
	require.NoError(t, mapping.FitSubject(subject, mapping.MaxSubject))

	_, err = mapping.Subject("cw.t", fits+"a")
	limit, ok := errors.AsType[*mapping.LimitError](err)
	require.True(t, ok)
	require.Equal(t, &mapping.LimitError{Length: mapping.MaxSubject + 1, Limit: mapping.MaxSubject}, limit)
	require.ErrorContains(t, err, "shorten it")
	_, err = mapping.FilterSubjects("cw.t", fits+"/#")
	require.ErrorAs(t, err, &limit)
	_, err = mapping.TopicOf("cw.t", subject+"a")
	require.ErrorAs(t, err, &limit)
	require.ErrorAs(t, mapping.FitSubject(subject, 4096-512), &limit)

	before := []byte("before")
	after, err := mapping.AppendSubject(before, "cw.t", fits+"a")
	require.Error(t, err)
	require.Equal(t, before, after)
}

func TestMetadataThatIsTooLongForAHeaderGoesIntoTheBody(t *testing.T) {
	e := mapping.Envelope{QoS: 1, Body: []byte("body")}
	for range 100 {
		e.Properties = append(e.Properties, mapping.Property{Name: "name", Value: strings.Repeat("v", 1000)})
	}
	header, data := e.Encode()
	require.Regexp(t, `^body=\d+$`, header)
	require.True(t, bytes.HasSuffix(data, e.Body))
	var got mapping.Envelope
	require.NoError(t, got.Decode(header, data))
	require.Equal(t, e, got)
}
