package packet

import "time"

// UserProperty is a name and value of an MQTT 5 packet; names may repeat and
// their order is kept.
type UserProperty struct{ Name, Value string }

// Connect is the first packet of a client. [MQTT-3.1]
// Pointers among properties are nil when the property is absent.
type Connect struct {
	Version    Version
	CleanStart bool          // Clean Session in 3.x
	KeepAlive  time.Duration // whole seconds up to 65,535; 0: none
	ClientID   string
	Username   *string
	Password   []byte // nil: absent
	Will       *Will

	// MQTT 5 properties.
	SessionExpiry   *time.Duration // Forever for 0xFFFFFFFF
	ReceiveMaximum  uint16         // 0: absent, means 65,535
	MaximumPacket   uint32         // 0: absent, means no limit
	TopicAliasMax   uint16
	RequestResponse bool  // Request Response Information
	RequestProblem  *bool // Request Problem Information; nil means true
	User            []UserProperty
	AuthMethod      string
	AuthData        []byte
}

func (p *Connect) kind() kind { return connect }

func (p *Connect) check(v Version) *Error {
	switch {
	case p.Version != v:
		return &Error{ProtocolError, "the version is " + p.Version.String() + " in a connection of version " + v.String()}
	case v == V311 && p.Username == nil && p.Password != nil:
		return &Error{MalformedPacket, "there is a password without a user name [3.1.1 MQTT-3.1.2-22]"}
	case v == V311 && p.ClientID == "" && !p.CleanStart:
		return &Error{ClientIdentifierNotValid, "a session to be kept has no client identifier [3.1.1 MQTT-3.1.3-8]"}
	case v == V5 && p.AuthMethod == "" && p.AuthData != nil:
		return &Error{ProtocolError, "there is authentication data without a method [3.1.2.11.10]"}
	case p.Will != nil:
		return p.Will.check(v)
	}
	return nil
}

func (p *Connect) decode(d *decoder) {
	d.protocol()
	p.Version = d.v
	flags := d.byte()
	if flags&1 != 0 && d.v != V31 {
		d.fail(MalformedPacket, "the reserved flag is set [MQTT-3.1.2-3]")
	}
	p.CleanStart = flags&2 != 0
	if flags&4 != 0 {
		p.Will = &Will{QoS: QoS(flags >> 3 & 3), Retain: flags&0x20 != 0}
	} else if flags&0x38 != 0 && d.v != V31 {
		d.fail(MalformedPacket, "there are will flags without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13]")
	}
	p.KeepAlive = d.seconds16()
	for id := range d.properties(connect) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = new(d.expiry())
		case propReceiveMaximum:
			p.ReceiveMaximum = d.nonZero16()
		case propMaximumPacket:
			p.MaximumPacket = d.nonZero32()
		case propTopicAliasMax:
			p.TopicAliasMax = d.uint16()
		case propRequestResponse:
			p.RequestResponse = d.bool()
		case propRequestProblem:
			p.RequestProblem = new(d.bool())
		case propUser:
			p.User = append(p.User, d.user())
		case propAuthMethod:
			p.AuthMethod = d.string()
		case propAuthData:
			p.AuthData = d.binary()
		}
	}
	p.ClientID = d.string()
	if p.Will != nil {
		p.Will.decode(d)
	}
	if flags&0x80 != 0 && !d.omitted() {
		p.Username = new(d.string())
	}
	if flags&0x40 != 0 && !d.omitted() {
		p.Password = d.binary()
	}
}

// protocol takes name and level of the protocol and sets the version of the
// connection; for a level we do not know, the one to answer in.
func (d *decoder) protocol() {
	name, level := d.string(), d.byte()
	switch {
	case name == "MQIsdp" && level == 3, name == "MQTT" && (level == 4 || level == 5):
		d.v = Version(level)
	case name != "MQIsdp" && name != "MQTT":
		d.fail(ProtocolError, "the protocol name is unknown [MQTT-3.1.2-1]")
	default:
		d.v = V311 // also for the levels above 0x80, by which bridges try out a peer
		if level > 5 && level < 0x80 {
			d.v = V5
		}
		d.fail(UnsupportedProtocolVersion, "the protocol level is not supported [MQTT-3.1.2-2]")
	}
}

// omitted reports that 3.1 ends here, although flags announce more: its
// remaining length takes precedence over them. // MQTT 3.1, 3.1
func (d *decoder) omitted() bool { return d.v == V31 && len(d.b) == 0 }

func (p *Connect) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	if v == V31 {
		e.string("MQIsdp")
	} else {
		e.string("MQTT")
	}
	e.byte(byte(v))
	e.byte(p.flags())
	e.seconds16(p.KeepAlive)
	e.properties(func() {
		e.expiryProperty(p.SessionExpiry)
		e.uint16Property(propReceiveMaximum, p.ReceiveMaximum)
		e.uint32Property(propMaximumPacket, p.MaximumPacket)
		e.uint16Property(propTopicAliasMax, p.TopicAliasMax)
		if p.RequestResponse {
			e.boolProperty(propRequestResponse, &p.RequestResponse)
		}
		e.boolProperty(propRequestProblem, p.RequestProblem)
		e.userProperties(p.User)
		e.stringProperty(propAuthMethod, p.AuthMethod)
		e.binaryProperty(propAuthData, p.AuthData)
	})
	e.string(p.ClientID)
	if p.Will != nil {
		p.Will.append(&e)
	}
	if p.Username != nil {
		e.string(*p.Username)
	}
	if p.Password != nil {
		e.binary(p.Password)
	}
	return e.packet(byte(connect)<<4, 0)
}

