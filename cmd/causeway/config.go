package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// Config is everything a gateway is told. Its koanf tags are the keys of the
// file, the environment and the flags.
type Config struct {
	Bridge        bridge.Config `koanf:",squash"` // name, nats, log_retention, queues, mapping
	STOMP         STOMP         `koanf:"stomp"`
	MQTT          MQTT          `koanf:"mqtt"`
	WebSocket     WebSocket     `koanf:"websocket"`
	HTTP          HTTP          `koanf:"http"`
	TLS           TLS           `koanf:"tls"`
	Auth          auth.Config   `koanf:"auth"`
	Limits        Limits        `koanf:"limits"`
	Log           Log           `koanf:"log"`
	ShutdownGrace time.Duration `koanf:"shutdown_grace"`
}

// STOMP configures the STOMP front-end.
type STOMP struct {
	Listen       string `koanf:"listen"`
	TLSListen    string `koanf:"tls_listen"`
	stomp.Config `koanf:",squash"`
	DefaultQoS   uint8 `koanf:"default_qos"`
	Prefetch     int   `koanf:"prefetch"`
}

// MQTT configures the MQTT front-end.
type MQTT struct {
	Listen      string `koanf:"listen"`
	TLSListen   string `koanf:"tls_listen"`
	mqtt.Config `koanf:",squash"`
}

// WebSocket configures the listener for both protocols over WebSocket.
type WebSocket struct {
	Listen    string   `koanf:"listen"`
	STOMPPath string   `koanf:"stomp_path"`
	MQTTPath  string   `koanf:"mqtt_path"`
	TLS       bool     `koanf:"tls"`
	Origins   []string `koanf:"origins"`
}

// HTTP configures the listener for health and metrics.
type HTTP struct {
	Listen string `koanf:"listen"`
}

// TLS names the files that the TLS listeners use.
type TLS struct {
	Cert     string `koanf:"cert"`
	Key      string `koanf:"key"`
	ClientCA string `koanf:"client_ca"`
}

// Limits bounds what clients may do.
type Limits struct {
	ConnectTimeout time.Duration `koanf:"connect_timeout"`
}

// Log configures what goes to standard error.
type Log struct {
	Level  string `koanf:"level"`
	Format string `koanf:"format"`
}

// DefaultConfig returns the configuration of a gateway that was told nothing.
func DefaultConfig() Config {
	core := bridge.DefaultConfig()
	return Config{
		Bridge: core,
		STOMP: STOMP{
			Listen: "127.0.0.1:61613", Config: stomp.DefaultConfig(),
			DefaultQoS: core.DefaultQoS, Prefetch: core.Prefetch,
		},
		MQTT:          MQTT{Listen: "127.0.0.1:1883", Config: mqtt.DefaultConfig()},
		WebSocket:     WebSocket{Listen: "127.0.0.1:8083", STOMPPath: "/stomp", MQTTPath: "/mqtt"},
		HTTP:          HTTP{Listen: "127.0.0.1:8080"},
		Limits:        Limits{ConnectTimeout: 10 * time.Second},
		Log:           Log{Level: "info", Format: "text"},
		ShutdownGrace: 10 * time.Second,
	}
}

// forBridge returns what the bridge is told: its own keys and what the
// front-ends are configured with and the bridge applies.
func (c Config) forBridge() bridge.Config {
	b := c.Bridge
	b.DefaultQoS = c.STOMP.DefaultQoS
	b.Prefetch = c.STOMP.Prefetch
	b.MaxMessage = max(c.STOMP.MaxMessage, c.MQTT.MaxMessage)
	b.MaxSessionExpiry = c.MQTT.MaxSessionExpiry
	return b
}

// forSTOMP returns what the STOMP server is told. The core may take smaller
// messages than are configured.
func (c Config) forSTOMP(maxMessage int) stomp.Config {
	s := c.STOMP.Config
	s.MaxMessage = min(s.MaxMessage, maxMessage)
	s.ConnectTimeout = c.Limits.ConnectTimeout
	s.ShutdownGrace = c.ShutdownGrace
	return s
}

