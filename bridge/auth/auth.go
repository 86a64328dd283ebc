// Package auth decides who may connect. A login is the same in both protocols:
// a STOMP login and passcode, an MQTT user name and password.
package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// ErrRefused is what every refused login gets, whatever was wrong with it.
var ErrRefused = errors.New("auth: unknown user or wrong password")

// Config names the users. Without users and without Anonymous any login is
// accepted, which is for loopback listeners only.
type Config struct {
	Anonymous bool   `koanf:"anonymous"` // clients without credentials may connect
	Users     []User `koanf:"users"`
}

// User is somebody who may connect. The zero User is an anonymous one.
type User struct {
	Name     string `koanf:"name"`
	Password string `koanf:"password"` // a bcrypt or argon2id hash, as Hash makes them
}

// Validate reports every fault of c by its key.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

// Authenticator checks logins. It is immutable but for its cache and counters,
// and may be used from any goroutine.
type Authenticator struct {
	anonymous bool
	users     map[string]account
	decoy     hash          // checked for unknown users, so that they take as long as known ones
	hashing   chan struct{} // one place per check under way: hashes are made to need memory and time
	cache     *cache

	accepted, refused atomic.Uint64
}

type account struct {
	User
	hash hash
}

// New compiles c. Its error lists all faults by key.
func New(c Config) (*Authenticator, error) {
	users, err := compile(c)
	if err != nil {
		return nil, err
	}
	a := &Authenticator{
		anonymous: c.Anonymous,
		users:     users,
		hashing:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		cache:     newCache(),
	}
	if len(c.Users) > 0 {
		a.decoy = users[c.Users[0].Name].hash
	}
	return a, nil
}

func compile(c Config) (map[string]account, error) {
	users := make(map[string]account, len(c.Users))
	var faults []error
	for i, user := range c.Users {
		key := fmt.Sprintf("auth.users[%d]", i)
		if user.Name == "" {
			faults = append(faults, fmt.Errorf("%s.name is empty: give the name that clients log in with", key))
			continue
		}
		if _, twice := users[user.Name]; twice {
			faults = append(faults, fmt.Errorf("%s.name: %q is there twice: remove one of the entries", key, user.Name))
			continue
		}
		h, err := parseHash(user.Password)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.password of %q: %w: make one with \"causeway passwd %s\"", key, user.Name, err, user.Name))
		}
		users[user.Name] = account{user, h}
	}
	return users, errors.Join(faults...)
}

// Configured says whether logins mean anything: users or anonymous are set.
func (a *Authenticator) Configured() bool { return a.anonymous || len(a.users) > 0 }

// Authenticate returns the user who may connect with name and password, or
// ErrRefused, or ctx's error when it ended before the password was checked.
func (a *Authenticator) Authenticate(ctx context.Context, name, password string) (User, error) {
	user, err := a.authenticate(ctx, name, password)
	if err != nil {
		a.refused.Add(1)
		return User{}, err
	}
	a.accepted.Add(1)
	return user, nil
}

func (a *Authenticator) authenticate(ctx context.Context, name, password string) (User, error) {
	switch {
	case !a.Configured():
		return User{Name: name}, nil
	case name == "" && password == "" && a.anonymous:
		return User{}, nil
	case len(a.users) == 0:
		return User{}, ErrRefused
	}
	user, known := a.users[name]
	login := a.cache.key(name, password)
	if known && a.cache.has(login) {
		return user.User, nil
	}
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
	case <-ctx.Done():
		return User{}, fmt.Errorf("check the password of %q: %w", name, context.Cause(ctx))
	}
	if !known {
		a.decoy.matches(password)
		return User{}, ErrRefused
	}
	// Another connection with this login may have been checked meanwhile.
	if !a.cache.has(login) {
		if !user.hash.matches(password) {
			return User{}, ErrRefused
		}
		a.cache.add(login)
	}
	return user.User, nil
}

// Stats is a snapshot of an Authenticator's counters.
type Stats struct {
	Accepted, Refused uint64 // logins since the start
}

// Stats returns the counters.
func (a *Authenticator) Stats() Stats {
	return Stats{Accepted: a.accepted.Load(), Refused: a.refused.Load()}
}
