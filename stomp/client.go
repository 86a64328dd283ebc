package stomp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// ErrClosed is the error of what a Client was asked after Close.
var ErrClosed = errors.New("stomp: client closed")

// closeTimeout bounds the wait for the answer to DISCONNECT.
const closeTimeout = 5 * time.Second

// Options are what Dial is told beside an address.
type Options struct {
	Version   frame.Version // the highest to offer; 0: 1.2
	Host      string        // the virtual host; "": the host of the address
	Login     string
	Passcode  string
	ClientID  string
	HeartBeat time.Duration // offered and asked for; 0: none
	Header    frame.Header  // more of CONNECT
	// Dial replaces net.Dialer, for TLS and others.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxMessage is the largest body that is read, in bytes; 0: 16 MiB.
	MaxMessage int
}

// Client is a connection to a STOMP server. Its methods may be called from any
// goroutine; functions given to it are called from the one that reads, and
// must not wait for an answer of the server.
type Client struct {
	nc        net.Conn
	reader    *frame.Reader
	version   frame.Version
	connected *frame.Frame
	silence   time.Duration // after which the server is dead; 0: never
	beat      time.Duration // 0: none
	ended     chan struct{}
	loops     sync.WaitGroup

	mu            sync.Mutex
	changed       sync.Cond // of all below
	out           []byte    // encoded, not being written
	written       time.Time // the last write
	serial        uint64    // of receipts, subscriptions and transactions
	receipts      map[string]func(error)
	subscriptions map[string]func(*frame.Frame)
	closing       bool
	err           error // why the connection ended; nil while it has not
}

// Dial connects to a server and waits for its CONNECTED. A refusal is an *Error.
func Dial(ctx context.Context, address string, o Options) (*Client, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Client{
		nc:            nc,
		ended:         make(chan struct{}),
		receipts:      make(map[string]func(error)),
		subscriptions: make(map[string]func(*frame.Frame)),
	}
	c.changed.L = &c.mu
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.connect(connectFrame(address, o), o)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.loops.Go(c.readLoop)
	c.loops.Go(c.writeLoop)
	if c.beat > 0 {
		c.loops.Go(c.beatLoop)
	}
	return c, nil
}

func connectFrame(address string, o Options) *frame.Frame {
	host := o.Host
	if host == "" {
		host, _, _ = net.SplitHostPort(address)
	}
	versions := []string{"1.0", "1.1", "1.2"}
	if o.Version != 0 {
		versions = versions[:o.Version]
	}
	ms := strconv.FormatInt(o.HeartBeat.Milliseconds(), 10)
	f := &frame.Frame{Command: frame.Connect, Header: frame.Header{
		{Name: "accept-version", Value: strings.Join(versions, ",")},
		{Name: "host", Value: host},
		{Name: "heart-beat", Value: ms + "," + ms},
	}}
	for _, field := range []frame.Field{{Name: "login", Value: o.Login}, {Name: "passcode", Value: o.Passcode}, {Name: "client-id", Value: o.ClientID}} {
		if field.Value != "" {
			f.Header = append(f.Header, field)
		}
	}
	f.Header = append(f.Header, o.Header...)
	return f
}

// connect exchanges CONNECT and CONNECTED.
func (c *Client) connect(f *frame.Frame, o Options) error {
	limits := clientLimits
	if limits.Body = o.MaxMessage; limits.Body == 0 {
		limits.Body = 16 << 20
	}
	c.reader = frame.NewReader(clientSource{c}, limits)
	if _, err := c.nc.Write(frame.Append(nil, 0, f)); err != nil {
		return err
	}
	answer, err := c.reader.Read()
	switch {
	case err != nil:
		return err
	case answer.Command == frame.Error:
		return refusedBy(answer)
	case answer.Command != frame.Connected:
		return &Error{Message: answer.Command + " instead of CONNECTED"}
	}
	c.connected = answer
	c.version = frame.V10
	for _, v := range []frame.Version{frame.V11, frame.V12} {
		if answer.Header.Value("version") == v.String() {
			c.version = v
		}
	}
	c.reader.SetVersion(c.version)
	send, receive, err := heartBeats(c.version, answer.Header, o.HeartBeat)
	c.beat, c.silence = send-send/10, 2*receive
	c.written = time.Now()
	return err
}

// refusedBy returns what an ERROR says.
func refusedBy(f *frame.Frame) *Error {
	return &Error{Message: f.Header.Value("message"), Detail: string(f.Body)}
}

// clientSource is the socket as the reader sees it: any byte is a sign of life.
type clientSource struct{ *Client }

