package frame

import "strings"

// escaped reports whether the header lines of a frame are written with
// escapes. // STOMP 1.2, Value Encoding
func escaped(v Version, command string) bool {
	if v < V11 {
		return false
	}
	switch command {
	case Connect, Stomp, Connected:
		return false
	}
	return true
}

// appendText appends a header name or value, escaped as v has it. What v
// cannot express in a line becomes a blank, so that no value can forge a line.
func appendText(dst []byte, v Version, escape, name bool, s string) []byte {
	from := 0
	for i := range len(s) {
		var replacement string
		switch c := s[i]; {
		case c > '\\' || c > '\r' && c != ':' && c != '\\':
			continue
		case c == '\n' && escape:
			replacement = `\n`
		case c == ':' && escape:
			replacement = `\c`
		case c == '\\' && escape:
			replacement = `\\`
		case c == '\r' && escape && v >= V12:
			replacement = `\r`
		case c == '\n', c == ':' && name:
			replacement = " "
		case c == '\r' && !name && i == len(s)-1: // would be read as part of the line's end
			replacement = " "
		default:
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = append(dst, replacement...)
		from = i + 1
	}
	return append(dst, s[from:]...)
}

// unescape reverses appendText for a text that has backslashes.
func unescape(v Version, s string) (string, error) {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s, nil
	}
	text := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			i++
			switch {
			case i == len(s):
				return "", &FormatError{"a header ends in the middle of an escape"}
			case s[i] == 'n':
				c = '\n'
			case s[i] == 'c':
				c = ':'
			case s[i] == '\\':
				c = '\\'
			case s[i] == 'r' && v >= V12:
				c = '\r'
			default:
				return "", &FormatError{"undefined escape in a header"} // STOMP 1.2, Value Encoding
			}
		}
		text = append(text, c)
	}
	return string(text), nil
}
