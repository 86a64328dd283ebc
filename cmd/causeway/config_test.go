package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mapping"
)

// loadFrom loads yaml ("" for no file), the environment and the arguments.
func loadFrom(t *testing.T, yaml string, environ []string, args ...string) (Config, error) {
	t.Helper()
	filename := ""
	if yaml != "" {
		filename = filepath.Join(t.TempDir(), "causeway.yml")
		require.NoError(t, os.WriteFile(filename, []byte(yaml), 0o600))
	}
	flags := keyFlags()
	require.NoError(t, flags.Parse(args))
	return load(filename, environ, flags)
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const (
		yaml = "stomp: {listen: \"127.0.0.1:1\"}\n"
		env  = "CAUSEWAY_STOMP__LISTEN=127.0.0.1:2"
		flag = "--stomp.listen=127.0.0.1:3"
	)
	for _, test := range []struct {
		name    string
		yaml    string
		environ []string
		args    []string
		want    string
	}{
		{"nothing said leaves the default", "", nil, nil, "127.0.0.1:61613"},
		{"the file overrides the default", yaml, nil, nil, "127.0.0.1:1"},
		{"the environment overrides the file", yaml, []string{env}, nil, "127.0.0.1:2"},
		{"a flag overrides the environment and the file", yaml, []string{env}, []string{flag}, "127.0.0.1:3"},
		{"a flag overrides the default", "", nil, []string{flag}, "127.0.0.1:3"},
		{"a flag that is empty turns the listener off", yaml, []string{env}, []string{"--stomp.listen="}, ""},
		{"a variable that is empty turns the listener off", yaml, []string{"CAUSEWAY_STOMP__LISTEN="}, nil, ""},
		{"a key without a value leaves the default", "stomp: {listen: }\nmqtt:\n", nil, nil, "127.0.0.1:61613"},
		{"the other variables of the environment mean nothing", "", []string{"STOMP__LISTEN=x", "CAUSEWAYSTOMP=x", "PATH=/bin"}, nil, "127.0.0.1:61613"},
		{"the name of the file is not a key", "", []string{"CAUSEWAY_CONFIG=/etc/causeway.yml"}, nil, "127.0.0.1:61613"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := loadFrom(t, test.yaml, test.environ, test.args...)
			require.NoError(t, err)
			require.Equal(t, test.want, c.STOMP.Listen)
			c.STOMP.Listen = DefaultConfig().STOMP.Listen
			require.Equal(t, DefaultConfig(), c, "nothing else changes")
		})
	}
	t.Run("a list replaces the list below it", func(t *testing.T) {
		t.Parallel()
		c, err := loadFrom(t, "websocket: {origins: [a, b]}", []string{`CAUSEWAY_WEBSOCKET__ORIGINS=["c"]`})
		require.NoError(t, err)
		require.Equal(t, []string{"c"}, c.WebSocket.Origins)
	})
}

// samples is a value of each kind of key, as it is typed and as it is kept.
func sample(t *testing.T, v reflect.Value) (string, any) {
	t.Helper()
	switch v.Interface().(type) {
	case string:
		return "some text", "some text"
	case bool:
		return fmt.Sprint(!v.Bool()), !v.Bool()
	case time.Duration:
		return "1m30s", 90 * time.Second
	case uint8:
		return "2", uint8(2)
	case int:
		return "3MiB", 3 << 20
	case int64:
		return "5GiB", int64(5 << 30)
	case []string:
		return `["one", "two"]`, []string{"one", "two"}
	case []mapping.Rule:
		return `[{"stomp": "/queue/a", "mqtt": "a", "kind": "topic"}]`,
			[]mapping.Rule{{STOMP: "/queue/a", MQTT: "a", Kind: "topic"}}
	case []auth.User:
		return `[{"name": "alice", "password": "$2y$"}]`, []auth.User{{Name: "alice", Password: "$2y$"}}
	case []bridge.Policy:
		return `[{"match": "queue/#", "max_messages": 7, "max_age": "1h", "overflow": "reject"}]`,
			[]bridge.Policy{{Match: "queue/#", MaxMessages: 7, MaxAge: time.Hour, Overflow: "reject"}}
	}
	require.Fail(t, "a key of a new type", "%s", v.Type())
	return "", nil
}

