package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxRecord is what one record of the store holds: the file store refuses
	// 32 MiB, and headers and metadata need some of it.
	maxRecord = 31 << 20
	// maxControlLine lets a subject of mapping.MaxSubject and its reply pass.
	maxControlLine = 140 << 10
	// queueShards is the number of streams that new queues are spread over.
	queueShards  = 16
	startTimeout = 30 * time.Second
)

// core is NATS as the bridge uses it: an embedded server or an external one,
// and two connections to it. Everything the gateway publishes leaves by pub,
// so that a client's messages stay in order; subscriptions and requests use sub.
type core struct {
	log    *slog.Logger
	cfg    NATS
	server *server.Server // nil: external
	lock   *os.File       // embedded: held while the store is in use
	pub    *nats.Conn
	sub    *nats.Conn
	js     jetstream.JetStream // on sub

	user, password string // of our connections to an embedded server that others may use
	names          names
}

// names spells every stream, bucket and subject root that is ours.
type names struct{ prefix, upper string }

func (n names) log() string                { return n.upper + "_LOG" }
func (n names) queue(shard int) string     { return fmt.Sprintf("%s_QUEUE_%02d", n.upper, shard) }
func (n names) retained() string           { return n.upper + "_RETAINED" }
func (n names) timers() string             { return n.upper + "_TIMERS" }
func (n names) gateways() string           { return n.upper + "_GATEWAYS" }
func (n names) sessions() string           { return n.upper + "_SESSIONS" }
func (n names) live() string               { return n.prefix + ".t" }
func (n names) durable() string            { return n.prefix + ".d" }
func (n names) native() string             { return n.prefix + ".n" }
func (n names) retainedRoot() string       { return n.prefix + ".r" }
func (n names) temp() string               { return n.prefix + ".temp" }
func (n names) timer() string              { return n.prefix + ".s" }
func (n names) gateway(run string) string  { return n.prefix + ".g." + run }
func (n names) due() string                { return n.prefix + ".due" }
func (n names) queueRoot(shard int) string { return fmt.Sprintf("%s.q.%02d", n.prefix, shard) }

// startCore starts the embedded server or connects to the external one, and
// creates what is missing in it.
func startCore(ctx context.Context, cfg Config, log *slog.Logger) (_ *core, err error) {
	c := &core{log: log, cfg: cfg.NATS, names: names{cfg.NATS.Prefix, strings.ToUpper(cfg.NATS.Prefix)}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if cfg.NATS.URL == "" {
		if err := c.embed(); err != nil {
			return nil, err
		}
	}
	if c.pub, err = c.connect("publish"); err != nil {
		return nil, err
	}
	if c.sub, err = c.connect("subscribe"); err != nil {
		return nil, err
	}
	if c.js, err = jetstream.New(c.sub, jetstream.WithDefaultTimeout(startTimeout)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.awaitJetStream(ctx); err != nil {
		return nil, err
	}
	return c, c.declare(ctx, cfg)
}

// awaitJetStream waits until the core answers: a cluster that starts elects
// its leader first, and nobody answers what was asked before.
func (c *core) awaitJetStream(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.js.AccountInfo(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return fmt.Errorf("nats.url: the core has no JetStream, which Causeway needs: enable it there (%w)", err)
		case ctx.Err() != nil:
			return fmt.Errorf("nats.url: JetStream of the core does not answer (%w)", err)
		}
	}
}

// connect opens one connection to the core.
func (c *core) connect(purpose string) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("causeway " + purpose),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			c.log.Error("core connection", "connection", purpose, "subject", subject, "error", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.log.Error("core connection lost", "connection", purpose, "error", err)
			}
		}),
		nats.ReconnectBufSize(-1), // what waits for the core is kept, in order, by who sent it
	}
	if c.server != nil {
		opts = append(opts, nats.InProcessServer(c.server), nats.UserInfo(c.user, c.password))
	}
	for _, o := range []struct {
		set bool
		opt func() nats.Option
	}{
		{c.cfg.Credentials != "", func() nats.Option { return nats.UserCredentials(c.cfg.Credentials) }},
		{c.cfg.Token != "", func() nats.Option { return nats.Token(c.cfg.Token) }},
		{c.cfg.User != "" && c.server == nil, func() nats.Option { return nats.UserInfo(c.cfg.User, c.cfg.Password) }},
		{c.cfg.CA != "", func() nats.Option { return nats.RootCAs(c.cfg.CA) }},
		{c.cfg.Cert != "", func() nats.Option { return nats.ClientCert(c.cfg.Cert, c.cfg.Key) }},
	} {
		if o.set {
			opts = append(opts, o.opt())
		}
	}
	if c.cfg.NKey != "" {
		opt, err := nats.NkeyOptionFromSeed(c.cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("nats.nkey: %w", err)
		}
		opts = append(opts, opt)
	}
	nc, err := nats.Connect(c.cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("nats.url: cannot connect to %s: %w", c.cfg.URL, err)
	}
	return nc, nil
}

// whenBack calls back each time a connection to the core is back after it was
// lost.
func (c *core) whenBack(nc *nats.Conn, back func()) {
	nc.SetReconnectHandler(func(*nats.Conn) {
		c.log.Info("core connection is back", "connection", nc.Opts.Name)
		back()
	})
}

