package stomp

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// handle obeys one frame. An error ends the connection. ctx ends with the
// connection; operations outlives it, until they are answered.
func (c *conn) handle(ctx, operations context.Context, f *frame.Frame) error {
	if c.broker == nil {
		if f.Command != frame.Connect && f.Command != frame.Stomp {
			return &Error{Message: "the first frame must be CONNECT, not " + f.Command}
		}
		return c.handleConnect(ctx, f)
	}
	switch f.Command {
	case frame.Send:
		return c.handleSend(operations, f)
	case frame.Subscribe:
		return c.handleSubscribe(operations, f)
	case frame.Unsubscribe:
		return c.handleUnsubscribe(f)
	case frame.Ack:
		return c.handleAck(f, nil)
	case frame.Nack:
		return c.handleNack(f)
	case frame.Begin:
		return c.handleBegin(f)
	case frame.Commit:
		return c.handleCommit(f, func(steps []Step, done func(error)) { c.broker.Commit(operations, steps, done) })
	case frame.Abort:
		return c.handleAbort(f)
	case frame.Disconnect:
		c.goodbye = f
		return errDisconnected
	case frame.Connect, frame.Stomp:
		return &Error{Message: "the connection is already connected"}
	case frame.Connected, frame.Message, frame.Receipt, frame.Error:
		return &Error{Message: f.Command + " is for servers to send"}
	}
	return &Error{Message: "unknown command " + f.Command}
}

func missing(f *frame.Frame, header string) error {
	return &Error{Message: fmt.Sprintf("%s without the header %q", f.Command, header)}
}

func (c *conn) handleConnect(ctx context.Context, f *frame.Frame) error {
	version, err := negotiate(f.Header)
	if err != nil {
		return err
	}
	if version == frame.V10 {
		for i := range f.Header {
			f.Header[i].Value = strings.TrimLeft(f.Header[i].Value, " \t")
		}
	}
	send, receive, err := heartBeats(version, f.Header, c.server.Config.HeartBeat)
	if err != nil {
		return err
	}
	broker, err := c.server.Broker.Connect(ctx, c, &Connect{
		Version:  version,
		Host:     f.Header.Value("host"),
		Login:    f.Header.Value("login"),
		Passcode: f.Header.Value("passcode"),
		ClientID: f.Header.Value("client-id"),
		Header:   f.Header,
		Remote:   c.net.RemoteAddr(),
		Session:  c.session,
	})
	if err != nil {
		return err
	}
	c.server.counters.active.Add(1)
	if login := f.Header.Value("login"); login != "" {
		c.log = c.log.With("user", login)
	}
	if id := f.Header.Value("client-id"); id != "" {
		c.log = c.log.With("client_id", id)
	}
	limits := clientLimits
	limits.Body = c.server.Config.MaxMessage
	c.reader.SetLimits(limits)
	c.reader.SetVersion(version)
	c.silence = 2 * receive // STOMP 1.2, Heart-beating: an error margin
	_ = c.net.SetReadDeadline(time.Time{})

	c.mu.Lock()
	defer c.mu.Unlock()
	c.broker, c.version = broker, version
	c.send(c.connectedFrame(f.Header))
	if send > 0 {
		c.beat = send - send/10
		c.written = time.Now()
		c.beats = time.AfterFunc(c.beat, c.heartBeat)
	}
	return nil
}

// connectedFrame answers CONNECT. A receipt is answered with it, because
// clients wait for CONNECTED first.
func (c *conn) connectedFrame(connect frame.Header) *frame.Frame {
	ours := "0,0"
	if c.version > frame.V10 {
		ms := strconv.FormatInt(c.server.Config.HeartBeat.Milliseconds(), 10)
		ours = ms + "," + ms
	}
	f := &frame.Frame{Command: frame.Connected, Header: frame.Header{
		{Name: "version", Value: c.version.String()},
		{Name: "session", Value: c.session},
		{Name: "heart-beat", Value: ours},
	}}
	if name := c.server.Config.ServerName; name != "" {
		f.Header.Add("server", name)
	}
	if receipt := connect.Value("receipt"); receipt != "" {
		f.Header.Add("receipt-id", receipt)
	}
	return f
}

