package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	// closeTimeout bounds the closing handshake, and what it waits behind.
	closeTimeout = time.Second
	// maxWrite is the largest message sent: a write that times out can only
	// be taken up again between messages.
	maxWrite = 1 << 20
)

// webSocket is one HTTP server that hands its WebSocket connections to a
// listener per protocol.
type webSocket struct {
	listener    net.Listener
	server      *http.Server
	stomp, mqtt *wsListener
}

func newWebSocket(l net.Listener, c WebSocket, headerTimeout time.Duration) *webSocket {
	w := &webSocket{
		listener: l,
		stomp:    newWSListener(l.Addr(), c.Origins, true, "v12.stomp", "v11.stomp", "v10.stomp"),
		mqtt:     newWSListener(l.Addr(), c.Origins, false, "mqtt", "mqttv3.1"),
	}
	mux := http.NewServeMux()
	mux.Handle(c.STOMPPath, w.stomp)
	mux.Handle(c.MQTTPath, w.mqtt)
	w.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       headerTimeout,
		MaxHeaderBytes:    16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return w
}

// connKey is the key of a request's net.Conn in its context.
type connKey struct{}

// serve accepts connections until ctx ends. Those it handed over live on.
func (w *webSocket) serve(ctx context.Context, log *slog.Logger) error {
	w.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	stop := context.AfterFunc(ctx, w.close)
	defer stop()
	if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (w *webSocket) close() {
	_ = w.stomp.Close()
	_ = w.mqtt.Close()
	_ = w.server.Close()
}

// wsListener is a net.Listener of WebSocket connections of one protocol.
type wsListener struct {
	addr         net.Addr
	origins      []string
	subprotocols []string // best first
	text         bool     // text messages are allowed, and a subprotocol is not needed

	conns  chan net.Conn
	closed <-chan struct{}
	end    context.CancelFunc // closes closed
}

func newWSListener(addr net.Addr, origins []string, text bool, subprotocols ...string) *wsListener {
	ctx, end := context.WithCancel(context.Background())
	return &wsListener{
		addr: addr, origins: origins, text: text, subprotocols: subprotocols,
		conns: make(chan net.Conn), closed: ctx.Done(), end: end,
	}
}

func (l *wsListener) Addr() net.Addr { return l.addr }

func (l *wsListener) Close() error {
	l.end()
	return nil
}

func (l *wsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// ServeHTTP upgrades a request to a connection that Accept returns.
func (l *wsListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: l.subprotocols, OriginPatterns: l.origins})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(-1) // messages are streamed; the protocols bound what they read
	below, _ := r.Context().Value(connKey{}).(net.Conn)
	c := &wsConn{Conn: below, ws: ws, text: l.text}
	if !l.text && ws.Subprotocol() == "" {
		_ = c.close(websocket.StatusPolicyViolation, "offer the subprotocol mqtt") // [MQTT-6.0.0-3]
		return
	}
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.close(websocket.StatusGoingAway, "")
	}
}

// wsConn is the byte stream that the messages of a WebSocket connection make.
type wsConn struct {
	net.Conn // the connection below: its addresses and deadlines are those of the stream
	ws       *websocket.Conn
	text     bool // text messages are allowed

	message io.Reader   // owned by the reader: the rest of a message; nil: none
	binary  atomic.Bool // the peer sends binary messages, so it understands them
}

// Read reads across the borders of messages, which mean nothing to either protocol.
func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, message, err := c.ws.Reader(context.Background())
			if err != nil {
				return 0, endOfStream(err)
			}
			if kind == websocket.MessageText && !c.text {
				_ = c.close(websocket.StatusUnsupportedData, "send binary messages") // [MQTT-6.0.0-1]
				return 0, errors.New("websocket: a text message where MQTT needs binary ones")
			}
			if kind == websocket.MessageBinary && !c.binary.Load() {
				c.binary.Store(true)
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		if err == io.EOF {
			c.message = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

// endOfStream is io.EOF when the peer closed the connection as it should.
func endOfStream(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	default:
		return err
	}
}

// Write sends p as one message, or several when it is very large. A text
// message must be UTF-8, which the body of a STOMP frame need not be.
func (c *wsConn) Write(p []byte) (written int, err error) {
	kind := websocket.MessageBinary
	if c.text && !c.binary.Load() && utf8.Valid(p) {
		kind = websocket.MessageText
	}
	for written < len(p) {
		end := min(written+maxWrite, len(p))
		for kind == websocket.MessageText && end < len(p) && !utf8.RuneStart(p[end]) {
			end--
		}
		if err := c.ws.Write(context.Background(), kind, p[written:end]); err != nil {
			return written, err
		}
		written = end
	}
	return written, nil
}

// CloseWrite says that nothing follows. The peer answers that it will not send
// either, so it ends both directions.
func (c *wsConn) CloseWrite() error {
	return c.close(websocket.StatusNormalClosure, "")
}

func (c *wsConn) Close() error {
	return c.close(websocket.StatusNormalClosure, "")
}

func (c *wsConn) close(code websocket.StatusCode, reason string) error {
	if err := c.SetDeadline(time.Now().Add(closeTimeout)); err != nil {
		return err
	}
	return c.ws.Close(code, reason)
}
