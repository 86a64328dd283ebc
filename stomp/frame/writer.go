package frame

import "strconv"

// Append appends f up to and with its NUL. A body brings a content-length of
// its own; one in the header is not written.
func Append(dst []byte, v Version, f *Frame) []byte {
	escape := escaped(v, f.Command)
	dst = append(dst, f.Command...)
	dst = append(dst, '\n')
	for i := range f.Header {
		if f.Header[i].Name != contentLength {
			dst = appendLine(dst, v, escape, f.Header[i].Name, f.Header[i].Value)
		}
	}
	dst = AppendLength(dst, len(f.Body))
	dst = append(dst, '\n')
	dst = append(dst, f.Body...)
	return append(dst, 0)
}

// AppendField appends one header line of a frame that is not CONNECT, STOMP
// or CONNECTED.
func AppendField(dst []byte, v Version, name, value string) []byte {
	return appendLine(dst, v, v >= V11, name, value)
}

// AppendLength appends the content-length line of a body, and nothing for an
// empty one: the PHP extension takes an announced length of 0 for a lost
// connection.
func AppendLength(dst []byte, n int) []byte {
	if n == 0 {
		return dst
	}
	dst = append(dst, contentLength+":"...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\n')
}

func appendLine(dst []byte, v Version, escape bool, name, value string) []byte {
	dst = appendText(dst, v, escape, true, name)
	dst = append(dst, ':')
	dst = appendText(dst, v, escape, false, value)
	return append(dst, '\n')
}
