package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/causeway-mq/causeway/mapping"
)

// memberRecord says that a session subscribes to a group, online or not
// ("g.<group>.<key>"). The group's consumers live while there is one.
type memberRecord struct {
	Gateway string `json:"gateway"` // where it joined
	Group   string `json:"group"`
	Filter  string `json:"filter"`
}

func groupKey(group, filter string) string { return mapping.Key(group + "\x00" + filter) }

// joinedGroup notes a membership. done comes when it is written.
func (x *sessions) joinedGroup(key, group, filter string, done func(error)) {
	x.records.overwrite("g."+groupKey(group, filter)+"."+key, memberRecord{x.b.name, group, filter}, done)
}

// leftGroup ends a membership; the last one takes the consumers with it. That
// is done even when ctx, of a connection perhaps, has ended.
func (x *sessions) leftGroup(ctx context.Context, key, group, filter string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	name := "g." + groupKey(group, filter)
	err := x.records.remove(ctx, name+"."+key, 0)
	others := false
	if err == nil {
		err = x.records.each(ctx, name+".*", func(string, []byte, uint64) error {
			others = true
			return nil
		})
	}
	if err == nil && !others {
		err = x.b.queues.dropGroup(group, filter)
	}
	if err != nil {
		x.b.logger.Warn("shared subscription not cleaned up", "filter", filter, "error", err)
	}
}

// leaveGroups ends all memberships of a session, likewise.
func (x *sessions) leaveGroups(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	defer cancel()
	members, err := x.members(ctx, "g.*."+key)
	for _, m := range members {
		x.leftGroup(ctx, key, m.Group, m.Filter)
	}
	return err
}

// sweepMembers ends the memberships of connections that an earlier run of this
// gateway had: those without a session that outlived it.
func (x *sessions) sweepMembers(ctx context.Context) error {
	members, err := x.members(ctx, "g.*.*")
	if err != nil {
		return err
	}
	for name, m := range members {
		if strings.Contains(name, "."+durableOwner) {
			continue // it outlives every connection
		}
		key := name[len("g."+groupKey(m.Group, m.Filter)+"."):]
		var rec sessionRecord
		_, session, err := x.records.load(ctx, "s."+key, &rec)
		if err != nil {
			return err
		}
		if m.Gateway == x.b.name && !session {
			x.leftGroup(ctx, key, m.Group, m.Filter)
		}
	}
	return nil
}

// members reads the memberships whose keys match a pattern.
func (x *sessions) members(ctx context.Context, pattern string) (map[string]memberRecord, error) {
	members := make(map[string]memberRecord)
	err := x.records.each(ctx, pattern, func(key string, value []byte, _ uint64) error {
		var m memberRecord
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		members[key] = m
		return nil
	})
	return members, err
}
