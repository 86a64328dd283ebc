package bridge

import (
	"time"

	"github.com/causeway-mq/causeway/mapping"
)

// Config is what the bridge is told. Sizes are bytes.
type Config struct {
	Name         string         `koanf:"name"` // this gateway; "": the host's name and a random part, kept in the store
	NATS         NATS           `koanf:"nats"`
	LogRetention Retention      `koanf:"log_retention"`
	Queues       Queues         `koanf:"queues"`
	Mapping      []mapping.Rule `koanf:"mapping"`

	// What the front-ends are configured with and the bridge applies.
	DefaultQoS       uint8         `koanf:"-"` // of a SEND that names none
	Prefetch         int           `koanf:"-"` // of a STOMP queue subscription that names none
	MaxMessage       int           `koanf:"-"` // the larger of the front-ends' limits
	MaxSessionExpiry time.Duration `koanf:"-"`
}

// NATS is the core: embedded, or an external one.
type NATS struct {
	URL         string        `koanf:"url"` // "": embedded
	Credentials string        `koanf:"credentials"`
	NKey        string        `koanf:"nkey"`
	Token       string        `koanf:"token"`
	User        string        `koanf:"user"`
	Password    string        `koanf:"password"`
	CA          string        `koanf:"ca"`
	Cert        string        `koanf:"cert"`
	Key         string        `koanf:"key"`
	Store       string        `koanf:"store"`     // embedded: directory
	MaxStore    int64         `koanf:"max_store"` // embedded: 0 means three quarters of the free disk
	Sync        string        `koanf:"sync"`      // interval | always
	Replicas    int           `koanf:"replicas"`
	Prefix      string        `koanf:"prefix"`
	Patience    time.Duration `koanf:"patience"`
	GiveUp      time.Duration `koanf:"give_up"`
	Listen      string        `koanf:"listen"` // embedded: also for native clients
	Cluster     Cluster       `koanf:"cluster"`
}

// Cluster makes embedded cores of several gateways one.
type Cluster struct {
	Name     string   `koanf:"name"`
	Listen   string   `koanf:"listen"`
	Routes   []string `koanf:"routes"`
	User     string   `koanf:"user"`
	Password string   `koanf:"password"`
}

// Retention bounds the log of messages to topics.
type Retention struct {
	Age   time.Duration `koanf:"age"`
	Bytes int64         `koanf:"bytes"` // 0: a quarter of the store
}

// Queues configures work queues.
type Queues struct {
	Root       string   `koanf:"root"`
	MaxDeliver int      `koanf:"max_deliver"`
	DeadLetter string   `koanf:"dead_letter"` // a topic; {name} is the queue's name below the root
	Policies   []Policy `koanf:"policies"`
}

// Policy limits the queues whose topic matches. The first match counts.
type Policy struct {
	Match       string        `koanf:"match"` // an MQTT filter
	MaxMessages int64         `koanf:"max_messages"`
	MaxAge      time.Duration `koanf:"max_age"`
	Overflow    string        `koanf:"overflow"` // reject | drop_oldest
}

// DefaultConfig returns the configuration of a gateway that was told nothing.
func DefaultConfig() Config {
	return Config{
		NATS: NATS{
			Store: "causeway-data", Sync: "interval", Replicas: 1, Prefix: "cw",
			Patience: 30 * time.Second, GiveUp: 10 * time.Minute,
		},
		LogRetention:     Retention{Age: 168 * time.Hour},
		Queues:           Queues{Root: "queue", MaxDeliver: 16, DeadLetter: "queue/dlq/{name}"},
		DefaultQoS:       1,
		Prefetch:         100,
		MaxMessage:       16 << 20,
		MaxSessionExpiry: 168 * time.Hour,
	}
}
