package mqtt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// State is what one side of an MQTT session remembers of packet identifiers:
// the deliveries it has in flight, the QoS 2 publishes it has received, and
// how many of each the windows allow. It does no I/O and no locking.
//
// A token below 1<<63 always gets the same packet identifier, so a session
// that lost its memory re-sends under the identifier it used before. A token
// with the top bit set gets a free one, which Snapshot keeps.
type State struct {
	window   int // deliveries that may be in flight
	inFlight int // of them, sent on this connection
	sent     map[uint16]sent
	kept     map[uint64]uint16 // identifiers of an earlier connection, by token, until they are sent again
	next     uint16            // where the search for a free identifier goes on

	limit    int // publishes that may be unanswered; 0: no limit
	open     int // of them, received on this connection
	received map[uint16]inbound
}

// sent is a delivery in flight.
type sent struct {
	token  uint64
	stage  stage
	window bool // it takes room in the window
}

// stage is what a delivery waits for.
type stage uint8

const (
	awaitPuback stage = iota
	awaitPubrec
	awaitRelease // PUBREC came, the broker has not yet persisted that
	awaitPubcomp
)

// inbound is a QoS 2 publish whose identifier is in use.
type inbound struct {
	stage   inboundStage
	counted bool // it is one of open
}

type inboundStage uint8

const (
	publishing inboundStage = iota // the broker has not yet answered
	awaitPubrel
	forgetting // PUBREL came, the broker has not yet persisted that
)

// Receipt says what a packet is that a peer may repeat.
type Receipt uint8

// The kinds of receipts.
const (
	Fresh    Receipt = iota // the first: the broker is to be told
	Repeated                // answered before: the answer is to be sent again
	Pending                 // its answer is on its way
)

var (
	errSnapshot = errors.New("mqtt: session state is damaged")

	errUnknown   = &Error{Reason: packet.PacketIdentifierNotFound}
	errWindow    = &Error{Reason: packet.ReceiveMaximumExceeded}
	errReused    = &Error{Reason: packet.ProtocolError, Text: "packet identifier is in use [MQTT-2.2.1-3]"}
	errWrongStep = &Error{Reason: packet.ProtocolError, Text: "acknowledgement out of order [MQTT-4.3.3]"}
)

// NewState returns the state of a session without history. limit 0 does not
// bound what is received.
func NewState(window, limit int) *State {
	return &State{window: window, limit: limit}
}

// Room reports whether the window has room for another delivery.
func (s *State) Room() bool { return s.inFlight < s.window }

// Send puts a delivery in flight and returns its packet identifier; false: the
// window is full or the identifier in use.
func (s *State) Send(token uint64, qos packet.QoS) (uint16, bool) {
	if !s.Room() {
		return 0, false
	}
	id, ok := s.identifier(token)
	if !ok {
		return 0, false
	}
	next := awaitPuback
	if qos == 2 {
		next = awaitPubrec
	}
	s.put(id, sent{token, next, true})
	s.inFlight++
	return id, true
}

// Resume puts a delivery in flight whose PUBREC came on an earlier connection:
// PUBREL is to be sent. It takes no room in the window [MQTT-4.9.0-3].
func (s *State) Resume(token uint64) (uint16, bool) {
	id, ok := s.identifier(token)
	if ok {
		s.put(id, sent{token, awaitPubcomp, false})
	}
	return id, ok
}

// Cancel takes back a Send whose packet was not written.
func (s *State) Cancel(id uint16) { s.drop(id) }

func (s *State) put(id uint16, d sent) {
	if s.sent == nil {
		s.sent = make(map[uint16]sent)
	}
	s.sent[id] = d
	delete(s.kept, d.token)
}

func (s *State) drop(id uint16) {
	if s.sent[id].window {
		s.inFlight--
	}
	delete(s.sent, id)
}

func (s *State) identifier(token uint64) (uint16, bool) {
	if token>>63 == 0 {
		id := uint16(1 + token%65535)
		_, taken := s.sent[id]
		return id, !taken
	}
	if id, ok := s.kept[token]; ok {
		if _, taken := s.sent[id]; !taken {
			return id, true
		}
	}
	for range 65535 {
		if s.next++; s.next == 0 {
			s.next = 1 // 0 is no identifier [MQTT-2.2.1-3]
		}
		if _, taken := s.sent[s.next]; !taken && !s.isKept(s.next) {
			return s.next, true
		}
	}
	return 0, false
}

func (s *State) isKept(id uint16) bool {
	for _, k := range s.kept {
		if k == id {
			return true
		}
	}
	return false
}

// Acknowledge takes a PUBACK and returns the token it settles.
func (s *State) Acknowledge(id uint16) (uint64, error) { return s.settle(id, awaitPuback) }

// Reject takes a PUBREC that refuses the delivery and returns the token that
// ends with it.
func (s *State) Reject(id uint16) (uint64, error) { return s.settle(id, awaitPubrec) }

// Complete takes a PUBCOMP and returns the token it settles.
func (s *State) Complete(id uint16) (uint64, error) { return s.settle(id, awaitPubcomp) }

