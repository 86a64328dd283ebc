package bridge

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/causeway-mq/causeway/mapping"
)

// streamsFor is how long the list of queue streams is good for: it changes
// when a gateway starts with another configuration.
const streamsFor = 10 * time.Second

// queuePolicy is where the queues that a policy limits live. The stream is
// named by what it matches, so that policies may change places.
type queuePolicy struct {
	Policy
	stream, root string
	marks        string // of transactions that were applied
}

func newQueuePolicies(n names, cfg Queues) []queuePolicy {
	list := make([]queuePolicy, 0, len(cfg.Policies))
	for _, p := range cfg.Policies {
		h := fnv.New32a()
		_, _ = h.Write([]byte(p.Match))
		id := fmt.Sprintf("%08x", h.Sum32())
		list = append(list, queuePolicy{p, n.policy(id), n.policyRoot(id), n.prefix + ".m.q.p" + id + ".>"})
	}
	return list
}

// A queue stream's name ends as its root does: NN for a shard, P and eight
// digits for a policy.
func (n names) policy(id string) string     { return n.upper + "_QUEUE_P" + strings.ToUpper(id) }
func (n names) policyRoot(id string) string { return n.prefix + ".q.p" + id }

// queueRootOf returns the root of the subjects in a queue stream.
func (n names) queueRootOf(stream string) string {
	return n.prefix + ".q." + strings.ToLower(strings.TrimPrefix(stream, n.upper+"_QUEUE_"))
}

// queueStreams returns the streams of the policies: each queue has its own
// limits there, which is what NATS can do by subject.
func queueStreams(n names, cfg Queues) []jetstream.StreamConfig {
	var list []jetstream.StreamConfig
	for _, p := range newQueuePolicies(n, cfg) {
		s := jetstream.StreamConfig{
			Name: p.stream, Subjects: []string{p.root + ".>", p.root + "$.>", p.marks},
			Retention: jetstream.WorkQueuePolicy, MaxAge: p.MaxAge, MaxMsgsPerSubject: -1,
		}
		if p.MaxMessages > 0 {
			s.MaxMsgsPerSubject = p.MaxMessages
			if p.Overflow != "drop_oldest" {
				s.Discard, s.DiscardNewPerSubject = jetstream.DiscardNew, true
			}
		}
		list = append(list, s)
	}
	return list
}

// target returns where a message to a queue is appended.
func (q *queues) target(topic string) (stream, subject string, err error) {
	for i := range q.policies {
		if p := &q.policies[i]; mapping.MatchFilter(p.Match, topic) {
			subject, err = mapping.Subject(p.root, topic)
			return p.stream, subject, err
		}
	}
	shard := mapping.Shard(topic, queueShards)
	subject, err = mapping.Subject(q.roots[shard], topic)
	return q.shards[shard], subject, err
}

// elsewhere returns the other streams that hold messages of a queue.
func (q *queues) elsewhere(ctx context.Context, topic, current string) ([]location, error) {
	streams, err := q.policyStreams(ctx)
	if err != nil || len(streams) == 0 {
		return nil, err
	}
	var found []location
	for _, stream := range slices.Concat(streams, []string{q.shards[mapping.Shard(topic, queueShards)]}) {
		if stream == current {
			continue
		}
		subject, err := mapping.Subject(q.core.names.queueRootOf(stream), topic)
		if err != nil {
			return nil, err
		}
		err = q.subjects(ctx, stream, subject, func(string) { found = append(found, location{stream, subject}) })
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// policyStreams returns the streams of policies, former ones included.
func (q *queues) policyStreams(ctx context.Context) ([]string, error) {
	q.mu.Lock()
	list, at := q.streams, q.streamsAt
	q.mu.Unlock()
	if time.Since(at) < streamsFor {
		return list, nil
	}
	list = []string{}
	names := q.core.js.StreamNames(ctx, jetstream.WithStreamListSubject(q.core.names.prefix+".q.>"))
	for name := range names.Name() {
		if strings.HasPrefix(name, q.core.names.policy("")) {
			list = append(list, name)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("streams of queues: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.streams, q.streamsAt = list, time.Now()
	return list, nil
}

// subjects calls f with each subject that matches filter and has messages in a
// stream.
func (q *queues) subjects(ctx context.Context, stream, filter string, f func(subject string)) error {
	for offset := 0; ; {
		var page struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		ask := map[string]any{"subjects_filter": filter, "offset": offset}
		if err := q.core.request(ctx, "$JS.API.STREAM.INFO."+stream, ask, &page); err != nil {
			return fmt.Errorf("subjects of %s: %w", stream, err)
		}
		for subject := range page.State.Subjects {
			f(subject)
		}
		if offset += len(page.State.Subjects); offset >= page.Total || len(page.State.Subjects) == 0 {
			return nil
		}
	}
}
