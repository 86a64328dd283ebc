package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// startWebSocket serves WebSocket on a free port until the test ends.
func startWebSocket(t *testing.T, change ...func(*Config)) (web *webSocket, address string) {
	t.Helper()
	c := DefaultConfig()
	c.STOMP.Listen, c.MQTT.Listen, c.HTTP.Listen, c.WebSocket.Listen = "", "", "", "127.0.0.1:0"
	for _, f := range change {
		f(&c)
	}
	ls, err := listen(t.Context(), c)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ls.webSocket.serve(ctx, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
	})
	return ls.webSocket, ls.webSocket.listener.Addr().String()
}

// dial connects to path; the connection is closed when the test ends.
func dial(t *testing.T, url string, options *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	c, response, err := websocket.Dial(t.Context(), url, options)
	require.NoError(t, err)
	if response.Body != nil {
		_ = response.Body.Close()
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.(*wsConn).ws.CloseNow() })
	return c
}

var (
	stompClient = &websocket.DialOptions{Subprotocols: []string{"v10.stomp", "v11.stomp", "v12.stomp"}}
	mqttClient  = &websocket.DialOptions{Subprotocols: []string{"mqtt"}}
)

func TestWebSocketSubprotocols(t *testing.T) {
	t.Parallel()
	web, address := startWebSocket(t)
	for _, test := range []struct {
		name, path string
		offered    []string
		want       string
	}{
		{"the newest STOMP that both know", "/stomp", []string{"v10.stomp", "v12.stomp"}, "v12.stomp"},
		{"an old STOMP client", "/stomp", []string{"v10.stomp"}, "v10.stomp"},
		{"a STOMP client that names none", "/stomp", nil, ""},
		{"MQTT", "/mqtt", []string{"mqtt"}, "mqtt"},
		{"MQTT 3.1", "/mqtt", []string{"mqttv3.1"}, "mqttv3.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := dial(t, "ws://"+address+test.path, &websocket.DialOptions{Subprotocols: test.offered})
			require.Equal(t, test.want, client.Subprotocol())
			l := web.stomp
			if test.path == "/mqtt" {
				l = web.mqtt
			}
			require.Equal(t, address, accept(t, l).LocalAddr().String())
		})
	}
	t.Run("an MQTT client that does not offer MQTT is told so", func(t *testing.T) {
		client := dial(t, "ws://"+address+"/mqtt", nil)
		_, _, err := client.Read(t.Context())
		require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
		require.ErrorContains(t, err, "offer the subprotocol mqtt")
	})
	t.Run("another path is not found", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/ws", http.NoBody)
		require.NoError(t, err)
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusNotFound, response.StatusCode)
	})
}

func TestWebSocketOrigins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		origins []string
		origin  string // {address} is the server's
		refused bool
	}{
		{"no origin, which is no browser", nil, "", false},
		{"the same origin", nil, "http://{address}", false},
		{"another origin", nil, "https://evil.example", true},
		{"another origin that is allowed", []string{"app.example.com"}, "https://app.example.com", false},
		{"one of a domain that is allowed", []string{"*.example.com"}, "https://app.example.com", false},
		{"another one where some are allowed", []string{"*.example.com"}, "https://example.org", true},
		{"a scheme that is not allowed", []string{"https://app.example.com"}, "http://app.example.com", true},
		{"no origin of a page that hides it", nil, "null", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			web, address := startWebSocket(t, func(c *Config) { c.WebSocket.Origins = test.origins })
			header := http.Header{}
			if test.origin != "" {
				header.Set("Origin", strings.ReplaceAll(test.origin, "{address}", address))
			}
			client, response, err := websocket.Dial(t.Context(), "ws://"+address+"/stomp", &websocket.DialOptions{HTTPHeader: header})
			if response != nil && response.Body != nil {
				_ = response.Body.Close()
			}
			if test.refused {
				require.Error(t, err)
				require.Equal(t, http.StatusForbidden, response.StatusCode)
				return
			}
			require.NoError(t, err)
			defer func() { _ = client.CloseNow() }()
			accept(t, web.stomp)
		})
	}
}

