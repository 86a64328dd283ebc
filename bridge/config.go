package bridge

import (
	"errors"
	"fmt"
	"net"
	"strings"
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

// Validate reports every value that cannot work, by its key.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	n := c.NATS
	check(!strings.ContainsAny(c.Name, " \t\r\n.*>/"), "name: %q: blanks, dots, slashes and wildcards are not allowed", c.Name)
	check(n.URL != "" || n.Store != "", "nats.store: name a directory for the embedded core, or a server in nats.url")
	check(n.MaxStore == 0 || n.MaxStore >= 64<<20, "nats.max_store: %d bytes are too few; 0 (three quarters of the free disk) or at least 64MiB", n.MaxStore)
	check(n.Sync == "interval" || n.Sync == "always", "nats.sync: %q is not one of interval, always", n.Sync)
	check(n.Replicas >= 1 && n.Replicas <= 5, "nats.replicas: %d is not between 1 and 5", n.Replicas)
	check(isToken(n.Prefix), "nats.prefix: %q: use lower case letters, digits, - and _", n.Prefix)
	check(n.Patience >= time.Second, "nats.patience: %s is below 1s", n.Patience)
	check(n.GiveUp >= n.Patience, "nats.give_up: %s is below nats.patience", n.GiveUp)
	check(n.Listen == "" || n.User != "" || loopback(n.Listen),
		"nats.listen: %s is not a loopback address: set nats.user and nats.password", n.Listen)
	check(n.Listen == "" || n.URL == "", "nats.listen: it opens the embedded core, and nats.url names another one")
	check(n.Cluster.Listen == "" && len(n.Cluster.Routes) == 0,
		"nats.cluster: embedded cores cannot form a cluster yet; let the gateways share an external one (nats.url)")
	check(c.LogRetention.Age >= time.Minute, "log_retention.age: %s is below 1m", c.LogRetention.Age)
	check(c.LogRetention.Bytes >= 0, "log_retention.bytes: %d is negative", c.LogRetention.Bytes)
	check(mapping.ValidTopic(c.Queues.Root) == nil && !strings.HasPrefix(c.Queues.Root, "$"),
		"queues.root: %q is not a topic", c.Queues.Root)
	check(c.Queues.MaxDeliver >= 1, "queues.max_deliver: %d is below 1", c.Queues.MaxDeliver)
	check(strings.HasPrefix(c.Queues.DeadLetter, c.Queues.Root+"/"),
		"queues.dead_letter: %q is not a queue; it begins with %s/", c.Queues.DeadLetter, c.Queues.Root)
	for i, p := range c.Queues.Policies {
		key := fmt.Sprintf("queues.policies[%d]", i)
		check(mapping.ValidFilter(p.Match) == nil, "%s.match: %q is not an MQTT filter", key, p.Match)
		check(p.MaxMessages >= 0 && p.MaxAge >= 0, "%s: max_messages and max_age are not negative", key)
		check(p.MaxMessages > 0 || p.MaxAge > 0, "%s: it limits nothing; set max_messages or max_age", key)
		check(p.Overflow == "" || p.Overflow == "reject" || p.Overflow == "drop_oldest",
			"%s.overflow: %q is not one of reject, drop_oldest", key, p.Overflow)
	}
	check(c.DefaultQoS <= 2, "stomp.default_qos: %d is not 0, 1 or 2", c.DefaultQoS)
	check(c.Prefetch >= 1, "stomp.prefetch: %d is below 1", c.Prefetch)
	check(c.MaxMessage > 0 && c.MaxMessage <= maxRecord,
		"max_message: %d bytes do not fit one record of the store, which takes 31MiB", c.MaxMessage)
	return errors.Join(faults...)
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