func (c clientSource) Read(p []byte) (int, error) {
	if c.silence > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.silence))
	}
	n, err := c.nc.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.silence > 0 {
		err = fmt.Errorf("no heart-beat within %v: %w", c.silence, err)
	}
	return n, err
}

// Version is the version that was negotiated.
func (c *Client) Version() frame.Version { return c.version }

// Connected is what the server answered.
func (c *Client) Connected() *frame.Frame { return c.connected }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err returns why the connection ended, an *Error when the server said so;
// nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Send sends a message and waits for its RECEIPT. f needs no command.
func (c *Client) Send(ctx context.Context, f *frame.Frame) error {
	return c.request(ctx, &frame.Frame{Command: frame.Send, Header: f.Header, Body: f.Body})
}

// SendAsync sends a message and waits only for room among what is not yet
// written. Unless SendAsync returned an error, done is called once when Send
// would return; without done, no receipt is asked for.
func (c *Client) SendAsync(ctx context.Context, f *frame.Frame, done func(error)) error {
	return c.post(ctx, &frame.Frame{Command: frame.Send, Header: f.Header, Body: f.Body}, done)
}

// Subscribe subscribes and waits for the RECEIPT. header names the destination
// and what else SUBSCRIBE is to say; an id that it lacks is made up. receive
// is called for each MESSAGE, in order. The id is returned.
func (c *Client) Subscribe(ctx context.Context, header frame.Header, receive func(*frame.Frame)) (string, error) {
	id := header.Value("id")
	c.mu.Lock()
	if id == "" {
		id = c.name("sub-")
		header = append(frame.Header{{Name: "id", Value: id}}, header...)
	}
	if c.subscriptions[id] != nil {
		c.mu.Unlock()
		return "", &Error{Message: fmt.Sprintf("subscription %q exists already", id)}
	}
	c.subscriptions[id] = receive
	c.mu.Unlock()
	if err := c.request(ctx, &frame.Frame{Command: frame.Subscribe, Header: header}); err != nil {
		c.mu.Lock()
		delete(c.subscriptions, id)
		c.mu.Unlock()
		return "", fmt.Errorf("subscribe to %q: %w", header.Value("destination"), err)
	}
	return id, nil
}

