package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// rule is a compiled Rule.
type rule struct {
	text   string // as written
	number int    // from 1; 0: built in
	stomp  side
	topic  side
	kind   Kind
	group  string // "": not shared
	own    bool   // topic is relative to what the connection owns
	oneWay bool   // several destinations lead to one topic: never rendered
}

// side is one side of a rule, or an MQTT filter that is compared with one.
// Only the last part may stand for more than one level.
type side []part

type part struct {
	what partKind
	text string // literal: the level; rest and one: the name
	sep  byte   // what stands before it in a destination
	peer int    // index in the other side of the part with that name; -1: none
}

type partKind uint8

const (
	literal partKind = iota
	one              // {name} and +: any one level
	rest             // {name...}: one level that is not empty, or more levels
	tail             // #: any number of levels, none included
)

// compile checks a rule of the configuration.
func compile(r Rule, number int) (*rule, error) {
	c := &rule{text: r.STOMP + " = " + r.MQTT, number: number}
	switch r.Kind {
	case "", "topic":
	case "queue":
		c.kind = Queue
	default:
		return nil, fmt.Errorf("kind %q: write topic or queue", r.Kind)
	}
	group, filter, shared, err := ParseShared(r.MQTT)
	switch {
	case strings.HasPrefix(r.MQTT, queuePrefix):
		return nil, fmt.Errorf("mqtt %s: write the topic of the queue itself, with kind: queue", quote(r.MQTT))
	case err != nil:
		return nil, fmt.Errorf("mqtt: %w", err)
	case shared && r.Kind != "":
		return nil, errors.New("kind: leave it out, the kind of a $share/ rule is that of the topics it reads")
	case shared:
		c.group = group
	}
	if c.stomp, err = parseDestinationSide(r.STOMP); err != nil {
		return nil, fmt.Errorf("stomp %s: %w", quote(r.STOMP), err)
	}
	if c.topic, err = parseTopicSide(filter, shared); err != nil {
		return nil, fmt.Errorf("mqtt %s: %w", quote(r.MQTT), err)
	}
	return c, c.join()
}

// builtIn returns the rule /prefix/{path...} = root/{path...}.
func builtIn(prefix string, kind Kind, root ...string) *rule {
	r := &rule{text: "built in: /" + prefix + "/{path...}", kind: kind}
	for _, text := range root {
		r.topic = append(r.topic, part{text: text, peer: -1})
	}
	r.topic = append(r.topic, part{what: rest, text: "path", peer: 1})
	r.stomp = side{
		{text: prefix, sep: '/', peer: -1},
		{what: rest, text: "path", sep: '/', peer: len(root)},
	}
	return r
}

func parseDestinationSide(destination string) (side, error) {
	levels, ok := strings.CutPrefix(destination, "/")
	if !ok {
		return nil, errors.New("begin it with /")
	}
	var s side
	for sep := byte('/'); ; {
		raw, separator := levels, byte(0)
		// The dots of {name...} do not separate.
		if end := strings.IndexByte(levels, '}'); end > 0 && levels[0] == '{' {
			raw = levels[:end+1]
			if len(levels) > end+1 && !strings.ContainsRune("./", rune(levels[end+1])) {
				return nil, errors.New("a placeholder takes a whole level")
			}
		} else if i := strings.IndexAny(levels, "./"); i >= 0 {
			raw = levels[:i]
		}
		if len(raw) < len(levels) {
			separator = levels[len(raw)]
		}
		p, err := parsePart(raw)
		if err != nil {
			return nil, err
		}
		if p.what == literal {
			switch raw {
			case "*", "+", "#", ">":
				return nil, fmt.Errorf("write {name} for one level, {name...} for the rest, or %%%X for the character %s", raw, raw)
			}
			l, err := readLevel(raw, false)
			if err != nil {
				return nil, err
			}
			p.text = l.text
		}
		p.sep = sep
		s = append(s, p)
		if separator == 0 {
			break
		}
		sep, levels = separator, levels[len(raw)+1:]
	}
	switch first := s[0]; {
	case first.what != literal:
		return nil, errors.New("begin it with a prefix of its own, not with a placeholder")
	case slices.Contains(reserved, first.text):
		return nil, fmt.Errorf("/%s/ is built in and cannot be changed", first.text)
	case len(s) == 1 && first.text == "":
		return nil, errNoName
	}
	return s, s.valid()
}

