package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/spf13/pflag"
)

// usage says what each key means. A word in back quotes names the value.
var usage = map[string]string{
	"name":                    "`name` of this gateway; default: host name and a random part, kept in nats.store",
	"stomp.listen":            "`address` for STOMP; empty: off",
	"stomp.tls_listen":        "`address` for STOMP over TLS; empty: off",
	"stomp.max_message":       "largest body a STOMP client may send",
	"stomp.heart_beat":        "heart-beat offered in both directions; 0s: none",
	"stomp.default_qos":       "QoS of a SEND that names none (0 to 2)",
	"stomp.prefetch":          "unacknowledged messages of a queue subscription that names no prefetch",
	"stomp.trailing_newline":  "end each frame with a line feed, which the PHP extension needs",
	"mqtt.listen":             "`address` for MQTT; empty: off",
	"mqtt.tls_listen":         "`address` for MQTT over TLS; empty: off",
	"mqtt.max_message":        "largest packet an MQTT client may send",
	"mqtt.receive_maximum":    "unacknowledged messages accepted from a client",
	"mqtt.max_inflight":       "unacknowledged messages sent to a client",
	"mqtt.max_session_expiry": "longest life of a session without its client",
	"websocket.listen":        "`address` for STOMP and MQTT over WebSocket; empty: off",
	"websocket.stomp_path":    "`path` of STOMP over WebSocket",
	"websocket.mqtt_path":     "`path` of MQTT over WebSocket",
	"websocket.tls":           "serve WebSocket over TLS",
	"websocket.origins":       "other `origins` whose pages may connect (JSON); empty: same origin only",
	"http.listen":             "`address` for health and metrics; empty: off",
	"tls.cert":                "certificate `file` (PEM) of the TLS listeners",
	"tls.key":                 "private key `file` (PEM) of the TLS listeners",
	"tls.client_ca":           "`file` (PEM) of the CAs that clients' certificates must come from; empty: none needed",
	"nats.url":                "`URLs` of an external NATS core, comma separated; empty: embedded",
	"nats.credentials":        "external core: credentials `file`",
	"nats.nkey":               "external core: seed `file` of an NKey",
	"nats.token":              "external core: `token`",
	"nats.user":               "`user` of the external core, or of native clients of the embedded one",
	"nats.password":           "`password` that belongs to nats.user",
	"nats.ca":                 "external core: CA `file` (PEM)",
	"nats.cert":               "external core: client certificate `file` (PEM)",
	"nats.key":                "external core: client key `file` (PEM)",
	"nats.store":              "embedded core: `directory` of everything that is kept",
	"nats.max_store":          "embedded core: largest size of the store; 0: three quarters of the free disk",
	"nats.sync":               "embedded core: `when` to sync to disk, interval (every second) or always",
	"nats.replicas":           "copies of every stream and bucket",
	"nats.prefix":             "first `token` of every subject, stream and bucket of the gateway",
	"nats.patience":           "how long a publish may wait for the core before it is refused",
	"nats.give_up":            "how long clients stay connected while the core is away",
	"nats.listen":             "embedded core: `address` for native NATS clients; empty: none",
	"nats.cluster.name":       "embedded core: `name` of the cluster",
	"nats.cluster.listen":     "embedded core: `address` for the other gateways of the cluster",
	"nats.cluster.routes":     "embedded core: `URLs` of the other gateways (JSON)",
	"nats.cluster.user":       "embedded core: `user` the gateways log in to each other with",
	"nats.cluster.password":   "embedded core: `password` that belongs to nats.cluster.user",
	"log_retention.age":       "how far back an offline session can catch up",
	"log_retention.bytes":     "largest size of the log of topics; 0: a quarter of the store",
	"queues.root":             "`topic` below which work queues live",
	"queues.max_deliver":      "failed deliveries after which a message is a dead letter",
	"queues.dead_letter":      "`topic` of the dead letters of queue {name}",
	"queues.policies":         "`limits` of queues by filter (JSON)",
	"mapping":                 "`rules` between destinations and topics (JSON); built-in ones follow",
	"auth.anonymous":          "let clients without credentials connect",
	"auth.users":              "`users` and their password hashes (JSON)",
	"limits.connect_timeout":  "how long a client may take to connect",
	"log.level":               "least `level` logged: debug, info, warn or error",
	"log.format":              "`format` of the log: text or json",
	"shutdown_grace":          "how long clients may take to end when the gateway stops",
}

// keyFlags returns a flag for every key. Their values are texts that load
// decodes, so that all sources take the same spellings.
func keyFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("causeway", pflag.ContinueOnError)
	flags.SortFlags = false
	c := DefaultConfig()
	walk(reflect.ValueOf(&c).Elem(), "", func(key string, v reflect.Value) {
		flag := flags.VarPF(&text{kind: kindName(v), value: defaultText(v)}, key, "", usage[key])
		if v.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	})
	return flags
}

// text is a flag's value as it was typed.
type text struct{ kind, value string }

func (t *text) String() string     { return t.value }
func (t *text) Set(s string) error { t.value = s; return nil }
func (t *text) Type() string       { return t.kind }

func kindName(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "duration"
	case v.Kind() == reflect.Bool:
		return "bool"
	case v.CanInt(), v.CanUint():
		return "number"
	}
	return "string"
}

func defaultText(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return time.Duration(v.Int()).String()
	case v.CanInt():
		return formatInt(v.Int())
	case v.Kind() == reflect.Slice:
		return "[]"
	}
	return fmt.Sprint(v.Interface())
}