// forMQTT returns what the MQTT server is told.
func (c Config) forMQTT(maxMessage int) mqtt.Config {
	m := c.MQTT.Config
	m.MaxMessage = min(m.MaxMessage, maxMessage)
	m.ConnectTimeout = c.Limits.ConnectTimeout
	m.ShutdownGrace = c.ShutdownGrace
	return m
}

const (
	// maxMessage is what fits in one record of the store, which takes 32 MiB,
	// with the metadata of a message.
	maxMessage = 31 << 20
	// minMessage leaves room for a CONNECT with its credentials.
	minMessage = 1 << 10
	// minHeartBeat keeps beats from being most of the traffic.
	minHeartBeat = 100 * time.Millisecond
	// maxSessionExpiry is the longest that MQTT can say short of for ever.
	maxSessionExpiry = (1<<32 - 2) * time.Second
)

// Validate reports every fault of c by its key, with the remedy.
func (c Config) Validate() error {
	core := c.forBridge()
	core.MaxMessage = maxMessage // validateFrontEnds knows the keys that it comes from
	return errors.Join(c.validateFrontEnds(), c.validateListeners(), c.validateTLS(), c.Auth.Validate(),
		core.Validate(), c.validateMapping())
}

// faults collects what is wrong with a configuration.
type faults []error

func (f *faults) add(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (c Config) validateFrontEnds() error {
	var f faults
	for _, limit := range []struct {
		key   string
		bytes int
	}{{"stomp.max_message", c.STOMP.MaxMessage}, {"mqtt.max_message", c.MQTT.MaxMessage}} {
		f.add(limit.bytes <= maxMessage, "%s: %s does not fit in one record of the store: set at most %s",
			limit.key, formatInt(int64(limit.bytes)), formatInt(maxMessage))
		f.add(limit.bytes >= minMessage, "%s: %s is too small for a CONNECT: set at least %s",
			limit.key, formatInt(int64(limit.bytes)), formatInt(minMessage))
	}
	f.add(c.STOMP.HeartBeat == 0 || c.STOMP.HeartBeat >= minHeartBeat && c.STOMP.HeartBeat <= 24*time.Hour,
		"stomp.heart_beat: %s is out of bounds: set %s to 24h, or 0s for none", c.STOMP.HeartBeat, minHeartBeat)
	for _, window := range []struct {
		key  string
		size int
	}{{"mqtt.receive_maximum", c.MQTT.ReceiveMaximum}, {"mqtt.max_inflight", c.MQTT.MaxInflight}} {
		f.add(1 <= window.size && window.size <= 65535, "%s: %d is out of bounds: set 1 to 65535", window.key, window.size)
	}
	f.add(0 <= c.MQTT.MaxSessionExpiry && c.MQTT.MaxSessionExpiry <= maxSessionExpiry,
		"mqtt.max_session_expiry: %s is out of bounds: set 0s to %s", c.MQTT.MaxSessionExpiry, maxSessionExpiry)
	f.add(c.Limits.ConnectTimeout > 0, "limits.connect_timeout: %s is too short for any client: set a time like 10s", c.Limits.ConnectTimeout)
	f.add(c.ShutdownGrace > 0, "shutdown_grace: %s is too short to tell clients anything: set a time like 10s", c.ShutdownGrace)
	_, known := levels[c.Log.Level]
	f.add(known, "log.level: %q is unknown: set debug, info, warn or error", c.Log.Level)
	f.add(c.Log.Format == "text" || c.Log.Format == "json", "log.format: %q is unknown: set text or json", c.Log.Format)
	return errors.Join(f...)
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// address is a key that holds an address to listen on.
type address struct {
	key, value string
	clients    bool // STOMP and MQTT clients log in there
}

func (c Config) addresses() []address {
	return []address{
		{"stomp.listen", c.STOMP.Listen, true},
		{"stomp.tls_listen", c.STOMP.TLSListen, true},
		{"mqtt.listen", c.MQTT.Listen, true},
		{"mqtt.tls_listen", c.MQTT.TLSListen, true},
		{"websocket.listen", c.WebSocket.Listen, true},
		{"http.listen", c.HTTP.Listen, false},
	}
}

func (c Config) validateListeners() error {
	var f faults
	open := !c.Auth.Anonymous && len(c.Auth.Users) == 0
	var clients bool
	for _, a := range c.addresses() {
		if a.value == "" {
			continue
		}
		clients = clients || a.clients
		host, port, err := net.SplitHostPort(a.value)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			f.add(false, "%s: %q is no address: set host:port, for example 127.0.0.1:61613, or \"\" to turn it off", a.key, a.value)
			continue
		}
		f.add(!a.clients || !open || loopback(host),
			"%s: %s can be reached from other machines, and without auth.users any login is accepted: set auth.users (\"causeway passwd\" makes an entry), or auth.anonymous: true to let everybody in, or listen on 127.0.0.1", a.key, a.value)
	}
	f.add(clients, "stomp.listen, mqtt.listen and websocket.listen are all empty: set one, or no client can connect")
	if c.WebSocket.Listen != "" {
		for _, p := range []struct{ key, value string }{{"websocket.stomp_path", c.WebSocket.STOMPPath}, {"websocket.mqtt_path", c.WebSocket.MQTTPath}} {
			f.add(strings.HasPrefix(p.value, "/") && !strings.ContainsAny(p.value, " ?#{}"),
				"%s: %q is no path: set one that begins with a slash and has no blank, ?, #, { or }", p.key, p.value)
		}
		f.add(c.WebSocket.STOMPPath != c.WebSocket.MQTTPath,
			"websocket.mqtt_path: %q is websocket.stomp_path too: set another one", c.WebSocket.MQTTPath)
		for i, origin := range c.WebSocket.Origins {
			_, err := path.Match(origin, "")
			f.add(err == nil && origin != "",
				"websocket.origins[%d]: %q is no pattern: set a host like app.example.com or *.example.com, with https:// before it if you like", i, origin)
		}
	}
	return errors.Join(f...)
}

// loopback says whether a listener on host is reachable from this machine only.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (c Config) validateTLS() error {
	var f faults
	for _, user := range []struct {
		key string
		on  bool
	}{
		{"stomp.tls_listen", c.STOMP.TLSListen != ""},
		{"mqtt.tls_listen", c.MQTT.TLSListen != ""},
		{"websocket.tls", c.WebSocket.TLS && c.WebSocket.Listen != ""},
	} {
		f.add(!user.on || c.TLS.Cert != "" && c.TLS.Key != "",
			"%s is set without a certificate: set tls.cert and tls.key to PEM files", user.key)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		f.add(false, "tls.cert and tls.key belong together: set both or neither")
	}
	return errors.Join(f...)
}

