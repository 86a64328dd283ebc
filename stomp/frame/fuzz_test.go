package frame

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// FuzzReader checks that what is read stays within the limits, reads the same
// in pieces, and is written so that it reads the same again.
func FuzzReader(f *testing.F) {
	for _, v := range vectors {
		f.Add(byte(v.version), unhex(f, v.hex))
	}
	f.Add(byte(V12), []byte("SEND\ncontent-length:5\n\nhi"))
	limits := Limits{HeaderLine: 100, HeaderLines: 10, HeaderBytes: 600, Body: 1000}
	f.Fuzz(func(t *testing.T, version byte, wire []byte) {
		v := Version(version % 4)
		whole, pieces := NewReader(bytes.NewReader(wire), limits), NewReader(iotest.OneByteReader(bytes.NewReader(wire)), limits)
		whole.SetVersion(v)
		pieces.SetVersion(v)
		for {
			got, err := whole.Read()
			same, sameErr := pieces.Read()
			requireSameError(t, err, sameErr)
			if err != nil {
				return
			}
			require.Equal(t, got, same)
			require.LessOrEqual(t, len(got.Body), limits.Body)
			require.LessOrEqual(t, len(got.Header), limits.HeaderLines)
			requireRoundTrip(t, v, got)
		}
	})
}

func requireSameError(t *testing.T, a, b error) {
	t.Helper()
	if command := new(CommandError); errors.As(a, &command) {
		require.ErrorAs(t, b, &command) // how much of the input it shows depends on the pieces
		return
	}
	require.Equal(t, a, b)
}

func requireRoundTrip(t *testing.T, v Version, f *Frame) {
	t.Helper()
	wire := Append(nil, v, f)
	r := NewReader(bytes.NewReader(wire), Limits{1 << 20, 1000, 1 << 20, 1 << 20})
	r.SetVersion(v)
	again, err := r.Read()
	require.NoError(t, err)
	require.Equal(t, f.Command, again.Command)
	require.Equal(t, f.Body, again.Body)
	require.Equal(t, expressible(v, f), expressible(v, again))
}

// expressible leaves out what Append decides: content-length, and a CR at the
// end of a line where no escape can say it.
func expressible(v Version, f *Frame) []Field {
	fields := []Field{}
	for _, field := range f.Header {
		if field.Name == contentLength {
			continue
		}
		if !escaped(v, f.Command) || v == V11 {
			if trimmed, ok := strings.CutSuffix(field.Value, "\r"); ok {
				field.Value = trimmed + " "
			}
			if v == V10 {
				field.Value = strings.TrimLeft(field.Value, " \t")
			}
		}
		fields = append(fields, field)
	}
	return fields
}
