package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// listeners is everything a gateway listens on. What is turned off is nil.
type listeners struct {
	stomp, stompTLS, mqtt, mqttTLS, web, http net.Listener
	webSocket                                 *webSocket // on web
}

// listen opens the listeners of c, all or none. Its error names the key.
func listen(ctx context.Context, c Config) (*listeners, error) {
	var ls listeners
	if err := ls.open(ctx, c); err != nil {
		ls.close()
		return nil, err
	}
	if ls.web != nil {
		ls.webSocket = newWebSocket(ls.web, c.WebSocket, c.Limits.ConnectTimeout)
	}
	return &ls, nil
}

func (ls *listeners) open(ctx context.Context, c Config) error {
	var secure, webSecure *tls.Config
	if c.STOMP.TLSListen != "" || c.MQTT.TLSListen != "" || c.WebSocket.TLS {
		var err error
		if secure, err = c.TLS.load(); err != nil {
			return err
		}
	}
	if c.WebSocket.TLS {
		webSecure = secure
	}
	for _, l := range []struct {
		key, address string
		secure       *tls.Config
		to           *net.Listener
	}{
		{"stomp.listen", c.STOMP.Listen, nil, &ls.stomp},
		{"stomp.tls_listen", c.STOMP.TLSListen, secure, &ls.stompTLS},
		{"mqtt.listen", c.MQTT.Listen, nil, &ls.mqtt},
		{"mqtt.tls_listen", c.MQTT.TLSListen, secure, &ls.mqttTLS},
		{"websocket.listen", c.WebSocket.Listen, webSecure, &ls.web},
		{"http.listen", c.HTTP.Listen, nil, &ls.http},
	} {
		if l.address == "" {
			continue
		}
		opened, err := listenTCP(ctx, l.key, l.address)
		if err != nil {
			return err
		}
		if l.secure != nil {
			opened = tls.NewListener(opened, l.secure)
		}
		*l.to = opened
	}
	return nil
}

// close closes listeners that nobody serves.
func (ls *listeners) close() {
	for _, l := range []net.Listener{ls.stomp, ls.stompTLS, ls.mqtt, ls.mqttTLS, ls.web, ls.http} {
		if l != nil {
			_ = l.Close()
		}
	}
}

func listenTCP(ctx context.Context, key, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		// A peer that vanished is noticed within two minutes, also when its
		// protocol promised no sign of life.
		Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4,
	}}
	l, err := config.Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is taken: stop what listens there, or set %s to another address (port 0 picks a free one)", key, address, key)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: this user may not listen on %s: set %s to a port above 1023", key, address, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: no interface of this machine has the address %s: set %s to one that exists, or to 0.0.0.0 for all", key, address, key)
	}
	return nil, fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
}

// load reads the files of t.
func (t TLS) load() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert, tls.key: %w: name a PEM certificate and its PEM key", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	if t.ClientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: %s holds no certificate: name a PEM file with the CAs", t.ClientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
