package mapping

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// MaxSubject is the length in bytes of the longest subject that is built. The
// embedded core corrupts what is longer than 65,535, root and all; an external
// one may take less, which FitSubject checks.
const MaxSubject = 65000

// maxKey is the length of the longest key. A consumer's name has at most 255
// bytes, of which callers may use the others.
const maxKey = 128

// LimitError is a name whose subject is longer than the core takes.
type LimitError struct{ Length, Limit int }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the name makes a NATS subject of %d bytes, the core takes %d: shorten it, or use fewer characters that are escaped (blanks, control characters, . * > =)", e.Length, e.Limit)
}

// FitSubject returns a *LimitError when subject is longer than limit.
func FitSubject(subject string, limit int) error {
	if len(subject) > limit {
		return &LimitError{len(subject), limit}
	}
	return nil
}

// Subject returns the NATS subject of a topic below root: levels become
// tokens. Topics that begin with $ live below root+"$", so that no filter of
// the others sees them.
func Subject(root, topic string) (string, error) {
	var buf [256]byte
	b, err := AppendSubject(buf[:0], root, topic)
	return string(b), err
}

// AppendSubject appends the subject of a topic to dst. On an error it returns
// dst as it was.
func AppendSubject(dst []byte, root, topic string) ([]byte, error) {
	if err := ValidTopic(topic); err != nil {
		return dst, err
	}
	b := appendTokens(appendRoot(dst, root, topic), topic)
	if n := len(b) - len(dst); n > MaxSubject {
		return dst, &LimitError{n, MaxSubject}
	}
	return b, nil
}

func appendRoot(dst []byte, root, topic string) []byte {
	dst = append(dst, root...)
	if topic[0] == '$' {
		dst = append(dst, '$')
	}
	return append(dst, '.')
}

// What a token cannot carry as it is: NATS's separators and wildcards, the
// escape itself, and what its parser or a client trims. A slash never gets
// into a token.
var inToken = func() (plain [256]bool) {
	for b := range plain {
		plain[b] = b > ' ' && b != 0x7f && !strings.ContainsRune(".*>=/", rune(b)) || b >= 0x80
	}
	return plain
}()

// What a key can carry as it is: a part of what KV buckets, streams and
// consumers have in common.
var inKey = func() (plain [256]bool) {
	for b := range plain {
		c := byte(b)
		plain[b] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
	}
	return plain
}()

const (
	upperHex = "0123456789ABCDEF"
	// A file store takes a subject with U+FFFD for a damaged one when it
	// starts, and reads all its messages again.
	replacement        = "\uFFFD"
	replacementEscaped = "=EF=BF=BD"
)

// appendTokens appends the levels of a valid topic or filter, as tokens.
func appendTokens(dst []byte, topic string) []byte {
	start := len(dst)
	for i := 0; i < len(topic); i++ {
		switch b := topic[i]; {
		case b == '/':
			if len(dst) == start {
				dst = append(dst, '=')
			}
			dst = append(dst, '.')
			start = len(dst)
		case b == replacement[0] && strings.HasPrefix(topic[i:], replacement):
			dst = append(dst, replacementEscaped...)
			i += len(replacement) - 1
		case inToken[b]:
			dst = append(dst, b)
		default:
			dst = append(dst, '=', upperHex[b>>4], upperHex[b&15])
		}
	}
	if len(dst) == start {
		dst = append(dst, '=')
	}
	return dst
}

// TopicOf returns the topic whose Subject below root is subject, and an error
// for every other subject: a topic has one spelling.
func TopicOf(root, subject string) (string, error) {
	tokens, ok := strings.CutPrefix(subject, root)
	dollar := strings.HasPrefix(tokens, "$")
	if dollar {
		tokens = tokens[1:]
	}
	if !ok || !strings.HasPrefix(tokens, ".") {
		return "", fmt.Errorf("subject %s: not below %s", quote(subject), root)
	}
	if len(subject) > MaxSubject {
		return "", &LimitError{len(subject), MaxSubject}
	}
	topic, ok := topicOfTokens(tokens[1:])
	if !ok {
		return "", fmt.Errorf("subject %s: not the spelling of a topic", quote(subject))
	}
	if err := ValidTopic(topic); err != nil {
		return "", fmt.Errorf("subject %s: %w", quote(subject), err)
	}
	if dollar != (topic[0] == '$') {
		return "", fmt.Errorf("subject %s: topics that begin with $ live below %s$", quote(subject), root)
	}
	return topic, nil
}