func (s *State) settle(id uint16, at stage) (uint64, error) {
	d, ok := s.sent[id]
	switch {
	case !ok:
		return 0, errUnknown
	case d.stage != at:
		return 0, errWrongStep
	}
	s.drop(id)
	return d.token, nil
}

// Receipted takes a PUBREC. Fresh: to be persisted, then Released.
func (s *State) Receipted(id uint16) (uint64, Receipt, error) {
	d, ok := s.sent[id]
	if !ok {
		return 0, 0, errUnknown
	}
	switch d.stage {
	case awaitPubrec:
		d.stage = awaitRelease
		s.sent[id] = d
		return d.token, Fresh, nil
	case awaitRelease:
		return d.token, Pending, nil
	case awaitPubcomp:
		return d.token, Repeated, nil
	case awaitPuback:
	}
	return 0, 0, errWrongStep
}

// Released notes that PUBREL is sent.
func (s *State) Released(id uint16) {
	if d, ok := s.sent[id]; ok {
		d.stage = awaitPubcomp
		s.sent[id] = d
	}
}

// Receive takes a PUBLISH at QoS 1 or 2.
func (s *State) Receive(id uint16, qos packet.QoS) (Receipt, error) {
	if qos == 2 {
		switch r, known := s.received[id]; {
		case known && r.stage == publishing:
			return Pending, nil
		case known && r.stage == awaitPubrel:
			return Repeated, nil // [MQTT-4.3.3-10]
		case known:
			return 0, errReused
		}
	}
	if s.limit > 0 && s.open >= s.limit {
		return 0, errWindow // [MQTT-3.3.4-7]
	}
	s.open++
	if qos == 2 {
		if s.received == nil {
			s.received = make(map[uint16]inbound)
		}
		s.received[id] = inbound{publishing, true}
	}
	return Fresh, nil
}

// Acknowledged notes that PUBACK is sent.
func (s *State) Acknowledged() { s.open-- }

// Received notes that PUBREC is sent: accepted, or with an error, which frees
// the identifier.
func (s *State) Received(id uint16, accepted bool) {
	r := s.received[id]
	if !accepted {
		s.forget(id, r)
		return
	}
	if r.stage == publishing {
		r.stage = awaitPubrel
		s.received[id] = r
	}
}

// Forget takes a PUBREL. Fresh: to be persisted, then Forgotten.
func (s *State) Forget(id uint16) (Receipt, error) {
	r, known := s.received[id]
	switch {
	case !known:
		return 0, errUnknown
	case r.stage == publishing:
		return 0, errWrongStep
	case r.stage == forgetting:
		return Pending, nil
	}
	r.stage = forgetting
	s.received[id] = r
	return Fresh, nil
}

// Forgotten notes that PUBCOMP is sent.
func (s *State) Forgotten(id uint16) { s.forget(id, s.received[id]) }

func (s *State) forget(id uint16, r inbound) {
	if r.counted {
		s.open--
	}
	delete(s.received, id)
}

const snapshotVersion = 1

// Snapshot returns what must outlive the connection: the identifiers of
// deliveries that could not be computed again, and those of QoS 2 publishes
// that were answered with PUBREC and not yet released. nil: nothing.
func (s *State) Snapshot() []byte {
	type entry struct {
		token uint64
		id    uint16
	}
	var out []entry
	for token, id := range s.kept {
		out = append(out, entry{token, id})
	}
	for id, d := range s.sent {
		if d.token>>63 == 1 {
			out = append(out, entry{d.token, id})
		}
	}
	var in []uint16
	for id, r := range s.received {
		if r.stage == awaitPubrel {
			in = append(in, id)
		}
	}
	if len(out) == 0 && len(in) == 0 {
		return nil
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.token, b.token) })
	slices.Sort(in)

	b := append(make([]byte, 0, 4+10*len(out)+2*len(in)), snapshotVersion)
	b = binary.AppendUvarint(b, uint64(len(out)))
	for _, e := range out {
		b = binary.BigEndian.AppendUint64(b, e.token)
		b = binary.BigEndian.AppendUint16(b, e.id)
	}
	for _, id := range in {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return b
}

// Restore takes over the Snapshot of an earlier connection. It is called
// before anything else.
func (s *State) Restore(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	count, n := binary.Uvarint(b[1:])
	if b[0] != snapshotVersion || n <= 0 || count > 65535 {
		return errSnapshot
	}
	if b = b[1+n:]; uint64(len(b)) < 10*count || len(b)%2 != 0 {
		return errSnapshot
	}
	s.kept = make(map[uint64]uint16, count)
	for ; count > 0; count-- {
		id := binary.BigEndian.Uint16(b[8:])
		if id == 0 {
			return errSnapshot
		}
		s.kept[binary.BigEndian.Uint64(b)] = id
		b = b[10:]
	}
	s.received = make(map[uint16]inbound, len(b)/2)
	for ; len(b) > 0; b = b[2:] {
		s.received[binary.BigEndian.Uint16(b)] = inbound{stage: awaitPubrel}
	}
	return nil
}
