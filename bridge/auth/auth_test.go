package auth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// cheap hashes "secret" at the lowest cost there is.
func cheap(t *testing.T) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	return string(h)
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	alice := User{Name: "alice", Password: cheap(t)}
	bob := User{Name: "bob", Password: Hash("geheim")}
	users := Config{Users: []User{alice, bob}}
	both := Config{Users: users.Users, Anonymous: true}
	for _, test := range []struct {
		name           string
		config         Config
		user, password string
		want           User
		refused        bool
	}{
		{"nothing configured accepts any login under its name", Config{}, "x", "y", User{Name: "x"}, false},
		{"nothing configured accepts no login at all", Config{}, "", "", User{}, false},
		{"a bcrypt user with the right password", users, "alice", "secret", alice, false},
		{"an argon2id user with the right password", users, "bob", "geheim", bob, false},
		{"a wrong password", users, "alice", "Secret", User{}, true},
		{"another user's password", users, "bob", "secret", User{}, true},
		{"an empty password", users, "alice", "", User{}, true},
		{"an unknown user", users, "carol", "secret", User{}, true},
		{"no credentials where users are required", users, "", "", User{}, true},
		{"no credentials where anonymous is allowed", both, "", "", User{}, false},
		{"a wrong password where anonymous is allowed", both, "alice", "x", User{}, true},
		{"a password without a user where anonymous is allowed", both, "", "secret", User{}, true},
		{"a known user where anonymous is allowed", both, "alice", "secret", alice, false},
		{"an unknown user where only anonymous is allowed", Config{Anonymous: true}, "alice", "secret", User{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, err := New(test.config)
			require.NoError(t, err)
			for range 2 { // the second time from the cache
				got, err := a.Authenticate(t.Context(), test.user, test.password)
				if test.refused {
					require.ErrorIs(t, err, ErrRefused)
				} else {
					require.NoError(t, err)
				}
				require.Equal(t, test.want, got)
			}
			want := Stats{Accepted: 2}
			if test.refused {
				want = Stats{Refused: 2}
			}
			require.Equal(t, want, a.Stats())
		})
	}
}

// counter is a hash that accepts one password and counts the checks.
type counter struct {
	mu     sync.Mutex
	checks int
}

func (c *counter) matches(password string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks++
	return password == "secret"
}

func TestCache(t *testing.T) {
	t.Parallel()
	authenticator := func(t *testing.T) (*Authenticator, *counter) {
		t.Helper()
		a, err := New(Config{Users: []User{{Name: "alice", Password: cheap(t)}}})
		require.NoError(t, err)
		c := &counter{}
		a.users["alice"] = account{User{Name: "alice"}, c}
		a.decoy = c
		return a, c
	}
	t.Run("a login is checked once, also when a hundred connections come together", func(t *testing.T) {
		t.Parallel()
		a, c := authenticator(t)
		a.hashing = make(chan struct{}, 1)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, err := a.Authenticate(t.Context(), "alice", "secret")
				require.NoError(t, err)
			})
		}
		all.Wait()
		require.Equal(t, 1, c.checks)
	})
	t.Run("what is wrong is checked every time, an unknown user like a known one", func(t *testing.T) {
		t.Parallel()
		a, c := authenticator(t)
		for range 3 {
			_, err := a.Authenticate(t.Context(), "alice", "wrong")
			require.ErrorIs(t, err, ErrRefused)
			_, err = a.Authenticate(t.Context(), "carol", "secret")
			require.ErrorIs(t, err, ErrRefused)
		}
		require.Equal(t, 6, c.checks)
	})
	t.Run("user and password are not confused with their concatenation", func(t *testing.T) {
		t.Parallel()
		c := newCache()
		require.NotEqual(t, c.key("ab", "c"), c.key("a", "bc"))
	})
	t.Run("it is bounded and keeps what is used", func(t *testing.T) {
		t.Parallel()
		c := newCache()
		used := c.key("alice", "secret")
		c.add(used)
		for i := range 10 * cacheSize {
			c.add(c.key("bob", fmt.Sprint(i)))
			require.True(t, c.has(used))
		}
		require.LessOrEqual(t, len(c.young)+len(c.old), 2*cacheSize)
		require.False(t, c.has(c.key("bob", "0")))
	})
	t.Run("a client that gave up waiting for its turn is not checked", func(t *testing.T) {
		t.Parallel()
		a, c := authenticator(t)
		a.hashing = make(chan struct{}) // nobody gets a turn
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := a.Authenticate(ctx, "alice", "secret")
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, c.checks)
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	const (
		salt = "c29tZXNhbHRzb21lc2FsdA"
		key  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
	)
	for _, test := range []struct{ name, password, want string }{
		{"an empty password", "", "is empty"},
		{"a plain password", "secret", "neither a bcrypt nor an argon2id hash"},
		{"a cut bcrypt hash", "$2y$10$abc", "not a complete bcrypt hash"},
		{"a bcrypt cost that takes minutes", "$2b$31$" + strings.Repeat("a", 53), "bcrypt cost 31"},
		{"a cut argon2id hash", "$argon2id$v=19$m=64,t=1,p=1$" + salt, "not a complete argon2id hash"},
		{"an old argon2 version", "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key, "only v=19"},
		{"argon2id parameters that are none", "$argon2id$v=19$m=64,t=x,p=1$" + salt + "$" + key, "not like"},
		{"argon2id without passes", "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key, "out of bounds"},
		{"argon2id with gigabytes", "$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + key, "out of bounds"},
		{"argon2id with less memory than its threads need", "$argon2id$v=19$m=8,t=1,p=4$" + salt + "$" + key, "out of bounds"},
		{"an argon2id salt that is not base64", "$argon2id$v=19$m=64,t=1,p=1$!$" + key, "broken argon2id salt"},
		{"a short argon2id key", "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$YQ", "broken argon2id key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := Config{Users: []User{{Name: "alice", Password: test.password}}}.Validate()
			require.ErrorContains(t, err, `auth.users[0].password of "alice": `)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, `make one with "causeway passwd alice"`)
		})
	}
	t.Run("every fault is reported", func(t *testing.T) {
		t.Parallel()
		hash := cheap(t)
		_, err := New(Config{Users: []User{{Password: hash}, {"bob", hash}, {"bob", hash}, {"carol", "x"}}})
		require.ErrorContains(t, err, "auth.users[0].name is empty")
		require.ErrorContains(t, err, `auth.users[2].name: "bob" is there twice`)
		require.ErrorContains(t, err, "auth.users[3].password")
	})
	t.Run("the hashes of common tools are accepted", func(t *testing.T) {
		t.Parallel()
		for _, hash := range []string{
			"$2y$05$" + strings.Repeat("a", 53), // htpasswd -B, PHP password_hash
			"$argon2id$v=19$m=65536,t=3,p=4$" + salt + "$" + key,
		} {
			require.NoError(t, Config{Users: []User{{"alice", hash}}}.Validate())
		}
	})
}

func TestHash(t *testing.T) {
	t.Parallel()
	one, two := Hash("secret"), Hash("secret")
	require.NotEqual(t, one, two, "a salt is random")
	require.True(t, strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$"), one)
	h, err := parseHash(one)
	require.NoError(t, err)
	require.True(t, h.matches("secret"))
	require.False(t, h.matches("secret "))
}
