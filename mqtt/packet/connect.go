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

// Disconnect ends a connection; servers send it in MQTT 5 only.
type Disconnect struct {
	Reason          ReasonCode
	SessionExpiry   *time.Duration
	ReasonString    string
	User            []UserProperty
	ServerReference string
}

// Auth is a step of enhanced authentication, MQTT 5 only.
type Auth struct {
	Reason       ReasonCode
	Method       string
	Data         []byte
	ReasonString string
	User         []UserProperty
}
