package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds on what one check may cost; a hash that asks for more is a mistake
// or would let a few logins occupy the machine.
const (
	maxBcryptCost    = 16
	maxArgonMemory   = 256 << 10 // KiB
	maxArgonTime     = 64
	argonMinSaltSize = 8
	argonMinKeySize  = 16
	argonMaxKeySize  = 64
)

// Hash returns an argon2id hash of password with a random salt, for
// User.Password.
func Hash(password string) string {
	h := argonHash{memory: 19 << 10, time: 2, threads: 1, salt: make([]byte, 16)}
	_, _ = rand.Read(h.salt) // never fails
	h.key = h.derive(password, 32)
	return h.String()
}

// hash is a password that can be recognised and not read.
type hash interface {
	// matches takes the same time for every password of one length.
	matches(password string) bool
}

func parseHash(s string) (hash, error) {
	switch {
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	case s == "":
		return nil, errors.New("is empty")
	}
	return nil, errors.New("is neither a bcrypt nor an argon2id hash")
}

type bcryptHash []byte

func parseBcrypt(s string) (hash, error) {
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || len(s) != 60 {
		return nil, errors.New("is not a complete bcrypt hash")
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("has bcrypt cost %d, and %d is the most", cost, maxBcryptCost)
	}
	return bcryptHash(s), nil
}

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword(h, []byte(password)) == nil
}

type argonHash struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, key    []byte
}

// String returns h in PHC form, what parseArgon reads.
func (h argonHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

func parseArgon(s string) (hash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return nil, errors.New("is not a complete argon2id hash")
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("has argon2 version %q, and only v=%d is known", parts[2], argon2.Version)
	}
	var h argonHash
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return nil, fmt.Errorf("has argon2id parameters %q, not like \"m=19456,t=2,p=1\"", parts[3])
	}
	if h.threads < 1 || h.time < 1 || h.time > maxArgonTime || h.memory < 8*uint32(h.threads) || h.memory > maxArgonMemory {
		return nil, fmt.Errorf("has argon2id parameters %q out of bounds: at most m=%d,t=%d", parts[3], maxArgonMemory, maxArgonTime)
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < argonMinSaltSize {
		return nil, errors.New("has a broken argon2id salt")
	}
	if h.key, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.key) < argonMinKeySize || len(h.key) > argonMaxKeySize {
		return nil, errors.New("has a broken argon2id key")
	}
	return h, nil
}

func (h argonHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.derive(password, uint32(len(h.key))), h.key) == 1
}

func (h argonHash) derive(password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, size)
}
