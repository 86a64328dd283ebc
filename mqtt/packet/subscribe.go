package packet

// RetainHandling says when retained messages are sent for a SUBSCRIBE.
type RetainHandling uint8

// Retain handling of a subscription, MQTT 5.
const (
	RetainSend      RetainHandling = 0 // always
	RetainSendIfNew RetainHandling = 1 // if the subscription is new
	RetainIgnore    RetainHandling = 2 // never
)

// Filter is one entry of a SUBSCRIBE.
type Filter struct {
	Topic             string
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    RetainHandling
}

// Subscribe asks for subscriptions.
type Subscribe struct {
	PacketID   uint16
	Filters    []Filter
	Identifier uint32 // 0: none
	User       []UserProperty
}

// Suback answers SUBSCRIBE with one reason per filter.
type Suback struct {
	PacketID     uint16
	Reasons      []ReasonCode
	ReasonString string
	User         []UserProperty
}

// Unsubscribe ends subscriptions.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	User     []UserProperty
}

// Unsuback answers UNSUBSCRIBE; 3.x has no reasons in it.
type Unsuback struct {
	PacketID     uint16
	Reasons      []ReasonCode
	ReasonString string
	User         []UserProperty
}

// The two packets without content.
type (
	Pingreq  struct{}
	Pingresp struct{}
)
