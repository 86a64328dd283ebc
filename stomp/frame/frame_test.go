package frame

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var testLimits = Limits{HeaderLine: 1 << 10, HeaderLines: 100, HeaderBytes: 16 << 10, Body: 1 << 20}

// vectors are frames that read as the value and, when canonical, are written
// as the same bytes.
var vectors = []struct {
	name      string
	version   Version
	hex       string
	frame     *Frame
	canonical bool
}{
	{
		"S1 a command, a header, a body and a NUL", V12, "53454e44 0a 64:2f71 0a 636f6e74656e742d6c656e677468:32 0a 0a 6869 00",
		&Frame{Send, Header{{"d", "/q"}, {"content-length", "2"}}, []byte("hi")}, true,
	},
	{
		"S2 CRLF and LF mixed in one frame", V12, "53454e44 0d0a 61:31 0a 62:32 0d0a 0d0a 00",
		&Frame{Send, Header{{"a", "1"}, {"b", "2"}}, nil}, false,
	},
	{"S3 CRLF in 1.0", V10, "53454e44 0d0a 61:31 0d0a 0d0a 00", &Frame{Send, Header{{"a", "1"}}, nil}, false},
	{"S3 CRLF in 1.1", V11, "53454e44 0d0a 61:31 0d0a 0d0a 00", &Frame{Send, Header{{"a", "1"}}, nil}, false},
	{"S3 CRLF in CONNECT", 0, "434f4e4e454354 0d0a 0d0a 00", &Frame{Connect, Header{}, nil}, false},
	{"S3 only one CR belongs to the line end", V10, "53454e44 0a 61:31 0d 0d0a 0a 00", &Frame{Send, Header{{"a", "1\r"}}, nil}, false},
	{"S5 NUL, CR and LF before a frame", V12, "00 0a 0d0a 00 424547494e 0a 61:31 0a 0a 00", &Frame{Begin, Header{{"a", "1"}}, nil}, false},
	{"S7 a value with raw colons in 1.0", V10, "53454e44 0a 61:31:32:33 0a 0a 00", &Frame{Send, Header{{"a", "1:2:3"}}, nil}, true},
	{"S7 a value with raw colons in 1.2", V12, "53454e44 0a 61:31:32:33 0a 0a 00", &Frame{Send, Header{{"a", "1:2:3"}}, nil}, false},
	{`S8 \n \c \\ in 1.1`, V11, "53454e44 0a 5c63:5c6e5c635c5c 0a 0a 00", &Frame{Send, Header{{":", "\n:\\"}}, nil}, true},
	{`S8 \n \c \\ \r in 1.2`, V12, "53454e44 0a 5c72:5c6e5c635c5c5c72 0a 0a 00", &Frame{Send, Header{{"\r", "\n:\\\r"}}, nil}, true},
	{"S10 CONNECT is not unescaped", V12, "434f4e4e454354 0a 70:615c743a62 0a 0a 00", &Frame{Connect, Header{{"p", `a\t:b`}}, nil}, true},
	{"S10 CONNECTED is not unescaped", V12, "434f4e4e4543544544 0a 70:5c6e 0a 0a 00", &Frame{Connected, Header{{"p", `\n`}}, nil}, true},
	{"S10 STOMP is not unescaped", V12, "53544f4d50 0a 70:5c6e 0a 0a 00", &Frame{Stomp, Header{{"p", `\n`}}, nil}, true},
	{"S11 a backslash is data in 1.0", V10, "53454e44 0a 61:5c6e5c74 0a 0a 00", &Frame{Send, Header{{"a", `\n\t`}}, nil}, true},
	{"S12 values keep their blanks in 1.1", V11, "53454e44 0a 61:203120 0a 0a 00", &Frame{Send, Header{{"a", " 1 "}}, nil}, true},
	{"S12 values keep their blanks in 1.2", V12, "53454e44 0a 61:203120 0a 0a 00", &Frame{Send, Header{{"a", " 1 "}}, nil}, true},
	{"S12 leading blanks go in 1.0", V10, "53454e44 0a 61:203120 0a 0a 00", &Frame{Send, Header{{"a", "1 "}}, nil}, false},
	{"S13 repeated lines are all kept, in order", V12, "53454e44 0a 61:31 0a 61:32 0a 0a 00", &Frame{Send, Header{{"a", "1"}, {"a", "2"}}, nil}, true},
	{"S14 an empty value", V12, "53454e44 0a 61:0a 0a 00", &Frame{Send, Header{{"a", ""}}, nil}, true},
	{"S15 bytes that are not UTF-8", V10, "53454e44 0a 61:fffe 0a 0a 00", &Frame{Send, Header{{"a", "\xff\xfe"}}, nil}, true},
	{
		"S23 UTF-8 in a name, a value and a body", V12, "53454e44 0a c3a9:e282ac 0a 636f6e74656e742d6c656e677468:32 0a 0a c3a9 00",
		&Frame{Send, Header{{"é", "€"}, {"content-length", "2"}}, []byte("é")}, true,
	},
	{"S16 a body that must not be is dropped", V12, "535542534352494245 0a 0a 6869 00", &Frame{Subscribe, Header{}, nil}, false},
	{
		"S17 NULs inside a body of known length", V12, "53454e44 0a 636f6e74656e742d6c656e677468:33 0a 0a 000100 00",
		&Frame{Send, Header{{"content-length", "3"}}, []byte{0, 1, 0}}, true,
	},
	{"S18 a body up to its NUL", V12, "53454e44 0a 0a 6869 00", &Frame{Send, Header{}, []byte("hi")}, false},
	{
		"S19 the content-length of an ACK is not believed", V10, "41434b 0a 636f6e74656e742d6c656e677468:39 0a 0a 00",
		&Frame{Ack, Header{{"content-length", "9"}}, nil}, false,
	},
	{
		"S20 the first content-length counts", V12, "53454e44 0a 636f6e74656e742d6c656e677468:31 0a 636f6e74656e742d6c656e677468:39 0a 0a 61 00",
		&Frame{Send, Header{{"content-length", "1"}, {"content-length", "9"}}, []byte("a")}, false,
	},
	{
		"an empty body of known length", V12, "53454e44 0a 636f6e74656e742d6c656e677468:30 0a 0a 00",
		&Frame{Send, Header{{"content-length", "0"}}, nil}, false,
	},
	{"an unknown command", V12, "464f4f 0a 0a 00", &Frame{"FOO", Header{}, nil}, true},
	{
		"an ERROR with a body of known length", V12, "4552524f52 0a 636f6e74656e742d6c656e677468:32 0a 0a 0000 00",
		&Frame{Error, Header{{"content-length", "2"}}, []byte{0, 0}}, true,
	},
}

