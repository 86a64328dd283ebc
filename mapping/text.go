package mapping

import (
	"strings"
	"unicode/utf8"
)

// What MQTTString puts in front of a value that it had to change.
const (
	escapedMark = "%esc:"
	cutMark     = "%cut:" // escaped, and what did not fit is gone
)

// MQTTString returns s, any bytes, as a string that every MQTT peer takes. What
// holds NUL, control characters, noncharacters or invalid UTF-8 is
// percent-escaped behind the mark "%esc:", and what is longer than an MQTT
// string is cut behind "%cut:"; true: one of both. FromMQTTString undoes the
// former.
func MQTTString(s string) (string, bool) {
	if len(s) <= maxString && isPlain(s) {
		return s, false
	}
	dst := append(make([]byte, 0, min(len(s)+len(s)/2, maxString)+len(escapedMark)), escapedMark...)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '%' || !isMQTT(r, size) {
			dst = appendPercent(dst, s[i:i+size])
		} else {
			dst = append(dst, s[i:i+size]...)
		}
		if i += size; len(dst) > maxString {
			return cutMark + string(cutEnd(dst)[len(escapedMark):]), true
		}
	}
	return string(dst), true
}

// cutEnd shortens an escaped value to what fits, parting neither a rune nor an
// escape.
func cutEnd(dst []byte) []byte {
	n := maxString
	for !utf8.RuneStart(dst[n]) {
		n--
	}
	for i := n - 1; i > n-3; i-- {
		if dst[i] == '%' {
			n = i
			break
		}
	}
	return dst[:n]
}

func isPlain(s string) bool {
	return !strings.HasPrefix(s, escapedMark) && !strings.HasPrefix(s, cutMark) && isLegal(s)
}

func isLegal(s string) bool {
	for i := 0; i < len(s); {
		if b := s[i]; b >= ' ' && b < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !isMQTT(r, size) {
			return false
		}
		i += size
	}
	return true
}

// isMQTT reports whether a decoded rune may stand in an MQTT string. Peers are
// free to refuse control characters and noncharacters, and do. // [MQTT-1.5.4]
func isMQTT(r rune, size int) bool {
	switch {
	case r == utf8.RuneError && size == 1, r < ' ', r >= 0x7f && r <= 0x9f:
		return false
	case r >= 0xFDD0 && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
		return false
	}
	return true
}

// FromMQTTString returns what MQTTString was given; of a value that was cut,
// what is left of it. true: s was marked, and every MQTT peer takes it.
func FromMQTTString(s string) (string, bool) {
	escaped, ok := strings.CutPrefix(s, escapedMark)
	if !ok {
		if escaped, ok = strings.CutPrefix(s, cutMark); !ok {
			return s, false
		}
	}
	value, err := unescape(escaped)
	if err != nil || len(s) > maxString || !isLegal(s) {
		return s, false // not ours
	}
	return value, true
}
