package stomp

import (
	"errors"
	"fmt"
	"time"
)

// Config is what a Server is told.
type Config struct {
	MaxMessage      int           `koanf:"max_message"`      // bytes of a body
	HeartBeat       time.Duration `koanf:"heart_beat"`       // what we offer and ask for; 0: none
	TrailingNewline bool          `koanf:"trailing_newline"` // a line end after each NUL: the PHP extension needs it
	ConnectTimeout  time.Duration `koanf:"-"`                // from the connection to the end of CONNECT
	ShutdownGrace   time.Duration `koanf:"-"`                // how long the last answers may take
	ServerName      string        `koanf:"-"`                // the server header, name/version; "": none
}

// DefaultConfig returns the configuration of a server that was told nothing.
func DefaultConfig() Config {
	return Config{
		MaxMessage:      16 << 20,
		HeartBeat:       10 * time.Second,
		TrailingNewline: true,
		ConnectTimeout:  10 * time.Second,
		ShutdownGrace:   10 * time.Second,
		ServerName:      "causeway",
	}
}

// Validate reports all faults by key name.
func (c Config) Validate() error {
	var faults []error
	if c.MaxMessage <= 0 {
		faults = append(faults, fmt.Errorf("max_message: %d is not a positive number of bytes", c.MaxMessage))
	}
	if c.HeartBeat != 0 && (c.HeartBeat < 100*time.Millisecond || c.HeartBeat > 24*time.Hour) {
		faults = append(faults, fmt.Errorf("heart_beat: %v is neither 0 nor between 100ms and 24h", c.HeartBeat))
	}
	if c.ConnectTimeout <= 0 {
		faults = append(faults, fmt.Errorf("connect_timeout: %v is not positive", c.ConnectTimeout))
	}
	if c.ShutdownGrace < 0 {
		faults = append(faults, fmt.Errorf("shutdown_grace: %v is negative", c.ShutdownGrace))
	}
	return errors.Join(faults...)
}