// unhex reads hex bytes; a colon stands for itself.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "3a").Replace(s))
	require.NoError(tb, err)
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			wire := unhex(t, v.hex)
			r := NewReader(bytes.NewReader(wire), testLimits)
			r.SetVersion(v.version)
			f, err := r.Read()
			require.NoError(t, err)
			require.Equal(t, v.frame, f)
			_, err = r.Read()
			require.Equal(t, io.EOF, err)
			if v.canonical {
				require.Equal(t, wire, Append(nil, v.version, f))
			}
		})
	}
}

func TestS4S25ReadIsTheSameAtEveryByteBoundary(t *testing.T) {
	for _, v := range vectors {
		wire := append(append(unhex(t, v.hex), "\r\n\n"...), unhex(t, v.hex)...)
		for name, split := range map[string]func(io.Reader) io.Reader{
			"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
		} {
			t.Run(v.name+", "+name, func(t *testing.T) {
				r := NewReader(split(bytes.NewReader(wire)), testLimits)
				r.SetVersion(v.version)
				for range 2 {
					f, err := r.Read()
					require.NoError(t, err)
					require.Equal(t, v.frame, f)
				}
				_, err := r.Read()
				require.Equal(t, io.EOF, err)
			})
		}
	}
}

func TestReadRefuses(t *testing.T) {
	line, lines := strings.Repeat("x", 1024), strings.Repeat("a:b\n", 101)
	for _, tt := range []struct {
		name    string
		version Version
		wire    string
		err     error
	}{
		{"S9 an escape for CR in 1.1", V11, "SEND\na:\\r\n\n\x00", &FormatError{"undefined escape in a header"}},
		{"S9 an undefined escape in a value of 1.2", V12, "SEND\na:\\t\n\n\x00", &FormatError{"undefined escape in a header"}},
		{"S9 an undefined escape in a name of 1.2", V12, "SEND\n\\t:a\n\n\x00", &FormatError{"undefined escape in a header"}},
		{"S9 half an escape", V12, "SEND\na:b\\\n\n\x00", &FormatError{"a header ends in the middle of an escape"}},
		{"S14 a line without a colon", V12, "SEND\nab\n\n\x00", &FormatError{"a header line without a name and a colon"}},
		{"S14 a line without a name", V12, "SEND\n:b\n\n\x00", &FormatError{"a header line without a name and a colon"}},
		{"S17 a body longer than announced", V12, "SEND\ncontent-length:1\n\nab\x00", &FormatError{"no NUL where content-length ends the body"}},
		{"S20 a content-length with a blank", V12, "SEND\ncontent-length: 1\n\na\x00", &FormatError{"content-length is not a number"}},
		{"S20 an empty content-length", V12, "SEND\ncontent-length:\n\na\x00", &FormatError{"content-length is not a number"}},
		{"S20 a negative content-length", V12, "SEND\ncontent-length:-1\n\na\x00", &FormatError{"content-length is not a number"}},
		{"S20 a signed content-length", V12, "SEND\ncontent-length:+1\n\na\x00", &FormatError{"content-length is not a number"}},
		{"S20 a content-length that overflows", V12, "SEND\ncontent-length:99999999999999999999\n\na\x00", &LimitError{"body", 1 << 20}},
		{"S24 an announced body over the limit", V12, "SEND\ncontent-length:1048577\n\n", &LimitError{"body", 1 << 20}},
		{"S24 a body over the limit", V12, "SEND\n\n" + strings.Repeat("x", 1<<20+1), &LimitError{"body", 1 << 20}},
		{"S24 a dropped body over the limit", V12, "ACK\n\n" + strings.Repeat("x", 1<<20+1), &LimitError{"body", 1 << 20}},
		{"S24 a header line over the limit", V12, "SEND\n" + line + "x", &LimitError{"header line", 1 << 10}},
		{"S24 too many header lines", V12, "SEND\n" + lines, &LimitError{"header lines", 100}},
		{"S24 too many header bytes", V12, "SEND\n" + strings.Repeat("a:"+line[:1000]+"\n", 17), &LimitError{"header bytes", 16 << 10}},
		{"S24 a command over the limit", V12, strings.Repeat("A", 33), &CommandError{[]byte(strings.Repeat("A", 32))}},
		{"S6 a command in lower case", V12, "send\n\n\x00", &CommandError{[]byte("send\n\n\x00")}},
		{"a command that NUL ends", V12, "BEGIN\x00", &CommandError{[]byte("BEGIN\x00")}},
		{"a CR inside a command", V12, "BEG\rIN\n", &CommandError{[]byte("BEG\rIN\n")}},
		{"an HTTP request", V12, "GET / HTTP/1.1\r\n", &CommandError{[]byte("GET / HTTP/1.1\r\n")}},
		{"the end inside a command", V12, "SEN", io.ErrUnexpectedEOF},
		{"the end inside a header", V12, "SEND\na:b", io.ErrUnexpectedEOF},
		{"the end inside a body", V12, "SEND\n\nab", io.ErrUnexpectedEOF},
		{"the end inside a sized body", V12, "SEND\ncontent-length:3\n\nab", io.ErrUnexpectedEOF},
		{"the end inside a large sized body", V12, "SEND\ncontent-length:100000\n\nab", io.ErrUnexpectedEOF},
		{"the end before the NUL", V12, "SEND\ncontent-length:2\n\nab", io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tt.wire), testLimits)
			r.SetVersion(tt.version)
			_, err := r.Read()
			require.Equal(t, tt.err, err)
		})
	}
}

