package mapping

import (
	"fmt"
	"strings"
)

// Severity is how bad a Finding is.
type Severity uint8

// The severities.
const (
	Warning Severity = iota
	Error            // "causeway check" refuses the configuration
)

// String returns the word that is printed.
func (s Severity) String() string { return [...]string{"warning", "error"}[s] }

// Finding is what Lint has to say about a rule.
type Finding struct {
	Severity Severity
	Rule     int // from 1
	Text     string
}

// String returns the finding as one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: mapping rule %d: %s", f.Severity, f.Rule, f.Text)
}

// Lint reports rules that never apply, overlap, work in one direction only, or
// give one topic two kinds, in the order of the rules.
func (t *Table) Lint() []Finding {
	var findings []Finding
	for i, r := range t.user {
		report := func(s Severity, format string, args ...any) {
			findings = append(findings, Finding{s, r.number, fmt.Sprintf(format, args...)})
		}
		t.lintAgainst(r, t.user[:i], report)
		t.lintAlone(r, report)
	}
	return findings
}

// lintAgainst compares a rule with those before it, which come first.
func (t *Table) lintAgainst(r *rule, before []*rule, report func(Severity, string, ...any)) {
	unsent, unrendered := 0, 0 // numbers of the rules that take all
	for _, e := range before {
		if r.group == "" && e.group == "" && e.kind != r.kind && e.topic.overlaps(r.topic) {
			report(Error, "rule %d gives some of its topics the kind %s, this one the kind %s; give both one kind or different topics", e.number, e.kind, r.kind)
		}
		if unsent == 0 && e.stomp.covers(r.stomp) {
			unsent = e.number
		}
		if unrendered == 0 && e.group == "" && !e.oneWay && e.topic.covers(r.topic) {
			unrendered = e.number
		}
	}
	switch {
	case unsent > 0:
		report(Warning, "unreachable: rule %d takes every destination that this one matches; move this one before it", unsent)
		return
	case unrendered > 0 && !r.oneWay:
		report(Warning, "one-way: its destinations are read, but its topics are shown as those of rule %d", unrendered)
		return
	}
	for _, e := range before {
		if e.stomp.overlaps(r.stomp) {
			report(Warning, "overlaps with rule %d, which takes the destinations that both match, such as %s", e.number, example(e.stomp.meet(r.stomp)))
		}
	}
}

// lintAlone judges a rule together with the built-in ones.
func (t *Table) lintAlone(r *rule, report func(Severity, string, ...any)) {
	if r.group != "" {
		return
	}
	if r.oneWay {
		var lost []string
		for _, p := range r.stomp {
			if p.what != literal && p.peer < 0 {
				lost = append(lost, "{"+p.text+"}")
			}
		}
		report(Warning, "one-way: mqtt lacks %s, so its topics are shown as other destinations", strings.Join(lost, ", "))
	}
	queues := filterSide(t.queueRoot + "/#")
	queues[len(queues)-1].what = rest
	if r.kind != Queue && r.topic.overlaps(queues) {
		report(Error, "topics below %s/ are queues; give the rule kind: queue or another topic", t.queueRoot)
	}
}

// example returns a destination that a side matches.
func example(s side) string {
	var b []byte
	for _, p := range s {
		sep := p.sep
		if sep == 0 {
			sep = '/'
		}
		if p.what == literal {
			b = appendLevel(append(b, sep), p.text)
		} else {
			b = append(append(b, sep), 'x')
		}
	}
	return string(b)
}