func parseTopicSide(topic string, shared bool) (side, error) {
	if !shared {
		if strings.ContainsAny(topic, "+#") {
			return nil, errors.New("write {name} for one level and {name...} for the rest; + and # stand only in $share/ rules")
		}
		if err := ValidTopic(topic); err != nil {
			return nil, err
		}
	}
	if topic+"/" == tempPrefix || strings.HasPrefix(topic, tempPrefix) {
		return nil, errors.New("temporary topics belong to one connection and cannot be mapped")
	}
	var s side
	for text := range strings.SplitSeq(topic, "/") {
		p, err := parsePart(text)
		if err != nil {
			return nil, err
		}
		s = append(s, p)
	}
	return s, s.valid()
}

// parsePart parses one level of a rule; wildcards stay literals.
func parsePart(raw string) (part, error) {
	name, opened := strings.CutPrefix(raw, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed {
		if strings.ContainsAny(raw, "{}") {
			return part{}, errors.New("a placeholder takes a whole level")
		}
		return part{text: raw, peer: -1}, nil
	}
	p := part{what: one, peer: -1}
	if p.text, closed = strings.CutSuffix(name, "..."); closed {
		p.what = rest
	}
	if p.text == "" || strings.ContainsAny(p.text, "{}.") {
		return part{}, fmt.Errorf("the placeholder %s needs a plain name", raw)
	}
	return p, nil
}

// valid checks what concerns the parts of a side together.
func (s side) valid() error {
	for i, p := range s {
		if p.what == rest && i < len(s)-1 {
			return fmt.Errorf("{%s...} stands only at the end", p.text)
		}
		for _, q := range s[:i] {
			if p.what != literal && q.what != literal && p.text == q.text {
				return fmt.Errorf("{%s} stands twice", p.text)
			}
		}
	}
	return nil
}

// join connects the placeholders of both sides.
func (r *rule) join() error {
	for i := range r.topic {
		p := &r.topic[i]
		if p.what == literal {
			continue
		}
		j := slices.IndexFunc(r.stomp, func(q part) bool { return q.what == p.what && q.text == p.text })
		if j < 0 {
			return fmt.Errorf("mqtt: {%s} does not stand in the same form in stomp, so nothing says what to put there", p.text)
		}
		p.peer, r.stomp[j].peer = j, i
	}
	r.oneWay = r.group != "" || slices.ContainsFunc(r.stomp, func(p part) bool { return p.what != literal && p.peer < 0 })
	return nil
}

// match reports whether levels, of a destination or topic, fit s.
func (s side) match(levels []level) bool {
	last := len(s) - 1
	if s[last].what == rest {
		if len(levels) < len(s) || len(levels) == len(s) && levels[last] == (level{}) {
			return false
		}
		s = s[:last]
	} else if len(levels) != len(s) {
		return false
	}
	for i, p := range s {
		switch l := levels[i]; {
		case l.wild == '#', p.what == literal && (l.wild != 0 || l.text != p.text):
			return false
		}
	}
	return true
}

// appendTopic appends the topic or filter of a destination that matches.
func (r *rule) appendTopic(dst []byte, levels []level) []byte {
	for i, p := range r.topic {
		if i > 0 {
			dst = append(dst, '/')
		}
		switch p.what {
		case literal:
			dst = append(dst, p.text...)
		case rest:
			dst = appendTopic(dst, levels[p.peer:])
		default:
			dst = appendTopic(dst, levels[p.peer:p.peer+1])
		}
	}
	return dst
}

// appendDestination appends the destination of a topic that matches. A rest is
// written with the separator that stands before it in the rule.
func (r *rule) appendDestination(dst []byte, levels []level) []byte {
	for _, p := range r.stomp {
		switch p.what {
		case literal:
			dst = appendLevel(append(dst, p.sep), p.text)
		case rest:
			for _, l := range levels[p.peer:] {
				dst = appendWritten(append(dst, p.sep), l)
			}
		default:
			dst = appendWritten(append(dst, p.sep), levels[p.peer])
		}
	}
	return protectEnd(dst)
}

// remainder returns what {name...} stands for in a destination that matches.
func (r *rule) remainder(levels []level) string {
	if last := len(r.stomp) - 1; r.stomp[last].what == rest {
		return string(appendTopic(nil, levels[last:]))
	}
	return ""
}
