package bridge

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// streamReader reads a stream once, in order, a batch at a time.
type streamReader struct {
	c        *core
	stream   string
	consumer string
	inbox    string
	sub      *nats.Subscription
	answers  chan *nats.Msg
}

// openReader opens a reader; config says where it starts and what it sees.
func (c *core) openReader(ctx context.Context, stream string, config map[string]any) (*streamReader, error) {
	r := &streamReader{c: c, stream: stream, answers: make(chan *nats.Msg, scanBatch+8), inbox: nats.NewInbox()}
	var err error
	if r.sub, err = c.sub.ChanSubscribe(r.inbox, r.answers); err != nil {
		return nil, err
	}
	r.consumer = "scan-" + r.inbox[7:]
	maps.Copy(config, map[string]any{
		"ack_policy": "none", "mem_storage": true, "num_replicas": 1,
		"replay_policy": "instant", "inactive_threshold": 30 * time.Second,
	})
	if err := c.createConsumer(ctx, stream, r.consumer, config); err != nil {
		r.close() // the core may have created it, and answered too late
		return nil, err
	}
	return r, nil
}

// next returns up to scanBatch messages; none: the end of the log.
func (r *streamReader) next(ctx context.Context) ([]*nats.Msg, error) {
	ask := []byte(`{"no_wait":true,"batch":` + strconv.Itoa(scanBatch) + `}`)
	if err := r.c.sub.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+r.stream+"."+r.consumer, r.inbox, ask); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	batch := make([]*nats.Msg, 0, scanBatch)
	for len(batch) < scanBatch {
		select {
		case m := <-r.answers:
			if m.Reply == "" || m.Header.Get("Status") != "" {
				if s := m.Header.Get("Status"); s == "404" || s == "408" {
					return batch, nil
				}
				return nil, fmt.Errorf("reading a stream: status %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
			}
			batch = append(batch, m)
		case <-timeout.C:
			return nil, errTimeout
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return batch, nil
}

func (r *streamReader) close() {
	_ = r.sub.Unsubscribe()
	r.c.deleteConsumer(r.stream, r.consumer)
}