// negotiate returns the highest version both sides speak. // STOMP 1.2, Protocol Negotiation
func negotiate(connect frame.Header) (frame.Version, error) {
	accepted, ok := connect.Get("accept-version")
	if !ok {
		return frame.V10, nil
	}
	var version frame.Version
	for offer := range strings.SplitSeq(accepted, ",") {
		for v := frame.V10; v <= frame.V12; v++ {
			if strings.TrimSpace(offer) == v.String() {
				version = max(version, v)
			}
		}
	}
	if version == 0 {
		return 0, &Error{
			Message: "no common protocol version",
			Detail:  "Supported protocol versions are 1.0, 1.1 and 1.2.",
			header:  frame.Header{{Name: "version", Value: "1.0,1.1,1.2"}},
		}
	}
	return version, nil
}

// heartBeats returns how often each side is to send. // STOMP 1.2, Heart-beating
func heartBeats(version frame.Version, connect frame.Header, ours time.Duration) (send, receive time.Duration, err error) {
	header, ok := connect.Get("heart-beat")
	if version == frame.V10 || !ok {
		return 0, 0, nil
	}
	can, wants, _ := strings.Cut(header, ",")
	theirSend, err1 := milliseconds(can)
	theirReceive, err2 := milliseconds(wants)
	if err1 != nil || err2 != nil {
		return 0, 0, &Error{Message: "malformed heart-beat header", Detail: "It is two numbers of milliseconds, as in 10000,10000."}
	}
	if theirReceive > 0 && ours > 0 {
		send = max(theirReceive, ours)
	}
	if theirSend > 0 && ours > 0 {
		receive = max(theirSend, ours)
	}
	return send, receive, nil
}

// milliseconds parses a heart-beat; what is above 24 days is 24 days.
func milliseconds(s string) (time.Duration, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	return time.Duration(min(n, 1<<31)) * time.Millisecond, err
}

func (c *conn) handleSend(ctx context.Context, f *frame.Frame) error {
	if f.Header.Value("destination") == "" {
		return missing(f, "destination")
	}
	c.sends++
	if name := f.Header.Value("transaction"); name != "" {
		t := c.transactions[name]
		if t == nil {
			return unknownTransaction(name)
		}
		return c.hold(f, t, cost(f), Step{Send: f})
	}
	c.broker.Send(ctx, f, c.expect(f.Header.Value("receipt"), cost(f)))
	return nil
}

// cost is about the memory that a frame takes.
func cost(f *frame.Frame) int {
	n := frameBytes + len(f.Body)
	for i := range f.Header {
		n += len(f.Header[i].Name) + len(f.Header[i].Value)
	}
	return n
}

func (c *conn) handleSubscribe(ctx context.Context, f *frame.Frame) error {
	s, key, err := c.newSubscription(f)
	if err != nil {
		return err
	}
	if c.subscriptions[key] != nil {
		return &Error{Message: fmt.Sprintf("subscription %q exists already", strings.TrimPrefix(key, "\x00"))}
	}
	if c.subscriptions == nil {
		c.subscriptions, c.bySerial = make(map[string]*Subscription), make(map[uint64]*Subscription)
	}
	c.sweep()
	c.subscriptions[key] = s
	c.bySerial[s.state.serial] = s

	receipt := f.Header.Value("receipt")
	c.mu.Lock()
	a := c.answers.push(c, receipt, 0)
	if receipt != "" {
		a.opens = s
	}
	c.mu.Unlock()
	c.broker.Subscribe(ctx, s, a.done)
	return nil
}

