//go:build chaos

package chaos

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy is the network between something that dials and a server that may
// move: it can be cut and stalled.
type proxy struct {
	listener net.Listener
	loops    sync.WaitGroup

	mu     sync.Mutex
	target string        // "": nobody is there
	flow   chan struct{} // closed while bytes flow
	conns  map[net.Conn]struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, flow: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(p.flow)
	p.loops.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.resume()
		p.cut("")
		p.loops.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// cut resets every connection; the next ones go to target.
func (p *proxy) cut(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for nc := range p.conns {
		reset(nc)
	}
	clear(p.conns)
}

// point returns where connections go.
func (p *proxy) point() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// reset closes a connection so that its peer is told at once.
func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	nc.Close()
}

// stall holds every byte back until resume.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
	default:
		close(p.flow)
	}
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.loops.Go(func() { p.relay(near) })
	}
}

func (p *proxy) relay(near net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	far, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		reset(near)
		return
	}
	p.mu.Lock()
	moved := p.target != target
	if !moved {
		p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	}
	p.mu.Unlock()
	if moved {
		reset(near)
		reset(far)
		return
	}
	var directions sync.WaitGroup
	directions.Go(func() { p.copy(far, near) })
	directions.Go(func() { p.copy(near, far) })
	directions.Wait()
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
	near.Close()
	far.Close()
}

// copy relays one direction to its end, and passes the end on.
func (p *proxy) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		flow := p.flow
		p.mu.Unlock()
		<-flow
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				reset(from)
				return
			}
		}
		if err != nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
	}
}