func TestEveryKeyThreeWays(t *testing.T) {
	t.Parallel()
	defaults := DefaultConfig()
	walk(reflect.ValueOf(&defaults).Elem(), "", func(key string, v reflect.Value) {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			typed, want := sample(t, v)
			inYAML := typed
			if v.Kind() == reflect.String {
				inYAML = fmt.Sprintf("%q", typed)
			}
			for i, section := range strings.Split(key, ".") {
				if i == 0 {
					inYAML = strings.ReplaceAll(key, ".", ": {") + ": " + inYAML + strings.Repeat("}", strings.Count(key, "."))
				}
				require.Regexp(t, `^[a-z_]+$`, section)
			}
			for source, load := range map[string]func() (Config, error){
				"file":        func() (Config, error) { return loadFrom(t, inYAML, nil) },
				"environment": func() (Config, error) { return loadFrom(t, "", []string{envName(key) + "=" + typed}) },
				"flag":        func() (Config, error) { return loadFrom(t, "", nil, "--"+key+"="+typed) },
			} {
				c, err := load()
				require.NoError(t, err, source)
				require.Equal(t, want, keys(&c)[key].Interface(), source)
			}
			require.NotEmpty(t, usage[key], "what the key means is not said")
		})
	})
	require.Len(t, usage, len(keys(&defaults)), "a usage of a key that is gone")
}

