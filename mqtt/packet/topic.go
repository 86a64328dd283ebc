package packet

import (
	"strings"
	"unicode/utf8"
)

// ValidTopicName reports what makes s unfit for a PUBLISH: an *Error whose
// reason is TopicNameInvalid, or MalformedPacket when s is no MQTT string.
// Control characters and non-characters are allowed. // MQTT 5, 4.7
func ValidTopicName(s string) error {
	if err := checkString(s); err != nil {
		return err
	}
	if err := checkTopicName(s); err != nil {
		return err
	}
	return nil
}

// ValidTopicFilter reports what makes s unfit for a subscription: an *Error
// whose reason is TopicFilterInvalid, or MalformedPacket when s is no MQTT
// string. A filter that begins with $share/ must be a complete shared
// subscription. A SUBSCRIBE is decoded whatever its filters say, so that each
// can be answered. // MQTT 5, 4.7 and 4.8.2
func ValidTopicFilter(s string) error {
	if err := checkString(s); err != nil {
		return err
	}
	if shared, ok := strings.CutPrefix(s, sharePrefix); ok {
		group, filter, ok := strings.Cut(shared, "/")
		switch {
		case group == "" || strings.ContainsAny(group, "+#"):
			return &Error{TopicFilterInvalid, "the share name is empty or has a wildcard [MQTT-4.8.2-1] [MQTT-4.8.2-2]"}
		case !ok:
			return &Error{TopicFilterInvalid, "no filter follows the share name [MQTT-4.8.2-2]"}
		}
		s = filter
	}
	if s == "" {
		return &Error{TopicFilterInvalid, "the topic filter is empty [MQTT-4.7.3-1]"}
	}
	for level := range strings.SplitSeq(s, "/") {
		switch {
		case len(level) > 1 && strings.ContainsRune(level, '+'):
			return &Error{TopicFilterInvalid, "+ is only a part of its level [MQTT-4.7.1-2]"}
		case len(level) > 1 && strings.ContainsRune(level, '#'):
			return &Error{TopicFilterInvalid, "# is only a part of its level [MQTT-4.7.1-1]"}
		}
	}
	if i := strings.IndexByte(s, '#'); i >= 0 && i < len(s)-1 {
		return &Error{TopicFilterInvalid, "# is not the last level [MQTT-4.7.1-1]"}
	}
	return nil
}

const sharePrefix = "$share/"

// checkTopicName checks what is left to check of a well-formed string.
func checkTopicName(s string) *Error {
	switch {
	case s == "":
		return &Error{TopicNameInvalid, "the topic name is empty [MQTT-4.7.3-1]"}
	case hasWildcard(s):
		return &Error{TopicNameInvalid, "the topic name has a wildcard [MQTT-3.3.2-2]"}
	}
	return nil
}

func hasWildcard(s string) bool {
	return strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0
}

// checkString checks a UTF-8 Encoded String. // MQTT 5, 1.5.4
func checkString(s string) *Error {
	switch {
	case len(s) > maxString:
		return &Error{MalformedPacket, "a string is over 65,535 bytes [MQTT-4.7.3-3]"}
	case !utf8.ValidString(s):
		return &Error{MalformedPacket, "a string is not UTF-8 [MQTT-1.5.4-1]"}
	case strings.IndexByte(s, 0) >= 0:
		return &Error{MalformedPacket, "a string has a null character [MQTT-1.5.4-2]"}
	}
	return nil
}