// mappingOptions returns what the table of names is made of.
func (c Config) mappingOptions() mapping.Options {
	return mapping.Options{Rules: c.Bridge.Mapping, QueueRoot: c.Bridge.Queues.Root, Prefix: c.Bridge.NATS.Prefix}
}

// validateMapping refuses rules that contradict each other. That they compile
// is checked by the bridge.
func (c Config) validateMapping() error {
	var f faults
	for _, finding := range c.lintMapping() {
		f.add(finding.Severity != mapping.Error, "mapping[%d]: %s", finding.Rule-1, finding.Text)
	}
	return errors.Join(f...)
}

func (c Config) lintMapping() []mapping.Finding {
	table, err := mapping.New(c.mappingOptions())
	if err != nil {
		return nil
	}
	return table.Lint()
}

// Lint reports what is valid and probably not meant.
func (c Config) Lint() []string {
	var warnings []string
	if kept := c.Bridge.LogRetention.Age; kept > 0 && c.MQTT.MaxSessionExpiry > kept {
		warnings = append(warnings, fmt.Sprintf(
			"mqtt.max_session_expiry: %s is longer than log_retention.age: a session away for more than %s loses messages: raise log_retention.age or lower mqtt.max_session_expiry",
			c.MQTT.MaxSessionExpiry, kept))
	}
	for _, finding := range c.lintMapping() {
		warnings = append(warnings, fmt.Sprintf("mapping[%d]: %s", finding.Rule-1, finding.Text))
	}
	return warnings
}