func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		yaml string
		env  string
		want string
	}{
		{"a typing error in a file", "stomp: {lisen: x}", "", "causeway.yml: stomp.lisen: unknown key, did you mean stomp.listen?"},
		{"letters swapped", "mtqt: {listen: x}", "", "mtqt.listen: unknown key, did you mean mqtt.listen?"},
		{"a section left out", "tls_listen: x", "", "tls_listen: unknown key, did you mean mqtt.tls_listen?"},
		{"a hyphen for an underscore", "stomp: {max-message: 1MiB}", "", "stomp.max-message: unknown key, did you mean stomp.max_message?"},
		{"an unknown section", "metrics: {enabled: true}", "", "metrics.enabled: unknown key"},
		{"one underscore in the environment", "", "CAUSEWAY_STOMP_LISTEN=x", "CAUSEWAY_STOMP_LISTEN: unknown key, did you mean CAUSEWAY_STOMP__LISTEN?"},
		{"a typing error in the environment", "", "CAUSEWAY_STOMP__LISTN=x", "CAUSEWAY_STOMP__LISTN: unknown key, did you mean CAUSEWAY_STOMP__LISTEN?"},
		{"a section with a value", "stomp: 61613", "", "stomp: is a section and has no value of its own, its keys are"},
		{"an entry of a list", "auth: {users: [{nam: alice}]}", "", "auth.users[0].nam: unknown key, did you mean name?"},
		{"an entry of a list in the environment", "", `CAUSEWAY_MAPPING=[{"stopm": "/queue/a"}]`, "CAUSEWAY_MAPPING[0].stopm: unknown key, did you mean stomp?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			filename := filepath.Join(t.TempDir(), "causeway.yml")
			require.NoError(t, os.WriteFile(filename, []byte(test.yaml), 0o600))
			_, err := load(filename, []string{test.env}, keyFlags())
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("all of them are reported", func(t *testing.T) {
		t.Parallel()
		_, err := loadFrom(t, "a: 1\nstomp: {b: 2}\nmqtt: {max_inflight: many}", nil)
		require.ErrorContains(t, err, ": a: unknown key")
		require.ErrorContains(t, err, ": stomp.b: unknown key")
		require.ErrorContains(t, err, ": mqtt.max_inflight: many is no number")
	})
}

func TestImpossibleValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, yaml, want string }{
		{"a duration without a unit", "shutdown_grace: 10", "shutdown_grace: 10 is no duration: write it like 10s, 1m30s or 168h"},
		{"a number that is a word", "stomp: {prefetch: many}", "stomp.prefetch: many is no number: write it like 100 or, for sizes, 16MiB (KiB, MiB, GiB)"},
		{"a size in another unit", "stomp: {max_message: 16MB}", "stomp.max_message: 16MB is no number"},
		{"a size with a fraction", "stomp: {max_message: 1.5MiB}", "stomp.max_message: 1.5MiB is no number"},
		{"a negative number", "mqtt: {max_inflight: -1}", "mqtt.max_inflight: -1 is out of range"},
		{"a number too large for its key", "stomp: {default_qos: 256}", "stomp.default_qos: 256 is out of range"},
		{"a size too large for any key", "nats: {max_store: 9999999999GiB}", "nats.max_store: 9999999999GiB is no number"},
		{"a word for a boolean", "websocket: {tls: maybe}", "websocket.tls: maybe is neither true nor false"},
		{"a number for a text", "nats: {password: 0123}", "nats.password: is no text: put it in quotes"},
		{"a text for a list", "websocket: {origins: example.com}", `websocket.origins: is no list: write it as JSON, like ["one", "two"]`},
		{"a section for a list", "mapping: {stomp: a}", "mapping.stomp: unknown key"},
		{"a number for a list", "mapping: 5", `mapping: is no list: write it like [{"stomp": …, "mqtt": …, "kind": …}]`},
		{"a text for an entry", "auth: {users: [alice]}", `auth.users[0]: is no entry: write it like {"name": …, "password": …}`},
		{"a key that is like no other", "nosuch: 3", "causeway.yml: nosuch: unknown key"},
		{"a key of an entry that is like no other", "auth: {users: [{nosuch: 3}]}", "auth.users[0].nosuch: unknown key"},
		{"a file that is not YAML", "stomp: [", "causeway.yml: what stands there is not YAML: line 1: did not find expected node content"},
		{"a key that stands twice", "stomp: {}\nstomp: {}", `causeway.yml: line 2: mapping key "stomp" already defined at line 1`},
		{"a list", "\n- stomp", "causeway.yml: line 2: what stands there are no keys: write them like stomp: {prefetch: 100}"},
		{"a word", "stomp", "causeway.yml: line 1: what stands there are no keys"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadFrom(t, test.yaml, nil)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		t.Parallel()
		_, err := load("/nowhere/causeway.yml", nil, keyFlags())
		require.EqualError(t, err, "open /nowhere/causeway.yml: no such file or directory")
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, DefaultConfig().Validate())
	hash := auth.Hash("secret")
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // "" for valid
	}{
		{"a message larger than a record", func(c *Config) { c.STOMP.MaxMessage = 32 << 20 }, "stomp.max_message: 32MiB does not fit in one record of the store: set at most 31MiB"},
		{"an MQTT message larger than a record", func(c *Config) { c.MQTT.MaxMessage = 31<<20 + 1 }, "mqtt.max_message: 32505857 does not fit in one record of the store: set at most 31MiB"},
		{"a message as large as a record", func(c *Config) { c.MQTT.MaxMessage = 31 << 20 }, ""},
		{"no room for a CONNECT", func(c *Config) { c.STOMP.MaxMessage = 1 }, "stomp.max_message: 1 is too small for a CONNECT: set at least 1KiB"},
		{"a heart-beat of a millisecond", func(c *Config) { c.STOMP.HeartBeat = time.Millisecond }, "stomp.heart_beat: 1ms is out of bounds: set 100ms to 24h, or 0s for none"},
		{"no heart-beat", func(c *Config) { c.STOMP.HeartBeat = 0 }, ""},
		{"a QoS that does not exist", func(c *Config) { c.STOMP.DefaultQoS = 3 }, "stomp.default_qos: 3 is not 0, 1 or 2"},
		{"a prefetch of nothing", func(c *Config) { c.STOMP.Prefetch = 0 }, "stomp.prefetch: 0 is below 1"},
		{"a fault of the core", func(c *Config) { c.Bridge.NATS.Sync = "never" }, `nats.sync: "never" is not one of interval, always`},
		{"two kinds for one topic", func(c *Config) {
			c.Bridge.Mapping = []mapping.Rule{{STOMP: "/queue/a.{id}", MQTT: "a/{id}", Kind: "queue"}, {STOMP: "/queue/b.{id}", MQTT: "a/{id}"}}
		}, "mapping[1]: rule 1 gives some of its topics the kind queue, this one the kind topic"},
		{"a receive maximum of nothing", func(c *Config) { c.MQTT.ReceiveMaximum = 0 }, "mqtt.receive_maximum: 0 is out of bounds: set 1 to 65535"},
		{"more in flight than there are identifiers", func(c *Config) { c.MQTT.MaxInflight = 65536 }, "mqtt.max_inflight: 65536 is out of bounds: set 1 to 65535"},
		{"a session that outlives MQTT's clock", func(c *Config) { c.MQTT.MaxSessionExpiry = math.MaxInt64 }, "mqtt.max_session_expiry: 2562047h47m16.854775807s is out of bounds"},
		{"no time to connect", func(c *Config) { c.Limits.ConnectTimeout = 0 }, "limits.connect_timeout: 0s is too short for any client: set a time like 10s"},
		{"no time to stop", func(c *Config) { c.ShutdownGrace = 0 }, "shutdown_grace: 0s is too short to tell clients anything: set a time like 10s"},
		{"an unknown log level", func(c *Config) { c.Log.Level = "trace" }, `log.level: "trace" is unknown: set debug, info, warn or error`},
		{"an unknown log format", func(c *Config) { c.Log.Format = "xml" }, `log.format: "xml" is unknown: set text or json`},
		{"an address without a port", func(c *Config) { c.STOMP.Listen = "localhost" }, `stomp.listen: "localhost" is no address: set host:port, for example 127.0.0.1:61613, or "" to turn it off`},
		{"a port that is a word", func(c *Config) { c.HTTP.Listen = "127.0.0.1:web8" }, `http.listen: "127.0.0.1:web8" is no address`},
		{"a free port", func(c *Config) { c.MQTT.Listen = "[::1]:0" }, ""},
		{"nothing to connect to", func(c *Config) { c.STOMP.Listen, c.MQTT.Listen, c.WebSocket.Listen = "", "", "" }, "stomp.listen, mqtt.listen and websocket.listen are all empty: set one, or no client can connect"},
		{"STOMP for everybody without users", func(c *Config) { c.STOMP.Listen = "0.0.0.0:61613" }, `stomp.listen: 0.0.0.0:61613 can be reached from other machines, and without auth.users any login is accepted: set auth.users ("causeway passwd" makes an entry), or auth.anonymous: true to let everybody in, or listen on 127.0.0.1`},
		{"all interfaces without users", func(c *Config) { c.MQTT.Listen = ":1883" }, "mqtt.listen: :1883 can be reached from other machines"},
		{"TLS for everybody without users", func(c *Config) {
			c.MQTT.TLSListen, c.TLS = "192.0.2.1:8883", TLS{Cert: "cert.pem", Key: "key.pem"}
		}, "mqtt.tls_listen: 192.0.2.1:8883 can be reached from other machines"},
		{"WebSocket for everybody without users", func(c *Config) { c.WebSocket.Listen = "causeway.example.com:80" }, "websocket.listen: causeway.example.com:80 can be reached from other machines"},
		{"health for everybody without users", func(c *Config) { c.HTTP.Listen = ":8080" }, ""},
		{"everybody with users", func(c *Config) { c.STOMP.Listen, c.Auth.Users = ":61613", []auth.User{{Name: "alice", Password: hash}} }, ""},
		{"everybody, anonymous on purpose", func(c *Config) { c.STOMP.Listen, c.Auth.Anonymous = ":61613", true }, ""},
		{"localhost without users", func(c *Config) { c.STOMP.Listen = "localhost:61613" }, ""},
		{"a password that is not hashed", func(c *Config) { c.Auth.Users = []auth.User{{Name: "alice", Password: "secret"}} }, `auth.users[0].password of "alice": is neither a bcrypt nor an argon2id hash: make one with "causeway passwd alice"`},
		{"STOMP over TLS without a certificate", func(c *Config) { c.STOMP.TLSListen = "127.0.0.1:61614" }, "stomp.tls_listen is set without a certificate: set tls.cert and tls.key to PEM files"},
		{"MQTT over TLS without a certificate", func(c *Config) { c.MQTT.TLSListen = "127.0.0.1:8883" }, "mqtt.tls_listen is set without a certificate"},
		{"WebSocket over TLS without a certificate", func(c *Config) { c.WebSocket.TLS = true }, "websocket.tls is set without a certificate"},
		{"a certificate without its key", func(c *Config) { c.TLS.Cert = "cert.pem" }, "tls.cert and tls.key belong together: set both or neither"},
		{"a path without a slash", func(c *Config) { c.WebSocket.STOMPPath = "stomp" }, `websocket.stomp_path: "stomp" is no path: set one that begins with a slash`},
		{"a path that is a pattern", func(c *Config) { c.WebSocket.MQTTPath = "/{mqtt}" }, `websocket.mqtt_path: "/{mqtt}" is no path`},
		{"one path for two protocols", func(c *Config) { c.WebSocket.MQTTPath = "/stomp" }, `websocket.mqtt_path: "/stomp" is websocket.stomp_path too: set another one`},
		{"an origin that is no pattern", func(c *Config) { c.WebSocket.Origins = []string{"*.example.com", "[a"} }, `websocket.origins[1]: "[a" is no pattern: set a host like app.example.com`},
		{"paths of a listener that is off", func(c *Config) { c.WebSocket = WebSocket{} }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := DefaultConfig()
			test.change(&c)
			if err := c.Validate(); test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
	t.Run("every fault is reported", func(t *testing.T) {
		t.Parallel()
		c := DefaultConfig()
		c.STOMP.Listen, c.MQTT.MaxInflight, c.Log.Level = "x", 0, "loud"
		err := c.Validate()
		for _, key := range []string{"stomp.listen: ", "mqtt.max_inflight: ", "log.level: "} {
			require.ErrorContains(t, err, key)
		}
	})
}

func TestLint(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	require.Empty(t, c.Lint())
	c.MQTT.MaxSessionExpiry = 200 * time.Hour
	c.Bridge.Mapping = []mapping.Rule{{STOMP: "/queue/{name}", MQTT: "a/{name}"}, {STOMP: "/queue/b", MQTT: "b"}}
	require.NoError(t, c.Validate())
	require.Equal(t, []string{
		"mqtt.max_session_expiry: 200h0m0s is longer than log_retention.age: a session away for more than 168h0m0s loses messages: raise log_retention.age or lower mqtt.max_session_expiry",
		"mapping[1]: unreachable: rule 1 takes every destination that this one matches; move this one before it",
	}, c.Lint())
}

func TestFormatInt(t *testing.T) {
	t.Parallel()
	for text, n := range map[string]int64{"0": 0, "1000": 1000, "1KiB": 1 << 10, "1025": 1025, "16MiB": 16 << 20, "3GiB": 3 << 30} {
		require.Equal(t, text, formatInt(n))
		got, err := parseInt(text)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
}
