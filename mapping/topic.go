package mapping

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxString is the length of the longest MQTT string, in bytes. // [MQTT-1.5.4]
const maxString = 65535

const (
	sharePrefix = "$share/"
	queuePrefix = "$queue/"
	tempPrefix  = "$temp/"
)

// ValidTopic reports why topic cannot be the name of a message, or nil.
func ValidTopic(topic string) error {
	if err := validString("topic", topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") { // [MQTT-3.3.2-2]
		return fmt.Errorf("topic %s: + and # stand only in filters", quote(topic))
	}
	if strings.HasPrefix(topic, sharePrefix) {
		return fmt.Errorf("topic %s: $share/ begins a shared subscription, nothing can be published to it", quote(topic))
	}
	return nil
}

// ValidFilter reports why filter cannot be subscribed to, or nil. A shared
// filter goes through ParseShared first.
func ValidFilter(filter string) error {
	if err := validString("filter", filter); err != nil {
		return err
	}
	if strings.HasPrefix(filter, sharePrefix) {
		return fmt.Errorf("filter %s: a shared subscription cannot be nested in another", quote(filter))
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more: // [MQTT-4.7.1-1]
			return fmt.Errorf("filter %s: # stands only at the end", quote(filter))
		case len(level) > 1 && strings.ContainsAny(level, "+#"): // [MQTT-4.7.1-2]
			return fmt.Errorf("filter %s: + and # take a whole level", quote(filter))
		}
	}
	return nil
}

func validString(what, s string) error {
	switch {
	case s == "": // [MQTT-4.7.3-1]
		return fmt.Errorf("%s: empty", what)
	case len(s) > maxString: // [MQTT-4.7.3-3]
		return fmt.Errorf("%s of %d bytes: the longest has %d", what, len(s), maxString)
	case strings.IndexByte(s, 0) >= 0: // [MQTT-4.7.3-2]
		return fmt.Errorf("%s %s: holds a NUL", what, quote(s))
	case !utf8.ValidString(s): // [MQTT-1.5.4-1]
		return fmt.Errorf("%s %s: not valid UTF-8", what, quote(s))
	}
	return nil
}

// ParseShared takes "$share/group/rest" and "$queue/rest" apart; the group of
// the latter is "". Any other filter is not shared and returned as rest,
// unchecked. A nil error with shared means that rest is a valid filter.
func ParseShared(filter string) (group, rest string, shared bool, err error) {
	if rest, ok := strings.CutPrefix(filter, queuePrefix); ok {
		return "", rest, true, sharedRest(filter, rest)
	}
	named, ok := strings.CutPrefix(filter, sharePrefix)
	if !ok {
		return "", filter, false, nil
	}
	group, rest, ok = strings.Cut(named, "/")
	switch {
	case !ok: // [MQTT-4.8.2-2]
		return "", "", true, fmt.Errorf("filter %s: write $share/GROUP/FILTER", quote(filter))
	case group == "": // [MQTT-4.8.2-1]
		return "", "", true, fmt.Errorf("filter %s: the group has no name", quote(filter))
	case strings.ContainsAny(group, "+#"): // [MQTT-4.8.2-2]
		return "", "", true, fmt.Errorf("filter %s: the group's name cannot hold + or #", quote(filter))
	}
	if err := validString("group", group); err != nil {
		return "", "", true, err
	}
	return group, rest, true, sharedRest(filter, rest)
}

func sharedRest(filter, rest string) error {
	if rest == "" {
		return fmt.Errorf("filter %s: no filter follows the group", quote(filter))
	}
	return ValidFilter(rest)
}

// MatchFilter reports whether a valid filter, not a shared one, matches a
// valid topic.
func MatchFilter(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && filter[0] != '$' { // [MQTT-4.7.2-1]
		return false
	}
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restT, moreT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !moreT {
			return !moreF || restF == "#" // "a/#" matches "a"
		}
		if !moreF {
			return false
		}
		filter, topic = restF, restT
	}
}

// isFilter reports whether a valid filter has wildcards.
func isFilter(filter string) bool { return strings.ContainsAny(filter, "+#") }

// quote makes any name fit for an error message, which may reach a client.
func quote(name string) string {
	const most = 100
	if len(name) <= most {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
}
