package mapping

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// level is one level of a topic or filter, or of a destination that is read.
type level struct {
	text string
	wild byte // '+': any level; '#': the rest; 0: text
}

// splitDestination appends the levels of a destination to dst. Dots and
// slashes both separate; %XX is a byte that does not. Wildcards are SUBSCRIBE's.
func splitDestination(dst []level, destination string, wildcards bool) ([]level, error) {
	rest, ok := strings.CutPrefix(destination, "/")
	if !ok {
		return nil, errors.New("does not begin with /")
	}
	for {
		i := strings.IndexAny(rest, "./")
		raw := rest
		if i >= 0 {
			raw = rest[:i]
		}
		l, err := readLevel(raw, wildcards)
		if err != nil {
			return nil, err
		}
		if l.wild == '#' && i >= 0 {
			return nil, fmt.Errorf("the wildcard %s stands only at the end; write %%%X for the character", raw, raw)
		}
		dst = append(dst, l)
		if i < 0 {
			return dst, nil
		}
		rest = rest[i+1:]
	}
}

func readLevel(raw string, wildcards bool) (level, error) {
	if wildcards {
		switch raw {
		case "*", "+":
			return level{wild: '+'}, nil
		case "#", ">":
			return level{wild: '#'}, nil
		}
	}
	text := raw
	if strings.ContainsAny(raw, "%+#") {
		text = unescapeLevel(raw)
	}
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return level{}, errors.New("holds a NUL")
	case !utf8.ValidString(text):
		return level{}, errors.New("not valid UTF-8")
	}
	return level{text: text}, nil
}

// unescapeLevel replaces %XX by its byte. What no level of a topic can hold
// becomes text: %2B, %23 and %2F.
func unescapeLevel(raw string) string {
	text := make([]byte, 0, len(raw)+8)
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b == '%' {
			if c, ok := unhex(strings.ToUpper(raw[i+1 : min(i+3, len(raw))])); ok {
				b, i = c, i+2
			}
		}
		switch b {
		case '+', '#', '/':
			text = append(text, '%', upperHex[b>>4], upperHex[b&15])
		default:
			text = append(text, b)
		}
	}
	return string(text)
}

// appendWritten appends one level of a topic or filter as it stands in a
// destination.
func appendWritten(dst []byte, l level) []byte {
	switch l.wild {
	case '+':
		return append(dst, '*')
	case '#':
		return append(dst, '#')
	}
	return appendLevel(dst, l.text)
}

func appendLevel(dst []byte, text string) []byte {
	if text == "*" || text == ">" { // wildcards, if somebody subscribes to the destination
		return appendPercent(dst, text)
	}
	plain := 0
	for i := range len(text) {
		switch b := text[i]; {
		case b < ' ', b == 0x7f, b == '.', b == '/', b == '%':
			dst = append(dst, text[plain:i]...)
			dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
			plain = i + 1
		}
	}
	return append(dst, text[plain:]...)
}

func appendPercent(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, '%', upperHex[s[i]>>4], upperHex[s[i]&15])
	}
	return dst
}

// protectEnd rewrites a blank at the end of a destination: clients trim header
// values, some of them by Unicode's idea of blanks.
func protectEnd(destination []byte) []byte {
	last, size := utf8.DecodeLastRune(destination)
	if !unicode.IsSpace(last) && last != '\uFEFF' {
		return destination
	}
	n := len(destination) - size
	return appendPercent(destination[:n], string(last))
}

// splitTopic appends the levels of a topic or filter to dst.
func splitTopic(dst []level, topic string) []level {
	for rest, more := topic, true; more; {
		var l level
		l.text, rest, more = strings.Cut(rest, "/")
		if l.text == "+" || l.text == "#" {
			l = level{wild: l.text[0]}
		}
		dst = append(dst, l)
	}
	return dst
}

// appendTopic appends levels as a topic or filter.
func appendTopic(dst []byte, levels []level) []byte {
	for i, l := range levels {
		if i > 0 {
			dst = append(dst, '/')
		}
		if l.wild != 0 {
			dst = append(dst, l.wild)
		} else {
			dst = append(dst, l.text...)
		}
	}
	return dst
}
