// Package mapping is the names of messages and what is left of them between
// protocols: it converts between STOMP destinations, MQTT topics and NATS
// subjects, and between an Envelope and its header on NATS. All of it is pure.
//
// The topic stands in the middle. Subject and TopicOf are one pair of
// translations, Table.FromDestination and Table.Destination the other.
package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is what a topic means: who gets a message sent to it.
type Kind uint8

// The kinds.
const (
	Topic Kind = iota // every subscription gets a copy
	Queue             // stored until one consumer acknowledges it
	Temp              // private to the connection that owns it, never stored
)

// String returns the word used in configuration and by "map explain".
func (k Kind) String() string { return [...]string{"topic", "queue", "temp"}[k] }

// Rule maps destinations to topics, as in the configuration. Placeholders:
// {name} is one level, {name...} the rest.
type Rule struct {
	STOMP string `koanf:"stomp"`
	MQTT  string `koanf:"mqtt"`
	Kind  string `koanf:"kind"` // "topic" (default) or "queue"
}

// Options is what a Table is made of.
type Options struct {
	Rules     []Rule
	QueueRoot string // the topic below which queues are; "": queue

	// What Explain prints besides.
	Prefix string                 // the first token of our subjects; "": cw
	Shard  func(topic string) int // the shard of a queue; nil: one of 16
}

// Table is the compiled rules. It is safe for concurrent use.
type Table struct {
	stomp     []*rule // in the order in which destinations are matched
	topics    []*rule // in the order in which topics are; without receive-only rules
	user      []*rule
	queueRoot string
	prefix    string
	shard     func(string) int

	names        cache[Name]
	destinations cache[string]
}

// The first levels of destinations that no rule can change.
const (
	tempQueue       = "temp-queue"
	tempTopic       = "temp-topic"
	remoteTempQueue = "remote-temp-queue" // everybody's name of somebody's temporary queue
	mqttTopic       = "mqtt-topic"        // the topic of that name, whatever the rules say
)

var reserved = []string{tempQueue, tempTopic, remoteTempQueue, mqttTopic}

var errNoName = errors.New("names nothing: a name must follow the prefix")