func (p *Connect) flags() byte {
	var flags byte
	if p.CleanStart {
		flags |= 2
	}
	if w := p.Will; w != nil {
		flags |= 4 | byte(w.QoS)<<3
		if w.Retain {
			flags |= 0x20
		}
	}
	if p.Password != nil {
		flags |= 0x40
	}
	if p.Username != nil {
		flags |= 0x80
	}
	return flags
}

// Forever is an interval of 0xFFFFFFFF seconds.
const Forever time.Duration = 1<<63 - 1

// Will is the message the server publishes for a client that is gone.
type Will struct {
	Topic   string
	Payload []byte
	QoS     QoS
	Retain  bool

	Delay      time.Duration // MQTT 5, whole seconds
	Properties PublishProperties
}

func (w *Will) check(v Version) *Error {
	switch {
	case w.QoS > 2:
		return &Error{MalformedPacket, "the will has QoS 3 [MQTT-3.1.2-12]"}
	case v == V5 && (w.Properties.TopicAlias != 0 || w.Properties.Identifiers != nil):
		return &Error{ProtocolError, "the will has a topic alias or subscription identifiers [3.1.3.2]"}
	}
	if err := checkTopicName(w.Topic); err != nil {
		return err
	}
	return w.Properties.check(v)
}

func (w *Will) decode(d *decoder) {
	for id := range d.properties(willProperties) {
		if id == propWillDelay {
			w.Delay = d.seconds32()
		} else {
			w.Properties.decode(d, id)
		}
	}
	w.Topic = d.string()
	w.Payload = d.binary()
}

func (w *Will) append(e *encoder) {
	e.properties(func() {
		if w.Delay != 0 {
			e.byte(propWillDelay)
			e.seconds32(w.Delay)
		}
		w.Properties.append(e)
	})
	e.string(w.Topic)
	e.binary(w.Payload)
}

// Connack answers CONNECT.
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode // written as its return code to 3.x

	// MQTT 5 properties.
	SessionExpiry     *time.Duration
	ReceiveMaximum    uint16
	MaximumQoS        *QoS
	RetainAvailable   *bool
	MaximumPacket     uint32
	AssignedClientID  string
	TopicAliasMax     uint16
	ReasonString      string
	User              []UserProperty
	WildcardAvailable *bool
	IdentifiersAvail  *bool
	SharedAvailable   *bool
	ServerKeepAlive   *time.Duration
	ResponseInfo      string
	ServerReference   string
	AuthMethod        string
	AuthData          []byte
}

func (p *Connack) kind() kind { return connack }

func (p *Connack) check(v Version) *Error {
	switch {
	case p.SessionPresent && p.Reason != Success:
		return &Error{ProtocolError, "a refusal has a session present [MQTT-3.2.2-6]"}
	case v == V5 && !p.Reason.in(connack), p.Reason != Success && p.Reason < 0x80:
		return p.Reason.misplaced()
	case v == V5 && p.MaximumQoS != nil && *p.MaximumQoS > 1:
		return &Error{ProtocolError, "the maximum QoS is neither 0 nor 1 [3.2.2.3.4]"}
	}
	return nil
}

func (p *Connack) decode(d *decoder) {
	flags := d.byte()
	if flags > 1 && d.v != V31 {
		d.fail(MalformedPacket, "a reserved acknowledge flag is set [MQTT-3.2.2-1]")
	}
	p.SessionPresent = flags&1 != 0 && d.v != V31 // reserved in 3.1
	p.Reason = ReasonCode(d.byte())
	if d.v != V5 {
		if int(p.Reason) >= len(returnCodes) {
			d.fail(MalformedPacket, "the return code is reserved")
			return
		}
		p.Reason = returnCodes[p.Reason]
	}
	for id := range d.properties(connack) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = new(d.expiry())
		case propReceiveMaximum:
			p.ReceiveMaximum = d.nonZero16()
		case propMaximumQoS:
			p.MaximumQoS = new(QoS(d.byte()))
		case propRetainAvailable:
			p.RetainAvailable = new(d.bool())
		case propMaximumPacket:
			p.MaximumPacket = d.nonZero32()
		case propAssignedClientID:
			p.AssignedClientID = d.string()
		case propTopicAliasMax:
			p.TopicAliasMax = d.uint16()
		case propReasonString:
			p.ReasonString = d.string()
		case propUser:
			p.User = append(p.User, d.user())
		case propWildcardAvailable:
			p.WildcardAvailable = new(d.bool())
		case propIdentifierAvailable:
			p.IdentifiersAvail = new(d.bool())
		case propSharedAvailable:
			p.SharedAvailable = new(d.bool())
		case propServerKeepAlive:
			p.ServerKeepAlive = new(d.seconds16())
		case propResponseInfo:
			p.ResponseInfo = d.string()
		case propServerReference:
			p.ServerReference = d.string()
		case propAuthMethod:
			p.AuthMethod = d.string()
		case propAuthData:
			p.AuthData = d.binary()
		}
	}
}

