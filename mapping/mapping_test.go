package mapping_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// docRules are the rules of docs/mapping.md.
var docRules = []mapping.Rule{
	{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set", Kind: "topic"},
	{STOMP: "/queue/telemetry", MQTT: "$share/telemetry/sensors/+/temp"},
	{STOMP: "/queue/legacy.{name...}", MQTT: "jobs/{name...}", Kind: "queue"},
	{STOMP: "/topic/billing.{path...}", MQTT: "finance/{path...}"},
}

func newTable(tb testing.TB, rules ...mapping.Rule) *mapping.Table {
	tb.Helper()
	table, err := mapping.New(mapping.Options{Rules: rules})
	require.NoError(tb, err)
	return table
}

// docTable returns the rows of the table in docs/mapping.md whose header line
// begins with the given cells, code marks removed.
func docTable(t *testing.T, cells ...string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/mapping.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "\n| "+strings.Join(cells, " | ")+" |")
	require.True(t, found, "no such table")
	table, _, _ = strings.Cut(table, "\n\n")
	var rows [][]string
	for _, line := range strings.Split(table, "\n")[2:] {
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cell = strings.TrimPrefix(strings.TrimSuffix(cell, " "), " ")
			row = append(row, strings.Trim(cell, "`"))
		}
		rows = append(rows, row)
	}
	require.NotEmpty(t, rows)
	return rows
}

func TestDocumentedRules(t *testing.T) {
	page, err := os.ReadFile("../docs/mapping.md")
	require.NoError(t, err)
	for _, r := range docRules {
		require.Contains(t, string(page), `stomp: "`+r.STOMP+`", mqtt: "`+r.MQTT+`"`)
	}
}

func TestDocumentedDestinations(t *testing.T) {
	table := newTable(t, docRules...)
	for _, row := range docTable(t, "SEND to", "topic", "kind", "seen as") {
		destination, topic, kind, seen := row[0], row[1], row[2], row[3]
		t.Run(destination, func(t *testing.T) {
			n, err := table.FromDestination(destination)
			require.NoError(t, err)
			require.Equal(t, topic, n.Topic)
			require.Equal(t, kind, n.Kind.String())
			require.Equal(t, kind, table.Kind(topic).String())
			require.Equal(t, seen, table.Destination(topic))
		})
	}
}

func TestDocumentedRefusals(t *testing.T) {
	table := newTable(t, docRules...)
	for _, row := range docTable(t, "SEND to", "because") {
		t.Run(row[0], func(t *testing.T) {
			_, err := table.FromDestination(row[0])
			require.ErrorContains(t, err, row[1])
		})
	}
}

func TestDocumentedFilters(t *testing.T) {
	table := newTable(t, docRules...)
	for _, row := range docTable(t, "SUBSCRIBE to", "filter", "kind", "group") {
		destination, filter, kind, group := row[0], row[1], row[2], row[3]
		t.Run(destination, func(t *testing.T) {
			f, err := table.FilterFromDestination(destination)
			require.NoError(t, err)
			require.Equal(t, filter, f.Filter)
			require.Equal(t, kind, f.Kind.String())
			require.Equal(t, group, f.Group)
			require.False(t, f.Own)
		})
	}
}

func TestDocumentedSubjects(t *testing.T) {
	for _, row := range docTable(t, "topic", "subject") {
		t.Run(row[0], func(t *testing.T) {
			subject, err := mapping.Subject("cw.t", row[0])
			require.NoError(t, err)
			require.Equal(t, row[1], subject)
			topic, err := mapping.TopicOf("cw.t", subject)
			require.NoError(t, err)
			require.Equal(t, row[0], topic)
		})
	}
}

func TestOneUnknownPrefixNamesThoseThatThereAre(t *testing.T) {
	table := newTable(t, mapping.Rule{STOMP: "/exchange/{name...}", MQTT: "x/{name...}"})
	_, err := table.FromDestination("/jms/x")
	require.EqualError(t, err, `destination "/jms/x": unknown prefix: begin it with /exchange/ /queue/ /temp-queue/ /temp-topic/ /topic/`)
	_, err = table.FromDestination("/exchange")
	require.ErrorContains(t, err, "a name must follow")
}

