package mapping_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

func TestValidTopic(t *testing.T) {
	for _, topic := range []string{"a", "/", "//", " ", "$SYS", "$share", "$shares/x", "*", ">", "a\u0001b", "\ufeff", strings.Repeat("a", 65535)} {
		require.NoError(t, mapping.ValidTopic(topic), topic)
	}
	for _, row := range []struct{ name, topic, says string }{
		{"no name", "", "empty"},
		{"one level", "a/+", "only in filters"},
		{"the rest", "#", "only in filters"},
		{"a NUL", "a\x00b", "NUL"},
		{"an octet that is no text", "a\xff", "UTF-8"},
		{"half of a surrogate pair", "\xed\xa0\x80", "UTF-8"},
		{"too long", strings.Repeat("a", 65536), "65536 bytes"},
		{"a group", "$share/g/a", "shared subscription"},
	} {
		require.ErrorContains(t, mapping.ValidTopic(row.topic), row.says, row.name)
	}
}

func TestValidFilter(t *testing.T) {
	for _, filter := range []string{"a", "#", "+", "+/+", "a/#", "/#", "+/a/#", "/+", "//", "$SYS/#", "$queue/a"} {
		require.NoError(t, mapping.ValidFilter(filter), filter)
	}
	for _, filter := range []string{"", "#/a", "a/#/b", "a#", "a/b#", "a+", "+a", "a/+b/c", "##", "++", "a\x00", "\xff", "$share/g/a"} {
		require.Error(t, mapping.ValidFilter(filter), filter)
	}
}

func TestParseShared(t *testing.T) {
	for _, row := range []struct {
		filter, group, rest string
		shared              bool
	}{
		{"a/#", "", "a/#", false},
		{"$share", "", "$share", false},
		{"$SHARE/g/a", "", "$SHARE/g/a", false},
		{"$share/g/a/+", "g", "a/+", true},
		{"$share/g/#", "g", "#", true},
		{"$share/g//", "g", "/", true},
		{"$share/g/$SYS/a", "g", "$SYS/a", true},
		{"$queue/jobs/#", "", "jobs/#", true},
	} {
		group, rest, shared, err := mapping.ParseShared(row.filter)
		require.NoError(t, err, row.filter)
		require.Equal(t, []any{row.group, row.rest, row.shared}, []any{group, rest, shared}, row.filter)
	}
	for _, filter := range []string{"$share//x", "$share/+/x", "$share/#/x", "$share/a+/x", "$share/g", "$share/g/", "$share/", "$share/g/a#", "$share/g/$share/h/a", "$share/\xff/a", "$queue/", "$queue/#/a"} {
		_, _, shared, err := mapping.ParseShared(filter)
		require.Error(t, err, filter)
		require.True(t, shared, filter)
	}
}
