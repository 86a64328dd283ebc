package mapping

import "strings"

// filterSide makes a valid MQTT filter comparable with the sides of rules.
func filterSide(filter string) side {
	var s side
	for text := range strings.SplitSeq(filter, "/") {
		switch text {
		case "+":
			s = append(s, part{what: one})
		case "#":
			s = append(s, part{what: tail})
		default:
			s = append(s, part{text: text})
		}
	}
	return s
}

// cut returns the parts that stand for one level each, and what follows them;
// literal: nothing.
func (s side) cut() (fixed side, end partKind) {
	if last := s[len(s)-1].what; last == rest || last == tail {
		return s[:len(s)-1], last
	}
	return s, literal
}

// overlaps reports whether something matches both sides.
func (s side) overlaps(o side) bool {
	a, endA := s.cut()
	b, endB := o.cut()
	if len(a) > len(b) {
		a, endA, b, endB = b, endB, a, endA
	}
	for i, p := range a {
		if p.what == literal && b[i].what == literal && p.text != b[i].text {
			return false
		}
	}
	switch more := b[len(a):]; {
	case len(more) == 0:
		return endA == endB || endA != literal && endB != literal || endA == tail || endB == tail
	case endA == rest:
		return len(more) > 1 || endB != literal || more[0].what != literal || more[0].text != ""
	default:
		return endA == tail
	}
}

// covers reports whether s, which ends in no #, matches all that o matches.
func (s side) covers(o side) bool {
	a, endA := s.cut()
	b, endB := o.cut()
	if len(a) > len(b) {
		return false
	}
	for i, p := range a {
		if p.what == literal && (b[i].what != literal || p.text != b[i].text) {
			return false
		}
	}
	more := b[len(a):]
	switch {
	case endA == literal:
		return len(more) == 0 && endB == literal
	case len(more) == 0:
		return endB == rest
	case len(more) == 1 && endB != rest:
		return more[0].what == literal && more[0].text != ""
	}
	return true
}

// meet returns a side that covers everything that matches both of two sides
// that overlap, and little else.
func (s side) meet(o side) side {
	a, endA := s.cut()
	b, endB := o.cut()
	if len(a) > len(b) {
		a, endA, b, endB = b, endB, a, endA
	}
	m := append(side(nil), b...)
	for i, p := range a {
		if p.what == literal {
			m[i] = p
		}
	}
	if len(a) == len(b) {
		switch {
		case endA == literal || endB == literal:
			endB = literal
		case endA == rest || endB == rest:
			endB = rest
		}
	}
	if endB != literal {
		m = append(m, part{what: endB})
	}
	return m
}
