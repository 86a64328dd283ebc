package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// records is the bucket of sessions: one JSON value per key, written only by
// who has read its last revision.
type records struct {
	c      *core
	append *appender
	bucket string
}

// errConflict is a write that somebody else's write came before.
var errConflict = errors.New("the record was changed by another gateway")

func (r records) subject(key string) string { return "$KV." + r.bucket + "." + key }

// load reads a record into v and reports whether it is there. The revision is
// what a write has to know, also where there was a record once.
func (r records) load(ctx context.Context, key string, v any) (revision uint64, found bool, err error) {
	m, err := r.c.sub.RequestWithContext(ctx, "$JS.API.DIRECT.GET.KV_"+r.bucket+"."+r.subject(key), nil)
	if err != nil {
		return 0, false, fmt.Errorf("read %s: %w", key, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return 0, false, nil
	default:
		return 0, false, fmt.Errorf("read %s: status %s %s", key, status, m.Header.Get("Description"))
	}
	revision, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err == nil && len(m.Data) > 0 {
		found, err = true, json.Unmarshal(m.Data, v)
	}
	if err != nil {
		return revision, found, fmt.Errorf("read %s: %w", key, err)
	}
	return revision, found, nil
}

// save writes a record whose last revision is known. done gets the new one.
func (r records) save(key string, v any, revision uint64, done func(revision uint64, err error)) {
	data, err := json.Marshal(v)
	if err != nil {
		done(0, err)
		return
	}
	r.append.append(&nats.Msg{
		Subject: r.subject(key), Data: data,
		Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(revision, 10)}},
	}, func(seq uint64, err error) {
		if errorCode(err) == errLastSequence {
			err = errConflict
		}
		done(seq, err)
	})
}

// saveNow is save, waiting for it.
func (r records) saveNow(key string, v any, revision uint64) (uint64, error) {
	type result struct {
		revision uint64
		err      error
	}
	c := make(chan result, 1)
	r.save(key, v, revision, func(rev uint64, err error) { c <- result{rev, err} })
	res := <-c
	if res.err != nil {
		return 0, fmt.Errorf("write %s: %w", key, res.err)
	}
	return res.revision, nil
}

// overwrite writes a record that nobody else writes, whatever its revision.
func (r records) overwrite(key string, v any, done func(error)) {
	data, err := json.Marshal(v)
	if err != nil {
		done(err)
		return
	}
	r.append.append(&nats.Msg{Subject: r.subject(key), Data: data}, func(_ uint64, err error) { done(err) })
}

// removedFor is how long the mark of a removed record stays. The core writes
// down every two minutes at the latest what it has removed for good; a record
// that had been overwritten would come back from a crash before that, were
// nothing above it.
const removedFor = 10 * time.Minute

// remove ends all records whose keys match, with NATS wildcards, and whose
// revision is not above upTo; 0: all. A record that is written meanwhile stays.
func (r records) remove(ctx context.Context, pattern string, upTo uint64) error {
	var left sync.WaitGroup
	var mu sync.Mutex
	var failed error
	err := r.each(ctx, pattern, func(key string, _ []byte, revision uint64) error {
		if upTo > 0 && revision > upTo {
			return nil
		}
		left.Add(1)
		r.append.append(&nats.Msg{Subject: r.subject(key), Header: nats.Header{
			"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(revision, 10)},
			"Nats-TTL":                            {strconv.Itoa(int(removedFor / time.Second))},
		}}, func(_ uint64, err error) {
			if err != nil && errorCode(err) != errLastSequence {
				mu.Lock()
				failed = fmt.Errorf("remove %s: %w", key, err)
				mu.Unlock()
			}
			left.Done()
		})
		return nil
	})
	left.Wait()
	return errors.Join(err, failed)
}

// purge removes the messages of a subject.
func (c *core) purge(ctx context.Context, stream, subject string) error {
	return c.request(ctx, "$JS.API.STREAM.PURGE."+stream, map[string]string{"filter": subject}, nil)
}

// each calls f for every record whose key matches a pattern and that was not
// removed.
func (r records) each(ctx context.Context, pattern string, f func(key string, value []byte, revision uint64) error) error {
	reader, err := r.c.openReader(ctx, "KV_"+r.bucket, map[string]any{
		"deliver_policy": "last_per_subject", "filter_subject": r.subject(pattern),
	})
	if err != nil {
		return err
	}
	defer reader.close()
	for {
		batch, err := reader.next(ctx)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, m := range batch {
			if len(m.Data) == 0 {
				continue
			}
			meta, err := parseReply(m.Reply)
			if err != nil {
				return err
			}
			if err := f(m.Subject[len(r.subject("")):], m.Data, meta.stream); err != nil {
				return err
			}
		}
	}
}