func (p *Connack) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.bool(p.SessionPresent && v != V31)
	if v == V5 {
		e.byte(byte(p.Reason))
	} else {
		e.byte(p.Reason.ReturnCode())
	}
	e.properties(func() {
		e.expiryProperty(p.SessionExpiry)
		e.uint16Property(propReceiveMaximum, p.ReceiveMaximum)
		if p.MaximumQoS != nil {
			e.byte(propMaximumQoS)
			e.byte(byte(*p.MaximumQoS))
		}
		e.boolProperty(propRetainAvailable, p.RetainAvailable)
		e.uint32Property(propMaximumPacket, p.MaximumPacket)
		e.stringProperty(propAssignedClientID, p.AssignedClientID)
		e.uint16Property(propTopicAliasMax, p.TopicAliasMax)
		e.stringProperty(propReasonString, p.ReasonString)
		e.userProperties(p.User)
		e.boolProperty(propWildcardAvailable, p.WildcardAvailable)
		e.boolProperty(propIdentifierAvailable, p.IdentifiersAvail)
		e.boolProperty(propSharedAvailable, p.SharedAvailable)
		if p.ServerKeepAlive != nil {
			e.byte(propServerKeepAlive)
			e.seconds16(*p.ServerKeepAlive)
		}
		e.stringProperty(propResponseInfo, p.ResponseInfo)
		e.stringProperty(propServerReference, p.ServerReference)
		e.stringProperty(propAuthMethod, p.AuthMethod)
		e.binaryProperty(propAuthData, p.AuthData)
	})
	return e.packet(byte(connack)<<4, 0)
}

// Disconnect ends a connection; servers send it in MQTT 5 only.
type Disconnect struct {
	Reason          ReasonCode
	SessionExpiry   *time.Duration
	ReasonString    string
	User            []UserProperty
	ServerReference string
}

func (p *Disconnect) kind() kind { return disconnect }

func (p *Disconnect) check(v Version) *Error {
	switch {
	case v != V5 && p.Reason != Success:
		return &Error{ProtocolError, "the reason cannot be told before MQTT 5: " + p.Reason.String()}
	case !p.Reason.in(disconnect):
		return p.Reason.misplaced()
	}
	return nil
}

func (p *Disconnect) decode(d *decoder) {
	if d.v != V5 || len(d.b) == 0 {
		return
	}
	p.Reason = ReasonCode(d.byte())
	if len(d.b) == 0 {
		return
	}
	for id := range d.properties(disconnect) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = new(d.expiry())
		case propReasonString:
			p.ReasonString = d.string()
		case propUser:
			p.User = append(p.User, d.user())
		case propServerReference:
			p.ServerReference = d.string()
		}
	}
}

func (p *Disconnect) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.outcome(p.Reason, func() {
		e.expiryProperty(p.SessionExpiry)
		e.stringProperty(propReasonString, p.ReasonString)
		e.userProperties(p.User)
		e.stringProperty(propServerReference, p.ServerReference)
	})
	return e.packet(byte(disconnect)<<4, 0)
}

// Auth is a step of enhanced authentication, MQTT 5 only.
type Auth struct {
	Reason       ReasonCode
	Method       string
	Data         []byte
	ReasonString string
	User         []UserProperty
}

func (p *Auth) kind() kind { return auth }

func (p *Auth) check(v Version) *Error {
	switch {
	case v != V5:
		return &Error{ProtocolError, "there is no such packet before MQTT 5"}
	case !p.Reason.in(auth):
		return p.Reason.misplaced()
	case p.Method == "" && (p.Reason != Success || p.Data != nil || p.ReasonString != "" || p.User != nil):
		return &Error{ProtocolError, "the authentication method is missing [3.15.2.2.2]"}
	}
	return nil
}

func (p *Auth) decode(d *decoder) {
	if len(d.b) == 0 {
		return // success, no properties // MQTT 5, 3.15.2.1
	}
	p.Reason = ReasonCode(d.byte())
	for id := range d.properties(auth) {
		switch id {
		case propAuthMethod:
			p.Method = d.string()
		case propAuthData:
			p.Data = d.binary()
		case propReasonString:
			p.ReasonString = d.string()
		case propUser:
			p.User = append(p.User, d.user())
		}
	}
}

func (p *Auth) append(dst []byte, v Version) ([]byte, error) {
	e := newEncoder(dst, v)
	e.outcome(p.Reason, func() {
		e.stringProperty(propAuthMethod, p.Method)
		e.binaryProperty(propAuthData, p.Data)
		e.stringProperty(propReasonString, p.ReasonString)
		e.userProperties(p.User)
	})
	return e.packet(byte(auth)<<4, 0)
}
