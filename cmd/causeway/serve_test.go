package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge/auth"
)

// anywhere is a configuration that meets no other process.
func anywhere(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig()
	c.STOMP.Listen, c.MQTT.Listen, c.WebSocket.Listen, c.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Bridge.NATS.Store, c.Bridge.NATS.MaxStore = filepath.Join(t.TempDir(), "store"), 256<<20
	return c
}

// output is a writer whose writes can be waited for.
type output chan string

func (o output) Write(p []byte) (int, error) {
	o <- string(p)
	return len(p), nil
}

// start runs a gateway until the test ends or stop is called, and returns what
// its start-up lines say by key.
func start(t *testing.T, c Config) (said map[string]string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, ended := make(output, 1), make(chan error, 1)
	go func() { ended <- run(ctx, c, stdout, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-ended)
		}
	}
	select {
	case lines := <-stdout:
		t.Cleanup(stop)
		said = make(map[string]string)
		for line := range strings.Lines(lines) {
			key, value, _ := strings.Cut(line, " ")
			said[key] = strings.TrimSpace(value)
		}
		return said, stop
	case err := <-ended:
		cancel()
		require.NoError(t, err, "the gateway did not start")
		return nil, nil
	}
}

// fails runs a gateway that must not start and returns its error.
func fails(t *testing.T, c Config) error {
	t.Helper()
	stdout := make(output, 1)
	err := run(t.Context(), c, stdout, slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.Error(t, err)
	require.Empty(t, stdout, "it said that it started")
	return err
}

// stompTo opens a STOMP connection, logs in and returns it with what came.
func stompTo(t *testing.T, address, headers string) (net.Conn, string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "CONNECT\naccept-version:1.2\nhost:x\n%s\n\x00", headers)
	require.NoError(t, err)
	return c, frameFrom(t, c)
}

func frameFrom(t *testing.T, r io.Reader) string {
	t.Helper()
	frame, err := bufio.NewReader(r).ReadString(0)
	require.NoError(t, err)
	return frame
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	c := anywhere(t)
	said, stop := start(t, c)

	require.Equal(t, "16MiB", said["max_message"])
	require.Equal(t, c.Bridge.NATS.Store, said["nats.store"])
	require.Contains(t, said, "causeway")
	require.Contains(t, said["try"], "/topic/hello")
	require.NotContains(t, said, "stomp.tls_listen")

	require.NoError(t, healthcheck(t.Context(), strings.TrimPrefix(said["http.listen"], "http://"), "/healthz"))
	require.NoError(t, healthcheck(t.Context(), strings.TrimPrefix(said["http.listen"], "http://"), "/readyz"))
	require.NoError(t, healthcheck(t.Context(), strings.TrimPrefix(said["http.listen"], "http://"), "/metrics"))

	client, answer := stompTo(t, said["stomp.listen"], "")
	require.True(t, strings.HasPrefix(answer, "CONNECTED\n"), answer)
	sensor, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", said["mqtt.listen"])
	require.NoError(t, err)
	defer func() { _ = sensor.Close() }()
	_, err = sensor.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02t1")) // CONNECT
	require.NoError(t, err)
	connack := make([]byte, 4)
	_, err = io.ReadFull(sensor, connack)
	require.NoError(t, err)
	require.Equal(t, []byte{0x20, 2, 0, 0}, connack)

	stop()
	_, err = io.Copy(io.Discard, client)
	require.NoError(t, err, "the client was not told the end but cut off")
	_, err = io.Copy(io.Discard, sensor)
	require.NoError(t, err)
	_, err = net.DialTimeout("tcp", said["stomp.listen"], time.Second)
	require.Error(t, err)

	_, stop = start(t, c) // the store is as good as it was
	stop()
}

func TestBothProtocolsOverWebSocket(t *testing.T) {
	t.Parallel()
	said, _ := start(t, anywhere(t))
	stompURL, mqttURL, _ := strings.Cut(said["websocket.listen"], " ")

	app := dial(t, stompURL, stompClient)
	require.NoError(t, app.Write(t.Context(), websocket.MessageText, []byte("CONNECT\naccept-version:1.2\nhost:x\n\n\x00")))
	_, connected, err := app.Read(t.Context())
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(connected), "CONNECTED\n"), string(connected))

	sensor := websocket.NetConn(t.Context(), dial(t, mqttURL, mqttClient), websocket.MessageBinary)
	_, err = sensor.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02t1" + // CONNECT
		"\x82\x08\x00\x01\x00\x03a/b\x00")) // SUBSCRIBE
	require.NoError(t, err)
	answers := make([]byte, 4+5)
	_, err = io.ReadFull(sensor, answers)
	require.NoError(t, err)
	require.Equal(t, []byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0}, answers)

	require.NoError(t, app.Write(t.Context(), websocket.MessageText, []byte("SEND\ndestination:/topic/a/b\n\non\x00")))
	publish := make([]byte, 9)
	_, err = io.ReadFull(sensor, publish)
	require.NoError(t, err)
	require.Equal(t, "\x30\x07\x00\x03a/bon", string(publish))
}

func TestUsers(t *testing.T) {
	t.Parallel()
	c := anywhere(t)
	c.Auth.Users = []auth.User{{Name: "alice", Password: auth.Hash("secret")}}
	said, _ := start(t, c)
	require.Contains(t, said["try"], "-u USER -P PASSWORD")
	for _, test := range []struct{ name, headers, want string }{
		{"the right password", "login:alice\npasscode:secret\n", "CONNECTED"},
		{"a wrong password", "login:alice\npasscode:x\n", "ERROR"},
		{"no password", "", "ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, answer := stompTo(t, said["stomp.listen"], test.headers)
			require.True(t, strings.HasPrefix(answer, test.want+"\n"), answer)
		})
	}
}

func TestWhatKeepsAGatewayFromStarting(t *testing.T) {
	t.Parallel()
	t.Run("a port that is taken, after which the store is free again", func(t *testing.T) {
		t.Parallel()
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = taken.Close() }()
		c := anywhere(t)
		c.STOMP.Listen = taken.Addr().String()
		require.EqualError(t, fails(t, c), fmt.Sprintf("stomp.listen: %s is taken: stop what listens there, or set stomp.listen to another address (port 0 picks a free one)", c.STOMP.Listen))
		c.STOMP.Listen = "127.0.0.1:0"
		start(t, c)
	})
	t.Run("another process on the store", func(t *testing.T) {
		t.Parallel()
		c := anywhere(t)
		start(t, c)
		require.EqualError(t, fails(t, c), fmt.Sprintf("nats.store: %s is in use by another process; stop it or name another directory", c.Bridge.NATS.Store))
	})
	t.Run("a store that cannot be written", func(t *testing.T) {
		t.Parallel()
		c := anywhere(t)
		c.Bridge.NATS.Store = filepath.Join(t.TempDir(), "file", "store")
		require.NoError(t, os.WriteFile(filepath.Dir(c.Bridge.NATS.Store), nil, 0o600))
		err := fails(t, c)
		require.ErrorContains(t, err, "nats.store: cannot create "+c.Bridge.NATS.Store)
		require.NotContains(t, err.Error(), "\n")
	})
}
