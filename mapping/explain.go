package mapping

import (
	"fmt"
	"strings"
)

// Explanation is one name in all three worlds.
type Explanation struct {
	Name        string
	Grammar     string // what Name was taken for
	Destination string // as receivers see it; "": STOMP has none for such a filter
	Topic       string // or filter; of a temporary one of one's own, the end
	Group       string
	Kind        Kind
	Rule        string
	Subjects    []Place
}

// Place is where in NATS something is.
type Place struct {
	Use     string
	Subject string
	Stream  string // "": not stored
}

// Explain says what a name is in all three worlds. A name that begins with / is
// taken for a destination, one that begins with the prefix and a dot for a
// subject, all others for a topic or filter.
func (t *Table) Explain(name string) (Explanation, error) {
	e := Explanation{Name: name, Grammar: "MQTT topic", Topic: name}
	if strings.HasPrefix(name, "/") {
		e.Grammar = "STOMP destination"
		return t.explainDestination(e)
	}
	if strings.HasPrefix(name, t.prefix+".") {
		topic, err := t.topicOfSubject(name)
		if err != nil {
			return Explanation{}, err
		}
		e.Grammar, e.Topic = "NATS subject", topic
		return t.explainTopic(e)
	}
	group, filter, shared, err := ParseShared(name)
	if err != nil {
		return Explanation{}, err
	}
	if shared || isFilter(filter) {
		if err := ValidFilter(filter); err != nil {
			return Explanation{}, err
		}
		e.Grammar, e.Topic, e.Group = "MQTT filter", filter, group
		return t.explainFilter(e)
	}
	if err := ValidTopic(name); err != nil {
		return Explanation{}, err
	}
	return t.explainTopic(e)
}

func (t *Table) explainDestination(e Explanation) (Explanation, error) {
	f, err := t.FilterFromDestination(e.Name)
	if err != nil {
		return Explanation{}, err
	}
	e.Topic, e.Kind, e.Group, e.Rule = f.Filter, f.Kind, f.Group, f.Rule
	e.Destination = e.Name
	if f.Own { // the connection decides where it is
		return e, nil
	}
	filter := f.Group != "" || isFilter(f.Filter)
	if !filter {
		e.Destination = t.Destination(f.Filter)
	}
	e.Subjects, err = t.places(f.Filter, f.Kind, filter)
	return e, err
}

func (t *Table) explainTopic(e Explanation) (Explanation, error) {
	e.Destination, e.Kind = t.Destination(e.Topic), t.Kind(e.Topic)
	n, err := t.FromDestination(e.Destination)
	if err != nil {
		return Explanation{}, err
	}
	e.Rule = n.Rule
	e.Subjects, err = t.places(e.Topic, e.Kind, false)
	return e, err
}

func (t *Table) explainFilter(e Explanation) (_ Explanation, err error) {
	e.Kind = t.Kind(e.Topic)
	e.Destination, e.Rule = t.filterDestination(e.Topic)
	if e.Subjects, err = t.places(e.Topic, e.Kind, true); err != nil {
		return Explanation{}, err
	}
	return e, nil
}

// filterDestination returns the destination that SUBSCRIBE takes for filter,
// and its rule; "": there is none.
func (t *Table) filterDestination(filter string) (destination, by string) {
	levels := splitTopic(nil, filter)
	for _, r := range t.topics {
		if r.oneWay || !r.topic.match(levels) {
			continue
		}
		d := string(r.appendDestination(nil, levels))
		if f, err := t.resolveFilter(d); err == nil && f.Filter == filter && f.Group == "" {
			return d, f.Rule
		}
	}
	return "", ""
}

// topicOfSubject inverts Subject for every root that is ours.
func (t *Table) topicOfSubject(subject string) (string, error) {
	tokens := strings.SplitN(subject, ".", 4)
	root := strings.TrimSuffix(tokens[1], "$")
	switch {
	case root == "t", root == "d", root == "n", root == "r", root == "temp":
	case root == "q" && len(tokens) > 2:
		root += "." + strings.TrimSuffix(tokens[2], "$")
	default:
		return "", fmt.Errorf("subject %s: no messages live there; below %s. there are t, d, n and r for topics, q.00 and so on for queues", quote(subject), t.prefix)
	}
	return TopicOf(t.prefix+"."+root, subject)
}

// places returns the subjects of a topic or filter.
func (t *Table) places(filter string, kind Kind, isFilter bool) ([]Place, error) {
	upper := strings.ToUpper(t.prefix)
	var places []Place
	switch {
	case kind == Temp:
		places = []Place{{"a request to the gateway of the owner", t.prefix + ".temp", ""}}
	case kind == Queue && isFilter:
		places = []Place{{"the queues, nn being their shard", t.prefix + ".q.nn", upper + "_QUEUE_nn"}}
	case kind == Queue:
		shard := fmt.Sprintf("%02d", t.shard(filter))
		places = []Place{{"the queue; native applications publish here too", t.prefix + ".q." + shard, upper + "_QUEUE_" + shard}}
	default:
		places = []Place{
			{"QoS 0, as it happens", t.prefix + ".t", ""},
			{"QoS 1 and 2", t.prefix + ".d", upper + "_LOG"},
			{"native applications publish here", t.prefix + ".n", upper + "_LOG"},
			{"the retained message", t.prefix + ".r", upper + "_RETAINED"},
		}
	}
	for i := range places {
		subjects, err := FilterSubjects(places[i].Subject, filter)
		if err != nil {
			return nil, err
		}
		places[i].Subject = strings.Join(subjects, " ")
	}
	return places, nil
}

// String returns the explanation as lines of text.
func (e Explanation) String() string {
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-19s%s\n", name, text)
		}
	}
	topic := e.Topic
	if e.Kind == Temp && !strings.HasPrefix(topic, tempPrefix) {
		topic = tempPrefix + "<gateway>/<random>/" + topic
	}
	line(e.Grammar, e.Name)
	line("STOMP", e.Destination)
	line("MQTT", topic)
	line("group", e.Group)
	line("kind", e.Kind.String())
	line("rule", e.Rule)
	for i, p := range e.Subjects {
		name := ""
		if i == 0 {
			name = "NATS"
		}
		where := p.Use
		if p.Stream != "" {
			where += ", stream " + p.Stream
		}
		line(name, p.Subject+"  ("+where+")")
	}
	return b.String()
}