func topicOfTokens(tokens string) (string, bool) {
	var buf [256]byte
	dst := buf[:0]
	for start, i := 0, 0; i < len(tokens); i++ {
		switch b := tokens[i]; {
		case b == '.':
			if i == start {
				return "", false
			}
			dst = append(dst, '/')
			start = i + 1
		case b == '=':
			if i == start && (i+1 == len(tokens) || tokens[i+1] == '.') {
				continue // an empty level
			}
			if strings.HasPrefix(tokens[i:], replacementEscaped) {
				dst = append(dst, replacement...)
				i += len(replacementEscaped) - 1
				continue
			}
			c, ok := unhex(tokens[i+1:])
			if !ok || inToken[c] || c == '/' {
				return "", false
			}
			dst = append(dst, c)
			i += 2
		case !inToken[b], b == replacement[0] && strings.HasPrefix(tokens[i:], replacement):
			return "", false
		default:
			dst = append(dst, b)
		}
	}
	return string(dst), tokens != "" && tokens[len(tokens)-1] != '.'
}

// unhex reads two upper-case hexadecimal digits.
func unhex(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, low := strings.IndexByte(upperHex, s[0]), strings.IndexByte(upperHex, s[1])
	return byte(high<<4 | low&15), high >= 0 && low >= 0
}

// FilterSubjects returns the NATS filters below root that together match the
// subjects of the topics that an MQTT filter matches, each once: two for
// "a/#", which also matches "a", and one for all others.
func FilterSubjects(root, filter string) ([]string, error) {
	if err := ValidFilter(filter); err != nil {
		return nil, err
	}
	var buf [256]byte
	b := appendRoot(buf[:0], root, filter)
	filters := make([]string, 0, 2)
	parent, all := strings.CutSuffix(filter, "#")
	parent, nested := strings.CutSuffix(parent, "/")
	switch {
	case all && !nested:
		b = append(b, '>')
	case all:
		b = appendFilter(b, parent)
		filters = append(filters, string(b))
		b = append(b, ".>"...)
	default:
		b = appendFilter(b, filter)
	}
	if len(b) > MaxSubject {
		return nil, &LimitError{len(b), MaxSubject}
	}
	return append(filters, string(b)), nil
}

func appendFilter(dst []byte, filter string) []byte {
	for i, level := range strings.Split(filter, "/") {
		if i > 0 {
			dst = append(dst, '.')
		}
		if level == "+" {
			dst = append(dst, '*')
		} else {
			dst = appendTokens(dst, level)
		}
	}
	return dst
}

// Shard returns which of n shards a topic belongs to: what NATS's subject
// transform {{partition(n)}} answers for the topic's tokens.
func Shard(topic string, n int) int {
	const offset, prime = 2166136261, 16777619 // FNV-1a, 32 bits
	var buf [256]byte
	hash := uint32(offset)
	for _, b := range appendTokens(buf[:0], topic) {
		hash = (hash ^ uint32(b)) * prime
	}
	return int(hash % uint32(max(n, 1))) //nolint:gosec // a number of streams
}

// Key returns one token of at most 128 bytes for a name, fit for KV keys,
// streams and consumers: the name, escaped, when that is short enough, else a
// hash of it. Different names have different keys.
func Key(name string) string {
	if name == "" {
		return "="
	}
	var buf [maxKey + 3]byte
	key := buf[:0]
	for i := 0; i < len(name) && len(key) <= maxKey; i++ {
		if b := name[i]; inKey[b] {
			key = append(key, b)
		} else {
			key = append(key, '=', upperHex[b>>4], upperHex[b&15])
		}
	}
	if len(key) <= maxKey {
		return string(key)
	}
	sum := sha256.Sum256([]byte(name))
	return "==" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// KeyName returns the name whose Key is key; false when key is a hash or no
// key at all.
func KeyName(key string) (string, bool) {
	if key == "=" {
		return "", true
	}
	name := make([]byte, 0, maxKey)
	for i := 0; i < len(key); i++ {
		b := key[i]
		if b == '=' {
			c, ok := unhex(key[i+1:])
			if !ok || inKey[c] {
				return "", false
			}
			b, i = c, i+2
		} else if !inKey[b] {
			return "", false
		}
		name = append(name, b)
	}
	return string(name), key != "" && len(key) <= maxKey
}
