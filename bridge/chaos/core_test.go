//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// coreVariable makes the test binary a NATS server, with the coreConfig it has.
const coreVariable = "CHAOS_CORE"

// coreConfig is one node of an external core.
type coreConfig struct {
	Name, Store string
	Port        int
	ClusterPort int      // 0: alone
	Routes      []string // of the cluster
}

// runCore is the life of a node, in a process of its own.
func runCore(text string) error {
	var cfg coreConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: cfg.Name, Host: "127.0.0.1", Port: cfg.Port, NoSigs: true, JetStream: true, StoreDir: cfg.Store,
	}
	if cfg.ClusterPort != 0 {
		// Gateways are to know no way around the proxies.
		o.Cluster = server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: cfg.ClusterPort, NoAdvertise: true}
		for _, route := range cfg.Routes {
			u, err := url.Parse(route)
			if err != nil {
				return err
			}
			o.Routes = append(o.Routes, u)
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// newCores returns the nodes of an external core, not yet started.
func newCores(t *testing.T, n int) []*node {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ports := freePorts(t, 2*n)
	var routes []string
	if n > 1 {
		for i := range n {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[n+i]))
		}
	}
	var nodes []*node
	for i := range n {
		cfg := coreConfig{Name: fmt.Sprintf("core%d", i+1), Store: t.TempDir(), Port: ports[i], Routes: routes}
		if n > 1 {
			cfg.ClusterPort = ports[n+i]
		}
		text, err := json.Marshal(cfg)
		require.NoError(t, err)
		nodes = append(nodes, &node{
			process: newProcess(t, cfg.Name, self, []string{coreVariable + "=" + string(text)}),
			address: fmt.Sprintf("127.0.0.1:%d", cfg.Port),
		})
	}
	return nodes
}

// node is a process of an external core.
type node struct {
	*process
	address string
}

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