// newSubscription also returns the key that its id must be unique by.
func (c *conn) newSubscription(f *frame.Frame) (*Subscription, string, error) {
	s := &Subscription{ID: f.Header.Value("id"), Destination: f.Header.Value("destination"), Header: f.Header}
	key := s.ID
	switch {
	case s.Destination == "":
		return nil, "", missing(f, "destination")
	case s.ID != "":
	case c.version > frame.V10:
		return nil, "", missing(f, "id")
	default:
		key = destinationKey(s.Destination)
	}
	if err := refuseUnsupported(f.Header); err != nil {
		return nil, "", err
	}
	switch mode := f.Header.Value("ack"); mode {
	case "", "auto":
	case "client":
		s.Ack = AckClient
	case "client-individual":
		s.Ack = AckClientIndividual
	default:
		return nil, "", &Error{Message: fmt.Sprintf("unknown ack mode %q", mode), Detail: "It is auto, client or client-individual."}
	}
	for _, name := range [...]string{"prefetch-count", "activemq.prefetchSize"} {
		value := f.Header.Value(name)
		if value == "" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return nil, "", &Error{Message: fmt.Sprintf("the header %q is not a number", name), Err: err}
		}
		s.Prefetch = int(n)
		break
	}

	c.serial++
	state := &s.state
	state.serial = c.serial
	state.open = f.Header.Value("receipt") == ""
	id := c.session + "-" + strconv.FormatUint(c.serial, 10) + "-"
	prefix := []byte(frame.Message + "\n")
	if s.ID != "" { // STOMP 1.0, MESSAGE
		prefix = frame.AppendField(prefix, c.version, "subscription", s.ID)
	}
	state.prefix = append(prefix, "message-id:"+id...)
	state.ack = []byte("ack:" + id)
	return s, key, nil
}

// destinationKey is the key of a STOMP 1.0 subscription without an id.
func destinationKey(destination string) string { return "\x00" + destination }

// refuseUnsupported answers options of other brokers that would change what
// the client receives, instead of not obeying them in silence.
func refuseUnsupported(subscribe frame.Header) error {
	for _, f := range subscribe {
		switch f.Name {
		case "selector", "x-stream-offset", "x-stream-filter":
			if f.Value == "" {
				continue
			}
		case "browser", "exclusive", "activemq.exclusive", "activemq.retroactive", "no-local", "activemq.noLocal":
			if f.Value != "true" {
				continue
			}
		default:
			continue
		}
		return &Error{Message: fmt.Sprintf("the SUBSCRIBE header %q is not supported", f.Name), Detail: "Subscribe without it."}
	}
	return nil
}

func (c *conn) handleUnsubscribe(f *frame.Frame) error {
	id, destination := f.Header.Value("id"), f.Header.Value("destination")
	key := id
	switch {
	case id != "":
	case c.version > frame.V10:
		return missing(f, "id")
	case destination == "":
		return missing(f, "id or destination")
	default:
		key = c.keyOf(destination)
	}
	s := c.subscriptions[key]
	if s == nil {
		return &Error{Message: fmt.Sprintf("unknown subscription %q", id+destination)}
	}
	delete(c.subscriptions, key)
	c.removed = append(c.removed, s)
	done := c.expect(f.Header.Value("receipt"), 0)
	c.broker.Unsubscribe(s, f.Header, func(err error) {
		c.mu.Lock()
		s.state.closed = true
		c.mu.Unlock()
		done(err)
	})
	return nil
}

// keyOf finds a STOMP 1.0 subscription by its destination, with or without an id.
func (c *conn) keyOf(destination string) string {
	key := destinationKey(destination)
	if c.subscriptions[key] == nil {
		for other, s := range c.subscriptions {
			if s.Destination == destination {
				return other
			}
		}
	}
	return key
}

func (c *conn) handleNack(f *frame.Frame) error {
	if c.version == frame.V10 {
		return &Error{Message: "NACK does not exist in STOMP 1.0"}
	}
	if f.Header.Value("requeue") == "false" {
		return c.handleAck(f, ErrReject)
	}
	return c.handleAck(f, ErrRequeue)
}