func TestABrokenFrameStillNamesItsReceipt(t *testing.T) {
	for _, wire := range []string{
		"SEND\na:\\t\nreceipt:r\n\n\x00",
		"SEND\nreceipt:r\ncontent-length:x\n\n\x00",
		"SEND\nreceipt:r\ncontent-length:2000000\n\n\x00",
	} {
		r := NewReader(strings.NewReader(wire), testLimits)
		r.SetVersion(V12)
		f, err := r.Read()
		require.Error(t, err)
		require.Equal(t, "r", f.Header.Value("receipt"))
	}
}

func TestS11WhatAVersionCannotSayBecomesABlank(t *testing.T) {
	f := &Frame{Message, Header{{"a\nb:c", "d\ne:f\r"}}, nil}
	require.Equal(t, "MESSAGE\na b c:d e:f \n\n\x00", string(Append(nil, V10, f)))
	require.Equal(t, "MESSAGE\na\\nb\\cc:d\\ne\\cf \n\n\x00", string(Append(nil, V11, f)))
	require.Equal(t, "MESSAGE\na\\nb\\cc:d\\ne\\cf\\r\n\n\x00", string(Append(nil, V12, f)))
	f.Command = Connected
	require.Equal(t, "CONNECTED\na b c:d e:f \n\n\x00", string(Append(nil, V12, f)))
}

