package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/admin"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// lingering is what the last connections may take after shutdown_grace to have
// their farewell delivered.
const lingering = 2 * time.Second

// run is the life of a gateway: it returns nil some time after ctx ended, when
// clients have been told and everything they sent is stored.
func run(ctx context.Context, c Config, stdout io.Writer, log *slog.Logger) (err error) {
	for _, warning := range c.Lint() {
		log.Warn("questionable configuration", "reason", warning)
	}
	users, err := auth.New(c.Auth)
	if err != nil {
		return err
	}
	core, err := bridge.New(ctx, c.forBridge(), users, log)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownGrace)
		defer cancel()
		err = errors.Join(err, core.Close(closing))
	}()
	ls, err := listen(ctx, c)
	if err != nil {
		return err
	}
	stompServer := &stomp.Server{Config: c.forSTOMP(core.MaxMessage()), Broker: core.STOMP(), Logger: log}
	mqttServer := &mqtt.Server{Config: c.forMQTT(core.MaxMessage()), Broker: core.MQTT(), Logger: log}
	if err := announce(stdout, c, core.MaxMessage(), ls); err != nil {
		ls.close()
		return err
	}

	servers, serving := errgroup.WithContext(ctx)
	serve := func(l net.Listener, serve func(context.Context, net.Listener) error) {
		if l != nil {
			servers.Go(func() error { return serve(serving, l) })
		}
	}
	serve(ls.stomp, stompServer.Serve)
	serve(ls.stompTLS, stompServer.Serve)
	serve(ls.mqtt, mqttServer.Serve)
	serve(ls.mqttTLS, mqttServer.Serve)
	if web := ls.webSocket; web != nil {
		serve(web.stomp, stompServer.Serve)
		serve(web.mqtt, mqttServer.Serve)
		servers.Go(func() error { return web.serve(serving, log) })
	}
	handler := admin.New(admin.Deps{
		Ready: func() error {
			if serving.Err() != nil {
				return errors.New("the gateway is stopping")
			}
			return core.Ready()
		},
		Bridge: core.Stats, STOMP: stompServer.Stats, MQTT: mqttServer.Stats, Auth: users.Stats,
	})
	serve(ls.http, func(ctx context.Context, l net.Listener) error { return serveHTTP(ctx, l, handler) })
	return wait(serving, servers, c.ShutdownGrace, log)
}

// wait returns when the servers have ended: by themselves with an error, or
// within grace after ctx did.
func wait(ctx context.Context, servers *errgroup.Group, grace time.Duration, log *slog.Logger) error {
	ended := make(chan error, 1)
	go func() { ended <- servers.Wait() }()
	<-ctx.Done()
	log.Info("stopping", "reason", context.Cause(ctx))
	select {
	case err := <-ended:
		return err
	case <-time.After(grace + lingering):
		return fmt.Errorf("shutdown_grace: clients did not end within %s: raise it", grace)
	}
}

func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// announce tells a person where the gateway is and how to try it.
func announce(w io.Writer, c Config, maxMessage int, ls *listeners) error {
	var lines bytes.Buffer
	table := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	line := func(key, value string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", key, value) }
	line("causeway", versionText())
	for _, l := range []struct {
		key      string
		listener net.Listener
	}{
		{"stomp.listen", ls.stomp},
		{"stomp.tls_listen", ls.stompTLS},
		{"mqtt.listen", ls.mqtt},
		{"mqtt.tls_listen", ls.mqttTLS},
	} {
		if l.listener != nil {
			line(l.key, l.listener.Addr().String())
		}
	}
	if web := ls.webSocket; web != nil {
		at := "ws://"
		if c.WebSocket.TLS {
			at = "wss://"
		}
		at += web.listener.Addr().String()
		line("websocket.listen", at+c.WebSocket.STOMPPath+" "+at+c.WebSocket.MQTTPath)
	}
	if ls.http != nil {
		line("http.listen", "http://"+ls.http.Addr().String())
	}
	if c.Bridge.NATS.URL != "" {
		line("nats.url", redacted(c.Bridge.NATS.URL))
	} else if store, err := filepath.Abs(c.Bridge.NATS.Store); err == nil {
		line("nats.store", store)
	}
	line("max_message", formatInt(int64(maxMessage)))
	if hint := tryIt(c, ls); hint != "" {
		line("try", hint)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := lines.WriteTo(w)
	return err
}

// redacted returns a comma list of URLs without their passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		if _, host, ok := strings.Cut(u, "@"); ok {
			scheme, _, _ := strings.Cut(u, "://")
			list[i] = scheme + "://…@" + host
		}
	}
	return strings.Join(list, ",")
}

// tryIt returns a shell command that sends a message from STOMP to MQTT, ""
// when the listeners that it takes are off.
func tryIt(c Config, ls *listeners) string {
	if ls.stomp == nil || ls.mqtt == nil {
		return ""
	}
	mqttHost, mqttPort := reachable(ls.mqtt)
	stompHost, stompPort := reachable(ls.stomp)
	var user, login string
	if len(c.Auth.Users) > 0 && !c.Auth.Anonymous {
		user, login = " -u USER -P PASSWORD", `login:USER\npasscode:PASSWORD\n`
	}
	return fmt.Sprintf(`mosquitto_sub -h %s -p %s%s -t hello & sleep 1; printf 'CONNECT\n%s\n\0SEND\ndestination:/topic/hello\n\nworld\0DISCONNECT\n\n\0' | nc %s %s`,
		mqttHost, mqttPort, user, login, stompHost, stompPort)
}

// reachable returns the host and port to connect to l from this machine.
func reachable(l net.Listener) (host, port string) {
	host, port, _ = net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return host, port
}