func TestWebSocketStream(t *testing.T) {
	t.Parallel()
	web, address := startWebSocket(t)
	connect := func(t *testing.T, path string, options *websocket.DialOptions) (*websocket.Conn, net.Conn) {
		t.Helper()
		client := dial(t, "ws://"+address+path, options)
		l := web.stomp
		if path == "/mqtt" {
			l = web.mqtt
		}
		return client, accept(t, l)
	}
	send := func(t *testing.T, client *websocket.Conn, kind websocket.MessageType, messages ...string) {
		t.Helper()
		for _, m := range messages {
			require.NoError(t, client.Write(t.Context(), kind, []byte(m)))
		}
	}
	receive := func(t *testing.T, server net.Conn, n int) string {
		t.Helper()
		got := make([]byte, n)
		_, err := io.ReadFull(server, got)
		require.NoError(t, err)
		return string(got)
	}

	t.Run("messages mean nothing: frames are split over them and share them", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		send(t, client, websocket.MessageText, "CONNE", "", "CT\n\n\x00SEND", "\n\n\x00")
		require.Equal(t, "CONNECT\n\n\x00SEND\n\n\x00", receive(t, server, 17))
	})
	t.Run("a large message is streamed", func(t *testing.T) {
		client, server := connect(t, "/mqtt", mqttClient)
		large := strings.Repeat("0123456789", 100_000)
		sent := make(chan error, 1)
		go func() { sent <- client.Write(t.Context(), websocket.MessageBinary, []byte(large)) }()
		require.Equal(t, large, receive(t, server, len(large)))
		require.NoError(t, <-sent)
	})
	t.Run("a STOMP client gets text, or binary when it must or can be", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		expect := func(want websocket.MessageType, bytes string) {
			_, err := server.Write([]byte(bytes))
			require.NoError(t, err)
			kind, got, err := client.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, kind)
			require.Equal(t, bytes, string(got))
		}
		expect(websocket.MessageText, "CONNECTED\n\n\x00")
		expect(websocket.MessageText, "MESSAGE\n\n21 °C\x00")
		expect(websocket.MessageBinary, "MESSAGE\n\n\xff\xfe\x00")
		expect(websocket.MessageText, "\n")
		send(t, client, websocket.MessageBinary, "\n")
		receive(t, server, 1)
		expect(websocket.MessageBinary, "MESSAGE\n\n21 °C\x00")
	})
	t.Run("a very large text is cut between characters", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		large := "x" + strings.Repeat("°", maxWrite)
		sent := make(chan error, 1)
		go func() {
			_, err := server.Write([]byte(large))
			sent <- err
		}()
		var got strings.Builder
		for got.Len() < len(large) {
			kind, text, err := client.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, websocket.MessageText, kind)
			require.True(t, utf8.Valid(text))
			got.Write(text)
		}
		require.NoError(t, <-sent)
		require.Equal(t, large, got.String())
	})
	t.Run("an MQTT client gets binary", func(t *testing.T) {
		client, server := connect(t, "/mqtt", mqttClient)
		_, err := server.Write([]byte{0xd0, 0})
		require.NoError(t, err)
		kind, got, err := client.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, websocket.MessageBinary, kind)
		require.Equal(t, []byte{0xd0, 0}, got)
	})
	t.Run("an MQTT client that sends text is told so", func(t *testing.T) {
		client, server := connect(t, "/mqtt", mqttClient)
		send(t, client, websocket.MessageText, "x")
		told := make(chan error, 1)
		go func() {
			_, _, err := client.Read(t.Context())
			told <- err
		}()
		_, err := server.Read(make([]byte, 1))
		require.ErrorContains(t, err, "a text message where MQTT needs binary ones")
		require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(<-told))
	})
	t.Run("after a read deadline a farewell can be written", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		require.NoError(t, server.SetReadDeadline(time.Now()))
		_, err := server.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = server.Write([]byte("ERROR\n\n\x00"))
		require.NoError(t, err)
		_, got, err := client.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ERROR\n\n\x00", string(got))
	})
	t.Run("the server's close is a close for the client", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		closed := make(chan error, 1)
		go func() { closed <- server.(*wsConn).CloseWrite() }()
		_, _, err := client.Read(t.Context())
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
		require.NoError(t, <-closed)
		_, err = server.Read(make([]byte, 1))
		require.Error(t, err)
	})
	t.Run("the client's close is the end of the stream", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		closed := make(chan error, 1)
		go func() { closed <- client.Close(websocket.StatusGoingAway, "") }()
		_, err := server.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, <-closed)
	})
	t.Run("a client that vanishes is no end of the stream", func(t *testing.T) {
		client, server := connect(t, "/stomp", stompClient)
		require.NoError(t, client.CloseNow())
		_, err := server.Read(make([]byte, 1))
		require.Error(t, err)
	})
	t.Run("a connection that nobody accepts is closed with the listener", func(t *testing.T) {
		web, address := startWebSocket(t)
		require.NoError(t, web.stomp.Close())
		_, err := web.stomp.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		client := dial(t, "ws://"+address+"/stomp", stompClient)
		_, _, err = client.Read(t.Context())
		require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	})
}

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "causeway test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