func TestS13TheFirstOfRepeatedHeadersCounts(t *testing.T) {
	h := Header{{"a", "1"}, {"a", "2"}}
	require.Equal(t, "1", h.Value("a"))
}

func TestBodiesAcrossBufferSizes(t *testing.T) {
	for _, size := range []int{1, 500, 511, 512, 513, bufferSize - 1, bufferSize, bufferSize + 1, firstBody - 1, firstBody, firstBody + 1, 3 * firstBody, 1 << 20} {
		body := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		sized := Append(nil, V12, &Frame{Send, nil, body})
		unsized := append(append([]byte("SEND\n\n"), body...), 0)
		for _, wire := range [][]byte{sized, unsized} {
			r := NewReader(bytes.NewReader(append(wire, "\nACK\n\n\x00"...)), testLimits)
			f, err := r.Read()
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, f.Body), "size %d", size)
			f, err = r.Read()
			require.NoError(t, err)
			require.Equal(t, Ack, f.Command)
		}
	}
}

func TestHeadersLargerThanTheBuffer(t *testing.T) {
	value := strings.Repeat("v", 100<<10)
	limits := Limits{HeaderLine: 128 << 10, HeaderLines: 10, HeaderBytes: 256 << 10, Body: 10}
	wire := Append(nil, V12, &Frame{Send, Header{{"a", value}, {"b", value}}, []byte("hi")})
	r := NewReader(bytes.NewReader(append(wire, wire...)), limits)
	for range 2 {
		f, err := r.Read()
		require.NoError(t, err)
		require.Equal(t, value, f.Header.Value("b"))
		require.Equal(t, "hi", string(f.Body))
	}
}

// probe notes how much memory the reader offers to fill.
type probe struct {
	io.Reader
	offered []int
}

func (p *probe) Read(b []byte) (int, error) {
	p.offered = append(p.offered, len(b))
	return p.Reader.Read(b)
}

func TestAWaitingReaderHoldsASmallBuffer(t *testing.T) {
	wire := bytes.Repeat(Append(nil, V12, &Frame{Send, nil, []byte("hello")}), 10_000)
	p := &probe{Reader: bytes.NewReader(wire)}
	r := NewReader(p, testLimits)
	for range 10_000 {
		_, err := r.Read()
		require.NoError(t, err)
	}
	_, err := r.Read()
	require.Equal(t, io.EOF, err)
	require.LessOrEqual(t, p.offered[len(p.offered)-1], idleSize)
	require.Nil(t, r.borrowed)
	require.Less(t, len(p.offered), 2*len(wire)/bufferSize+4, "reads while much comes")
}

func TestAnAnnouncedBodyIsAllocatedAsItArrives(t *testing.T) {
	p := &probe{Reader: strings.NewReader("SEND\ncontent-length:1000000\n\nx")}
	_, err := NewReader(p, testLimits).Read()
	require.Equal(t, io.ErrUnexpectedEOF, err)
	for _, n := range p.offered {
		require.LessOrEqual(t, n, firstBody)
	}
}

func TestReadingASendAllocatesThrice(t *testing.T) {
	wire := Append(nil, V12, &Frame{Send, Header{{"destination", "/queue/a"}, {"receipt", "1"}, {"content-type", "text/plain"}}, []byte("hello")})
	r := NewReader(&loop{wire: wire}, testLimits)
	r.SetVersion(V12)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		_, err := r.Read()
		require.NoError(t, err)
	}), 3.0)
}

// loop repeats a frame for ever, as a fast sender would.
type loop struct {
	wire []byte
	at   int
}

func (l *loop) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := copy(p[n:], l.wire[l.at:])
		n += k
		l.at = (l.at + k) % len(l.wire)
	}
	return n, nil
}