func TestTemporaryDestinationsAreRelativeToTheirOwner(t *testing.T) {
	table := newTable(t)
	for _, d := range []string{"/temp-queue/replies.1", "/temp-topic/replies/1"} {
		n, err := table.FromDestination(d)
		require.NoError(t, err)
		require.Equal(t, "replies/1", n.Topic)
		require.Equal(t, mapping.Temp, n.Kind)
		require.True(t, n.Own)
		f, err := table.FilterFromDestination(d)
		require.NoError(t, err)
		require.Equal(t, "replies/1", f.Filter)
		require.Equal(t, mapping.Temp, f.Kind)
		require.True(t, f.Own)
	}
	n, err := table.FromDestination("/remote-temp-queue/gw/1/x")
	require.NoError(t, err)
	require.False(t, n.Own)
}

func TestWildcardsOfSubscribeAreRefused(t *testing.T) {
	table := newTable(t)
	for destination, reason := range map[string]string{
		"/topic/a.#.b":                        "only at the end; write %23",
		"/topic/>/b":                          "only at the end; write %3E",
		"/topic/queue.#":                      "/queue/#",
		"/topic/$share/g/#":                   "header group",
		"/topic/$temp/#":                      "private",
		"/*/a":                                "unknown prefix",
		"/topic/" + strings.Repeat("a", 70e3): "longest",
	} {
		_, err := table.FilterFromDestination(destination)
		require.ErrorContains(t, err, reason, destination)
	}
}

func TestQueueRoot(t *testing.T) {
	table, err := mapping.New(mapping.Options{QueueRoot: "work/queues"})
	require.NoError(t, err)
	n, err := table.FromDestination("/queue/a.b")
	require.NoError(t, err)
	require.Equal(t, mapping.Name{Topic: "work/queues/a/b", Kind: mapping.Queue, Rule: "built in: /queue/{path...}", Remainder: "a/b"}, n)
	require.Equal(t, "/queue/a/b", table.Destination(n.Topic))
	_, err = table.FromDestination("/topic/work.queues.a")
	require.ErrorContains(t, err, "/queue/a")

	for _, root := range []string{"a/", "$queue", "a/+", "/a", "a//b"} {
		_, err := mapping.New(mapping.Options{QueueRoot: root})
		require.ErrorContains(t, err, "queues.root: ", root)
	}
}

func TestNewNamesEveryWrongRule(t *testing.T) {
	for _, row := range []struct {
		name string
		rule mapping.Rule
		says string
	}{
		{"no slash in front", mapping.Rule{STOMP: "queue/a", MQTT: "a"}, "begin it with /"},
		{"nothing at all", mapping.Rule{STOMP: "/", MQTT: "a"}, "a name must follow"},
		{"a placeholder as prefix", mapping.Rule{STOMP: "/{a}/b", MQTT: "b/{a}"}, "prefix of its own"},
		{"a built-in prefix", mapping.Rule{STOMP: "/temp-queue/{a}", MQTT: "b/{a}"}, "/temp-queue/ is built in"},
		{"a part of a level in stomp", mapping.Rule{STOMP: "/q/x{a}", MQTT: "b/{a}"}, "whole level"},
		{"a part of a level after it", mapping.Rule{STOMP: "/q/{a}x", MQTT: "b/{a}"}, "whole level"},
		{"a part of a level in mqtt", mapping.Rule{STOMP: "/q/{a}", MQTT: "b/x{a}"}, "whole level"},
		{"a nameless placeholder", mapping.Rule{STOMP: "/q/{}", MQTT: "b"}, "plain name"},
		{"dots in a name", mapping.Rule{STOMP: "/q/{a.b}", MQTT: "b"}, "plain name"},
		{"the rest in the middle", mapping.Rule{STOMP: "/q/{a...}/x", MQTT: "b/{a...}"}, "only at the end"},
		{"one name twice", mapping.Rule{STOMP: "/q/{a}/{a}", MQTT: "b/{a}"}, "stands twice"},
		{"a wildcard in stomp", mapping.Rule{STOMP: "/q/*", MQTT: "b"}, "write {name} for one level, {name...} for the rest, or %2A"},
		{"a wildcard in mqtt", mapping.Rule{STOMP: "/q/x", MQTT: "b/+"}, "only in $share/ rules"},
		{"nothing to fill in", mapping.Rule{STOMP: "/q/x", MQTT: "b/{a}"}, "{a} does not stand in the same form in stomp"},
		{"a level for the rest", mapping.Rule{STOMP: "/q/{a...}", MQTT: "b/{a}"}, "same form"},
		{"no topic", mapping.Rule{STOMP: "/q/x"}, "empty"},
		{"somebody's temporary topic", mapping.Rule{STOMP: "/q/{a...}", MQTT: "$temp/{a...}"}, "cannot be mapped"},
		{"no filter in the group", mapping.Rule{STOMP: "/q/x", MQTT: "$share/g"}, "$share/GROUP/FILTER"},
		{"a kind of a group", mapping.Rule{STOMP: "/q/x", MQTT: "$share/g/x", Kind: "queue"}, "leave it out"},
		{"the other way to share", mapping.Rule{STOMP: "/q/x", MQTT: "$queue/x"}, "kind: queue"},
		{"an unknown kind", mapping.Rule{STOMP: "/q/x", MQTT: "x", Kind: "fanout"}, "write topic or queue"},
		{"invalid UTF-8", mapping.Rule{STOMP: "/q/%FF", MQTT: "x"}, "UTF-8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := mapping.New(mapping.Options{Rules: []mapping.Rule{docRules[0], row.rule}})
			require.ErrorContains(t, err, "mapping rule 2: ")
			require.ErrorContains(t, err, row.says)
		})
	}
}

