package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"
)

// embed starts a NATS server in this process. It listens only when told to.
func (c *core) embed() error {
	store, err := filepath.Abs(c.cfg.Store)
	if err != nil {
		return fmt.Errorf("nats.store: %w", err)
	}
	if err := os.MkdirAll(store, 0o700); err != nil {
		return fmt.Errorf("nats.store: cannot create %s: %w; name a directory this user may write", store, err)
	}
	c.cfg.Store = store
	if c.lock, err = lockStore(store); err != nil {
		return err
	}
	free, err := freeDisk(store)
	if err != nil {
		return fmt.Errorf("nats.store: %w", err)
	}
	if c.cfg.MaxStore == 0 {
		c.cfg.MaxStore = (free + diskUsage(store)) / 4 * 3
	}
	opts := &server.Options{
		ServerName: "causeway", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: store, JetStreamMaxStore: c.cfg.MaxStore,
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
		MaxPayload:      32 << 20, MaxPending: 512 << 20, MaxControlLine: maxControlLine,
		SyncInterval: time.Second, SyncAlways: c.cfg.Sync == "always",
		// More than the appender ever has under way, retained records included.
		StreamMaxBufferedMsgs: 2 * appendSlots, StreamMaxBufferedSize: 4 * appendBytes,
	}
	if err := c.openToNatives(opts); err != nil {
		return err
	}
	if c.server, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	c.server.SetLoggerV2(serverLog{c.log}, false, false, false)
	c.server.Start()
	if !c.server.ReadyForConnections(startTimeout) {
		return fmt.Errorf("nats.store: the embedded core did not start on %s within %s; see the log above", store, startTimeout)
	}
	return nil
}

// openToNatives lets native NATS applications in, when nats.listen says so.
// They may not write what only gateways write.
func (c *core) openToNatives(opts *server.Options) error {
	if c.cfg.Listen == "" {
		return nil
	}
	probe, err := net.Listen("tcp", c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("nats.listen: %w; stop what listens there, or choose another address", err)
	}
	_ = probe.Close()
	host, port, err := net.SplitHostPort(c.cfg.Listen)
	if err == nil {
		opts.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return fmt.Errorf("nats.listen: %q is not host:port: %w", c.cfg.Listen, err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host, opts.DontListen = host, false
	n := c.names
	var ours []string
	for _, root := range []string{n.live(), n.durable(), n.retainedRoot(), n.temp()} {
		ours = append(ours, root+".>", root+"$.>")
	}
	ours = append(ours, n.timer()+".>", n.due(), n.prefix+".m.>", "$KV."+n.sessions()+".>", "$KV."+n.gateways()+".>", n.gateway("*"))
	streams := []string{n.log(), n.retained(), n.timers(), "KV_" + n.sessions(), "KV_" + n.gateways()}
	for shard := range queueShards {
		streams = append(streams, n.queue(shard))
	}
	for _, stream := range streams {
		ours = append(ours, "$JS.API.STREAM.*."+stream, "$JS.API.STREAM.MSG.DELETE."+stream)
	}
	c.user, c.password = "causeway", nuid.Next()
	native := &server.User{Username: c.cfg.User, Password: c.cfg.Password, Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Deny: ours},
	}}
	if native.Username == "" {
		native.Username = "native"
		opts.NoAuthUser = native.Username
	}
	opts.Users = []*server.User{{Username: c.user, Password: c.password}, native}
	return nil
}

// lockStore keeps a second process off the store.
func lockStore(store string) (*os.File, error) {
	name := filepath.Join(store, "lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nats.store: cannot write %s: %w; name a directory this user may write", store, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("nats.store: %s is in use by another process; stop it or name another directory", store)
	}
	return f, nil
}

func freeDisk(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	free := fs.Bavail * uint64(fs.Bsize) //nolint:gosec // both are positive
	return int64(min(free, math.MaxInt64)), nil
}

func diskUsage(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// serverLog hands the embedded server's lines to slog.
type serverLog struct{ log *slog.Logger }

func (l serverLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "core", "line", fmt.Sprintf(format, v...))
}

// Warnf leaves out what the server says of settings that are ours, and what
// is usual after a crash.
func (l serverLog) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "Maximum payloads over") || strings.HasPrefix(format, "Plaintext passwords") ||
		strings.Contains(format, "TTL state is outdated") {
		level = slog.LevelDebug
	}
	l.line(level, format, v)
}
func (l serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Tracef(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