// declare creates the streams and buckets that are missing and brings the
// limits of the others up to the configuration.
func (c *core) declare(ctx context.Context, cfg Config) error {
	n := c.names
	both := func(root string) []string { return []string{root + ".>", root + "$.>"} }
	logBytes := cfg.LogRetention.Bytes
	if logBytes == 0 && c.server != nil {
		logBytes = c.cfg.MaxStore / 4
	}
	if logBytes == 0 {
		logBytes = -1
	}
	streams := []jetstream.StreamConfig{
		{
			Name: n.log(), Subjects: append(append(both(n.durable()), both(n.native())...), n.prefix+".m.log.>"),
			Retention: jetstream.LimitsPolicy, MaxAge: cfg.LogRetention.Age, MaxBytes: logBytes,
		},
		{
			Name: n.retained(), Subjects: both(n.retainedRoot()),
			Retention: jetstream.LimitsPolicy, MaxMsgsPerSubject: 1,
		},
		{
			Name: n.timers(), Subjects: []string{n.timer() + ".>", n.due()},
			Retention: jetstream.WorkQueuePolicy, AllowMsgSchedules: true,
		},
		{
			Name: "KV_" + n.sessions(), Subjects: []string{"$KV." + n.sessions() + ".>"},
			Retention: jetstream.LimitsPolicy, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
			Discard: jetstream.DiscardNew,
		},
		{
			Name: "KV_" + n.gateways(), Subjects: []string{"$KV." + n.gateways() + ".>"},
			Retention: jetstream.LimitsPolicy, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
			Discard: jetstream.DiscardNew,
		},
	}
	for shard := range queueShards {
		streams = append(streams, jetstream.StreamConfig{
			Name: n.queue(shard), Subjects: append(both(n.queueRoot(shard)), fmt.Sprintf("%s.m.q.%02d.>", n.prefix, shard)),
			Retention: jetstream.WorkQueuePolicy,
		})
	}
	streams = append(streams, queueStreams(n, cfg.Queues)...)
	faults := make(chan error, len(streams))
	for _, s := range streams {
		s.Storage = jetstream.FileStorage
		s.Replicas = cfg.NATS.Replicas
		s.Duplicates = cfg.NATS.Patience // for as long as an append may be sent again
		if s.MaxAge > 0 {
			s.Duplicates = min(s.Duplicates, s.MaxAge)
		}
		s.AllowDirect, s.AllowMsgTTL, s.AllowAtomicPublish = true, true, true
		s.Metadata = map[string]string{"causeway": "1"}
		go func() { faults <- c.ensure(ctx, s, cfg.LogRetention.Bytes == 0) }()
	}
	var err error
	for range streams {
		if fault := <-faults; err == nil {
			err = fault // one line says it all
		}
	}
	return err
}

// ensure creates a stream, or updates it when its limits differ. A size that
// was chosen by us and not by the operator stays what it was when created.
func (c *core) ensure(ctx context.Context, want jetstream.StreamConfig, keepBytes bool) error {
	have, err := c.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err := c.js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("look up stream %s: %w", want.Name, err)
	}
	old := have.CachedInfo().Config
	if keepBytes {
		want.MaxBytes = old.MaxBytes
	}
	if want.MaxBytes == 0 {
		want.MaxBytes = -1
	}
	if old.Duplicates == want.Duplicates && old.MaxAge == want.MaxAge && old.MaxBytes == want.MaxBytes && old.Replicas == want.Replicas &&
		max(old.MaxMsgsPerSubject, 0) == want.MaxMsgsPerSubject && old.Discard == want.Discard &&
		old.DiscardNewPerSubject == want.DiscardNewPerSubject {
		return nil
	}
	if _, err := c.js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

// ready reports why the core cannot be used, or nil.
func (c *core) ready() error {
	for _, nc := range []*nats.Conn{c.pub, c.sub} {
		if s := nc.Status(); s != nats.CONNECTED {
			return fmt.Errorf("core: %s", strings.ToLower(s.String()))
		}
	}
	return nil
}

// request asks the JetStream API and decodes the answer into v.
func (c *core) request(ctx context.Context, subject string, ask, answer any) error {
	var body []byte
	if ask != nil {
		var err error
		if body, err = json.Marshal(ask); err != nil {
			return err
		}
	}
	m, err := c.sub.RequestWithContext(ctx, subject, body)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	var failure struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failure); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if failure.Error != nil {
		return failure.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.Data, answer)
}

// apiError is a refusal by JetStream.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("core: %s (%d)", e.Description, e.ErrCode) }

// close lets go of the core; what was published is stored before it returns.
func (c *core) close() {
	for _, nc := range []*nats.Conn{c.pub, c.sub} {
		if nc == nil {
			continue
		}
		if nc.IsConnected() {
			_ = nc.FlushTimeout(2 * time.Second)
		}
		nc.Close()
	}
	if c.server != nil {
		c.server.Shutdown()
		c.server.WaitForShutdown()
	}
	if c.lock != nil {
		_ = c.lock.Close()
	}
}