func TestCovers(t *testing.T) {
	table := newTable(t, docRules...)
	for _, row := range []struct {
		filter         string
		topics, queues bool
	}{
		{"a/b", true, false},
		{"#", true, true},
		{"+/+", true, true},
		{"+", true, false},
		{"queue", true, false},
		{"queue/orders", false, true},
		{"queue/+/+", false, true},
		{"queue/orders/#", false, true},
		{"queue/+", true, true}, // "queue/" is a topic
		{"queue/#", true, true}, // "queue", too
		{"jobs/mail", false, true},
		{"sensors/#", true, false},
		{"$SYS/#", true, false},
		{"$temp/gw/1/x", false, false},
	} {
		topics, queues := table.Covers(row.filter)
		require.Equal(t, row.topics, topics, "topics of %s", row.filter)
		require.Equal(t, row.queues, queues, "queues of %s", row.filter)
	}
}

func TestLint(t *testing.T) {
	for _, row := range []struct {
		name  string
		rules []mapping.Rule
		says  []string
	}{
		{"nothing to say of the documented rules", docRules, nil},
		{
			"two kinds for one topic",
			[]mapping.Rule{{STOMP: "/a/{x}", MQTT: "s/{x}"}, {STOMP: "/b/{y...}", MQTT: "s/{y...}", Kind: "queue"}},
			[]string{"error: mapping rule 2: rule 1 gives some of its topics the kind topic, this one the kind queue; give both one kind or different topics"},
		},
		{
			"a topic where the queues are",
			[]mapping.Rule{{STOMP: "/queue/old.{x}", MQTT: "queue/old/{x}"}},
			[]string{"error: mapping rule 1: topics below queue/ are queues; give the rule kind: queue or another topic"},
		},
		{
			"a topic for everything",
			[]mapping.Rule{{STOMP: "/all/{x...}", MQTT: "{x...}"}},
			[]string{"error: mapping rule 1: topics below queue/ are queues; give the rule kind: queue or another topic"},
		},
		{
			"a rule after one that takes all",
			[]mapping.Rule{{STOMP: "/a/{x...}", MQTT: "s/{x...}"}, {STOMP: "/a/b.{x}", MQTT: "t/{x}"}},
			[]string{"warning: mapping rule 2: unreachable: rule 1 takes every destination that this one matches; move this one before it"},
		},
		{
			"a second destination for one topic",
			[]mapping.Rule{{STOMP: "/a/{x...}", MQTT: "s/{x...}"}, {STOMP: "/b/{x}", MQTT: "s/{x}/y"}},
			[]string{"warning: mapping rule 2: one-way: its destinations are read, but its topics are shown as those of rule 1"},
		},
		{
			"a placeholder that gets lost",
			[]mapping.Rule{{STOMP: "/a/{x}.{y}", MQTT: "s/{y}"}},
			[]string{"warning: mapping rule 1: one-way: mqtt lacks {x}, so its topics are shown as other destinations"},
		},
		{
			"destinations that overlap",
			[]mapping.Rule{{STOMP: "/a/{x}.set", MQTT: "s/{x}"}, {STOMP: "/a/b.{x}", MQTT: "t/{x}"}},
			[]string{"warning: mapping rule 2: overlaps with rule 1, which takes the destinations that both match, such as /a/b.set"},
		},
		{
			"a group that hides another",
			[]mapping.Rule{{STOMP: "/a/b", MQTT: "$share/g/s"}, {STOMP: "/a/b", MQTT: "$share/h/s"}},
			[]string{"warning: mapping rule 2: unreachable: rule 1 takes every destination that this one matches; move this one before it"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var said []string
			for _, f := range newTable(t, row.rules...).Lint() {
				said = append(said, f.String())
			}
			require.Equal(t, row.says, said)
		})
	}
}