// Unsubscribe ends a subscription: receive is not called any more when it returns.
func (c *Client) Unsubscribe(ctx context.Context, id string) error {
	if err := c.request(ctx, &frame.Frame{Command: frame.Unsubscribe, Header: frame.Header{{Name: "id", Value: id}}}); err != nil {
		return fmt.Errorf("unsubscribe %q: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subscriptions, id)
	return nil
}

// Ack acknowledges a MESSAGE, and in ack mode client all before it on its
// subscription. It waits only for room.
func (c *Client) Ack(ctx context.Context, message *frame.Frame) error {
	return c.post(ctx, c.verdict(frame.Ack, message, ""), nil)
}

// Nack refuses a MESSAGE likewise. // STOMP 1.2, NACK
func (c *Client) Nack(ctx context.Context, message *frame.Frame) error {
	return c.post(ctx, c.verdict(frame.Nack, message, ""), nil)
}

// verdict spells an ACK or NACK as the version has it.
func (c *Client) verdict(command string, message *frame.Frame, transaction string) *frame.Frame {
	f := &frame.Frame{Command: command}
	if c.version == frame.V12 {
		f.Header.Add("id", message.Header.Value("ack"))
	} else {
		f.Header.Add("message-id", message.Header.Value("message-id"))
		f.Header.Add("subscription", message.Header.Value("subscription"))
	}
	if transaction != "" {
		f.Header.Add("transaction", transaction)
	}
	return f
}

// Transaction is what takes effect as a whole, at Commit. One that is not
// ended is undone when the connection ends.
type Transaction struct {
	client *Client
	name   string
}

// Begin opens a transaction.
func (c *Client) Begin(ctx context.Context) (*Transaction, error) {
	c.mu.Lock()
	t := &Transaction{c, c.name("tx-")}
	c.mu.Unlock()
	return t, c.post(ctx, t.frame(frame.Begin), nil)
}

func (t *Transaction) frame(command string) *frame.Frame {
	return &frame.Frame{Command: command, Header: frame.Header{{Name: "transaction", Value: t.name}}}
}

// Send adds a message.
func (t *Transaction) Send(ctx context.Context, f *frame.Frame) error {
	send := t.frame(frame.Send)
	send.Header, send.Body = append(send.Header, f.Header...), f.Body
	return t.client.post(ctx, send, nil)
}

// Ack adds the acknowledgement of a MESSAGE.
func (t *Transaction) Ack(ctx context.Context, message *frame.Frame) error {
	return t.client.post(ctx, t.client.verdict(frame.Ack, message, t.name), nil)
}

// Nack adds the refusal of a MESSAGE.
func (t *Transaction) Nack(ctx context.Context, message *frame.Frame) error {
	return t.client.post(ctx, t.client.verdict(frame.Nack, message, t.name), nil)
}

// Commit applies the transaction and waits for the RECEIPT.
func (t *Transaction) Commit(ctx context.Context) error {
	return t.client.request(ctx, t.frame(frame.Commit))
}

// Abort drops the transaction and waits for the RECEIPT.
func (t *Transaction) Abort(ctx context.Context) error {
	return t.client.request(ctx, t.frame(frame.Abort))
}

// Close sends DISCONNECT, waits up to five seconds for its RECEIPT, and thus
// for all that was sent before, and closes the connection. It must not be
// called by a function that the client calls.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	err := c.request(ctx, &frame.Frame{Command: frame.Disconnect})
	c.end(ErrClosed)
	c.loops.Wait()
	if errors.Is(err, ErrClosed) {
		return nil // closed before, or by the server before the receipt was read
	}
	return err
}

// request posts f and waits for its RECEIPT.
func (c *Client) request(ctx context.Context, f *frame.Frame) error {
	result := make(chan error, 1)
	if err := c.post(ctx, f, func(err error) { result <- err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post queues f, with a receipt header when somebody waits for it.
func (c *Client) post(ctx context.Context, f *frame.Frame, done func(error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.await(ctx, func() bool { return len(c.out) < maxQueued }); err != nil {
		return err
	}
	if done != nil {
		receipt := c.name("r-")
		c.receipts[receipt] = done
		f.Header = append(frame.Header{{Name: "receipt", Value: receipt}}, f.Header...)
	}
	c.out = frame.Append(c.out, c.version, f)
	c.changed.Broadcast()
	return nil
}

// name makes an identifier. mu is held.
func (c *Client) name(prefix string) string {
	c.serial++
	return prefix + strconv.FormatUint(c.serial, 10)
}

// await waits until ok or the end of the connection or ctx. mu is held.
func (c *Client) await(ctx context.Context, ok func() bool) error {
	if c.err == nil && ok() {
		return nil
	}
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	for c.err == nil && !ok() {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.changed.Wait()
	}
	return c.err
}

// end closes the connection; the first cause counts.
func (c *Client) end(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.closing {
		cause = ErrClosed
	}
	c.err = cause
	receipts := c.receipts
	c.receipts = nil
	c.changed.Broadcast()
	c.mu.Unlock()
	_ = c.nc.Close()
	for _, done := range receipts {
		done(cause)
	}
	close(c.ended)
}

func (c *Client) readLoop() {
	for {
		f, err := c.reader.Read()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a server that leaves without ERROR
		}
		if err == nil && f.Command == frame.Error {
			err = refusedBy(f)
		}
		if err != nil {
			c.end(err)
			c.reader.Close()
			return
		}
		c.mu.Lock()
		switch f.Command {
		case frame.Message:
			receive := c.subscriptions[f.Header.Value("subscription")]
			c.mu.Unlock()
			if receive != nil {
				receive(f)
			}
		case frame.Receipt:
			receipt := f.Header.Value("receipt-id")
			done := c.receipts[receipt]
			delete(c.receipts, receipt)
			c.mu.Unlock()
			if done != nil {
				done(nil)
			}
		default:
			c.mu.Unlock()
		}
	}
}

// writeLoop writes all that is queued at once, and keeps the buffer for what
// is queued meanwhile.
func (c *Client) writeLoop() {
	var spare []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.out) == 0 && c.err == nil {
			c.changed.Wait()
		}
		if c.err != nil {
			return
		}
		b := c.out
		c.out = spare[:0]
		c.changed.Broadcast()
		c.mu.Unlock()
		_ = c.nc.SetWriteDeadline(time.Now().Add(stall))
		_, err := c.nc.Write(b)
		if err != nil {
			c.end(err)
		}
		if spare = b; cap(b) > maxPooled {
			spare = nil
		}
		c.mu.Lock()
		c.written = time.Now()
	}
}

// beatLoop writes a line end when nothing else was written for so long.
func (c *Client) beatLoop() {
	timer := time.NewTimer(c.beat)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		wait := c.beat
		if idle := time.Since(c.written); idle < c.beat {
			wait -= idle
		} else if len(c.out) == 0 {
			c.out = append(c.out, '\n')
			c.changed.Broadcast()
		}
		c.mu.Unlock()
		timer.Reset(wait)
	}
}