// New compiles rules. Its error names every rule that is wrong, by its number
// from 1, and says what to do.
func New(o Options) (*Table, error) {
	t := &Table{queueRoot: o.QueueRoot, prefix: o.Prefix, shard: o.Shard}
	if t.queueRoot == "" {
		t.queueRoot = "queue"
	}
	if t.prefix == "" {
		t.prefix = "cw"
	}
	if t.shard == nil {
		t.shard = func(topic string) int { return Shard(topic, 16) }
	}
	err := ValidTopic(t.queueRoot)
	if err == nil && (t.queueRoot[0] == '$' || slices.Contains(strings.Split(t.queueRoot, "/"), "")) {
		err = fmt.Errorf("topic %s: begin it with another character than $, and leave no level empty", quote(t.queueRoot))
	}
	if err != nil {
		return nil, fmt.Errorf("queues.root: %w", err)
	}
	var errs []error
	for i, r := range o.Rules {
		c, err := compile(r, i+1)
		if err != nil {
			errs = append(errs, fmt.Errorf("mapping rule %d: %w", i+1, err))
		}
		t.user = append(t.user, c)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.order()
	return t, nil
}

// order puts the built-in rules around the others.
func (t *Table) order() {
	ownQueue, ownTopic := builtIn(tempQueue, Temp), builtIn(tempTopic, Temp)
	ownQueue.own, ownTopic.own = true, true
	remote := builtIn(remoteTempQueue, Temp, strings.TrimSuffix(tempPrefix, "/"))
	exact := builtIn(mqttTopic, Topic)
	queue := builtIn("queue", Queue, strings.Split(t.queueRoot, "/")...)
	topic := builtIn("topic", Topic)

	t.stomp = slices.Concat([]*rule{ownQueue, ownTopic, remote, exact}, t.user, []*rule{queue, topic})
	t.topics = append(t.topics, remote)
	for _, r := range t.user {
		if r.group == "" {
			t.topics = append(t.topics, r)
		}
	}
	t.topics = append(t.topics, queue, topic, exact)
}

// Name is what a destination of SEND means.
type Name struct {
	Topic     string
	Kind      Kind
	Own       bool   // Topic is relative to what the connection owns: $temp/<gateway>/<random>/
	Rule      string // as written, or "built in: /queue/{path...}"
	Remainder string // what {name...} stands for
}

// FromDestination returns what a SEND to destination means. The error says
// what is wrong and what to write, in words for the client.
func (t *Table) FromDestination(destination string) (Name, error) {
	if n, ok := t.names.get(destination); ok {
		return n, nil
	}
	n, err := t.resolve(destination)
	if err != nil {
		return Name{}, fmt.Errorf("destination %s: %w", quote(destination), err)
	}
	t.names.put(destination, n)
	return n, nil
}

func (t *Table) resolve(destination string) (Name, error) {
	var buf [16]level
	levels, r, err := t.match(buf[:0], destination, false)
	if err != nil {
		return Name{}, err
	}
	if r.group != "" {
		return Name{}, fmt.Errorf("receive-only: a SUBSCRIBE joins the group %s; send to what the topics %s are called", quote(r.group), quote(r.topicText()))
	}
	topic := string(r.appendTopic(nil, levels))
	if err := t.misplaced(r, topic); err != nil {
		return Name{}, err
	}
	if err := ValidTopic(topic); err != nil {
		return Name{}, err
	}
	n := Name{Topic: topic, Kind: Temp, Own: r.own, Rule: r.text, Remainder: r.remainder(levels)}
	if !r.own {
		n.Kind = t.Kind(topic)
	}
	return n, nil
}

// match finds the rule of a destination.
func (t *Table) match(dst []level, destination string, wildcards bool) ([]level, *rule, error) {
	levels, err := splitDestination(dst, destination, wildcards)
	if err != nil {
		if strings.HasPrefix(destination, "/") {
			return nil, nil, err
		}
		return nil, nil, t.unknownPrefix()
	}
	for _, r := range t.stomp {
		if r.stomp.match(levels) {
			return levels, r, nil
		}
	}
	for _, r := range t.stomp {
		if levels[0].wild == 0 && r.stomp[0].text == levels[0].text {
			if len(levels) == 1 || len(levels) == 2 && levels[1] == (level{}) {
				return nil, nil, errNoName
			}
			return nil, nil, fmt.Errorf("no rule for such a name below /%s/", r.stomp[0].text)
		}
	}
	return nil, nil, t.unknownPrefix()
}

func (t *Table) unknownPrefix() error {
	var prefixes []string
	for _, r := range t.stomp {
		name := r.stomp[0].text
		if p := "/" + name + "/"; name != mqttTopic && name != remoteTempQueue && !slices.Contains(prefixes, p) {
			prefixes = append(prefixes, p)
		}
	}
	slices.Sort(prefixes)
	return fmt.Errorf("unknown prefix: begin it with %s", strings.Join(prefixes, " "))
}

// misplaced refuses topics and filters that have a prefix of their own.
func (t *Table) misplaced(r *rule, topic string) error {
	if r.own || r.kind == Temp {
		return nil
	}
	if strings.HasPrefix(topic, sharePrefix) {
		return errors.New("a shared subscription has no destination: SUBSCRIBE to /topic/FILTER with the header group")
	}
	if rest, ok := strings.CutPrefix(topic, tempPrefix); ok && rest != "" {
		return errors.New("temporary topics are private: use /temp-queue/NAME for one of your own, the reply-to of a message for another's")
	}
	if r != t.stomp[len(t.stomp)-1] { // only /topic/ has a better alternative
		return nil
	}
	if name, ok := strings.CutPrefix(topic, t.queueRoot+"/"); ok && name != "" {
		return fmt.Errorf("queues have a prefix of their own: use %s", quote("/queue/"+name))
	}
	return nil
}

func (r *rule) topicText() string {
	_, text, _ := strings.Cut(r.text, " = ")
	_, filter, _, _ := ParseShared(text)
	return filter
}

// Filter is what a destination of SUBSCRIBE means.
type Filter struct {
	Filter string // an MQTT filter, not a shared one
	Kind   Kind
	Group  string // the group that the subscription joins, by a rule; "": none
	Own    bool   // Filter is relative to what the connection owns
	Rule   string // as Name's
}

// FilterFromDestination returns what a SUBSCRIBE to destination means: * and +
// are one level, # or > at the end the rest.
func (t *Table) FilterFromDestination(destination string) (Filter, error) {
	f, err := t.resolveFilter(destination)
	if err != nil {
		return Filter{}, fmt.Errorf("destination %s: %w", quote(destination), err)
	}
	return f, nil
}

func (t *Table) resolveFilter(destination string) (Filter, error) {
	levels, r, err := t.match(nil, destination, true)
	if err != nil {
		return Filter{}, err
	}
	filter := string(r.appendTopic(nil, levels))
	if err := t.misplaced(r, filter); err != nil {
		return Filter{}, err
	}
	if err := ValidFilter(filter); err != nil {
		return Filter{}, err
	}
	f := Filter{Filter: filter, Kind: Temp, Group: r.group, Own: r.own, Rule: r.text}
	if !r.own {
		f.Kind = t.Kind(filter)
	}
	return f, nil
}

// Destination returns the destination of a topic. Sent to, it reaches the same
// topic; subscribed to, that topic only. Every valid topic has one.
func (t *Table) Destination(topic string) string {
	if d, ok := t.destinations.get(topic); ok {
		return d
	}
	d := t.render(topic)
	t.destinations.put(topic, d)
	return d
}

func (t *Table) render(topic string) string {
	var buf [16]level
	levels := splitTopic(buf[:0], topic)
	for _, r := range t.topics {
		if r.oneWay || !r.topic.match(levels) {
			continue
		}
		d := string(r.appendDestination(nil, levels))
		if len(t.user) == 0 {
			return d
		}
		// Another rule may come before this one on the way back.
		if n, err := t.resolve(d); err == nil && n.Topic == topic {
			return d
		}
	}
	return ""
}

// Kind returns the kind of a topic: that of the first rule that matches it. Of a
// filter it returns the kind of what a subscription to it consumes: queues when
// it stands below them as a whole, although "queue/#" matches the topic "queue",
// too. What a filter matches besides is for Covers to say.
func (t *Table) Kind(topic string) Kind {
	var buf [16]level
	levels := splitTopic(buf[:0], topic)
	for _, r := range t.topics {
		if r.topic.match(levels) {
			return r.kind
		}
	}
	return Topic
}

// Covers reports whether a plain MQTT filter matches topics of kind topic, and
// whether it matches queues. It may say so needlessly where several rules have
// to be taken together to see that it does not.
func (t *Table) Covers(filter string) (topics, queues bool) {
	want := filterSide(filter)
	for i, r := range t.topics {
		if !want.overlaps(r.topic) || isHidden(want, r.topic) {
			continue
		}
		both := want.meet(r.topic)
		if slices.ContainsFunc(t.topics[:i], func(earlier *rule) bool { return earlier.topic.covers(both) }) {
			continue
		}
		topics = topics || r.kind == Topic
		queues = queues || r.kind == Queue
	}
	return topics, queues
}

// isHidden reports whether a rule's topics begin with $ and the filter with a
// wildcard, which does not see them. // [MQTT-4.7.2-1]
func isHidden(filter, topic side) bool {
	return filter[0].what != literal && topic[0].what == literal && strings.HasPrefix(topic[0].text, "$")
}