func TestExplain(t *testing.T) {
	table := newTable(t, docRules...)
	for _, row := range []struct {
		name, destination, topic, group, kind, rule, subject, stream string
	}{
		{"/queue/orders", "/queue/orders", "queue/orders", "", "queue", "built in: /queue/{path...}", "cw.q.11.queue.orders", "CW_QUEUE_11"},
		{"queue/orders", "/queue/orders", "queue/orders", "", "queue", "built in: /queue/{path...}", "cw.q.11.queue.orders", "CW_QUEUE_11"},
		{"cw.q.03.queue.orders", "/queue/orders", "queue/orders", "", "queue", "built in: /queue/{path...}", "cw.q.11.queue.orders", "CW_QUEUE_11"},
		{"/queue/#", "/queue/#", "queue/#", "", "queue", "built in: /queue/{path...}", "cw.q.nn.queue cw.q.nn.queue.>", "CW_QUEUE_nn"},
		{"$queue/queue/orders", "/queue/orders", "queue/orders", "", "queue", "built in: /queue/{path...}", "cw.q.nn.queue.orders", "CW_QUEUE_nn"},
		{"a/b", "/topic/a/b", "a/b", "", "topic", "built in: /topic/{path...}", "cw.t.a.b", ""},
		{"/topic/a.b", "/topic/a/b", "a/b", "", "topic", "built in: /topic/{path...}", "cw.t.a.b", ""},
		{"cw.n.a.b", "/topic/a/b", "a/b", "", "topic", "built in: /topic/{path...}", "cw.t.a.b", ""},
		{"cw.d$.$a.b", "/topic/$a/b", "$a/b", "", "topic", "built in: /topic/{path...}", "cw.t$.$a.b", ""},
		{"sensors/+/set", "/queue/sensors.*.set", "sensors/+/set", "", "topic", "/queue/sensors.{id}.set = sensors/{id}/set", "cw.t.sensors.*.set", ""},
		{"$share/g/sensors/#", "/topic/sensors/#", "sensors/#", "g", "topic", "built in: /topic/{path...}", "cw.t.sensors cw.t.sensors.>", ""},
		{"/queue/telemetry", "/queue/telemetry", "sensors/+/temp", "telemetry", "topic", "/queue/telemetry = $share/telemetry/sensors/+/temp", "cw.t.sensors.*.temp", ""},
		{"billing/+", "/mqtt-topic/billing/*", "billing/+", "", "topic", "built in: /mqtt-topic/{path...}", "cw.t.billing.*", ""},
		{"$temp/gw/1/x", "/remote-temp-queue/gw/1/x", "$temp/gw/1/x", "", "temp", "built in: /remote-temp-queue/{path...}", "cw.temp$.$temp.gw.1.x", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, err := table.Explain(row.name)
			require.NoError(t, err)
			require.Equal(t, row.name, e.Name)
			require.Equal(t, row.destination, e.Destination)
			require.Equal(t, row.topic, e.Topic)
			require.Equal(t, row.group, e.Group)
			require.Equal(t, row.kind, e.Kind.String())
			require.Equal(t, row.rule, e.Rule)
			require.Equal(t, row.subject, e.Subjects[0].Subject)
			require.Equal(t, row.stream, e.Subjects[0].Stream)
		})
	}
	own, err := table.Explain("/temp-queue/x")
	require.NoError(t, err)
	require.Contains(t, own.String(), "$temp/<gateway>/<random>/x")

	for name, says := range map[string]string{
		"":                   "empty",
		"/news":              "unknown prefix",
		"a/#/b":              "only at the end",
		"$share/g":           "$share/GROUP/FILTER",
		"cw.x.a":             "no messages live there",
		"cw.t.a.=20.=2E.=41": "not the spelling of a topic",
		"cw.q":               "no messages live there",
		"cw.q.00":            "not below",
		"cw.t.>":             "not the spelling",
	} {
		_, err := table.Explain(name)
		require.ErrorContains(t, err, says, name)
	}
}