// trusting returns a client's TLS configuration that trusts certFile.
func trusting(t *testing.T, certFile string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	cert, err := os.ReadFile(certFile)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(cert))
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t)
	start := func(t *testing.T, clientCA string) net.Listener {
		t.Helper()
		c := DefaultConfig()
		c.STOMP.Listen, c.MQTT.Listen, c.HTTP.Listen, c.WebSocket.Listen = "", "", "", ""
		c.MQTT.TLSListen, c.TLS = "127.0.0.1:0", TLS{Cert: certFile, Key: keyFile, ClientCA: clientCA}
		ls, err := listen(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(ls.close)
		return ls.mqttTLS
	}
	// exchange connects with config and sends a byte there and back.
	exchange := func(t *testing.T, l net.Listener, config *tls.Config) error {
		t.Helper()
		served := make(chan struct{})
		go func() {
			defer close(served)
			if server, err := l.Accept(); err == nil {
				_, _ = io.CopyN(server, server, 1)
				_ = server.Close()
			}
		}()
		defer func() { <-served }()
		client, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		if _, err := client.Write([]byte("x")); err != nil {
			return err
		}
		_, err = io.ReadFull(client, make([]byte, 1))
		return err
	}

	t.Run("a client that trusts the certificate is served", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, exchange(t, start(t, ""), trusting(t, certFile)))
	})
	t.Run("TLS 1.1 is refused", func(t *testing.T) {
		t.Parallel()
		config := trusting(t, certFile)
		config.MaxVersion = tls.VersionTLS11
		require.ErrorContains(t, exchange(t, start(t, ""), config), "protocol version")
	})
	t.Run("a client without a certificate is refused where one is needed", func(t *testing.T) {
		t.Parallel()
		require.Error(t, exchange(t, start(t, certFile), trusting(t, certFile)))
	})
	t.Run("a client with a certificate is served where one is needed", func(t *testing.T) {
		t.Parallel()
		config := trusting(t, certFile)
		own, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		config.Certificates = []tls.Certificate{own}
		require.NoError(t, exchange(t, start(t, certFile), config))
	})
	t.Run("WebSocket over TLS", func(t *testing.T) {
		t.Parallel()
		web, address := startWebSocket(t, func(c *Config) { c.WebSocket.TLS, c.TLS = true, TLS{Cert: certFile, Key: keyFile} })
		transport := &http.Transport{TLSClientConfig: trusting(t, certFile)}
		client := dial(t, "wss://"+address+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: transport}})
		server := accept(t, web.mqtt)
		require.NoError(t, client.Write(t.Context(), websocket.MessageBinary, []byte{0xc0, 0}))
		_, err := io.ReadFull(server, make([]byte, 2))
		require.NoError(t, err)
	})
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"a port that is taken", func(c *Config) { c.MQTT.Listen = taken.Addr().String() }, "mqtt.listen: " + taken.Addr().String() + " is taken: stop what listens there, or set mqtt.listen to another address (port 0 picks a free one)"},
		{"an address of another machine", func(c *Config) { c.HTTP.Listen = "192.0.2.1:8080" }, "http.listen: no interface of this machine has the address 192.0.2.1:8080"},
		{"a certificate that is not there", func(c *Config) { c.WebSocket.TLS, c.TLS = true, TLS{Cert: "/nowhere.pem", Key: keyFile} }, "tls.cert, tls.key: open /nowhere.pem: no such file or directory: name a PEM certificate and its PEM key"},
		{"a key in the place of a certificate", func(c *Config) { c.WebSocket.TLS, c.TLS = true, TLS{Cert: keyFile, Key: keyFile} }, "tls.cert, tls.key: "},
		{"a CA file without a certificate", func(c *Config) {
			c.WebSocket.TLS, c.TLS = true, TLS{Cert: certFile, Key: keyFile, ClientCA: keyFile}
		}, "holds no certificate: name a PEM file with the CAs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := DefaultConfig()
			c.STOMP.Listen, c.MQTT.Listen, c.WebSocket.Listen, c.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
			test.change(&c)
			_, err := listen(t.Context(), c)
			require.ErrorContains(t, err, test.want)
		})
	}
}
