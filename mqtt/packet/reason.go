package packet

import "fmt"

// ReasonCode is the outcome of an operation; 0x80 and above are failures. [MQTT-2.4]
type ReasonCode uint8

// The reason codes of MQTT 5. // MQTT 5, 2.4
const (
	Success                     ReasonCode = 0x00
	GrantedQoS0                 ReasonCode = 0x00
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	DisconnectWithWill          ReasonCode = 0x04
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	ContinueAuthentication      ReasonCode = 0x18
	ReAuthenticate              ReasonCode = 0x19
	UnspecifiedError            ReasonCode = 0x80
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedProtocolVersion  ReasonCode = 0x84
	ClientIdentifierNotValid    ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8A
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIdentifierInUse       ReasonCode = 0x91
	PacketIdentifierNotFound    ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9A
	QoSNotSupported             ReasonCode = 0x9B
	UseAnotherServer            ReasonCode = 0x9C
	ServerMoved                 ReasonCode = 0x9D
	SharedNotSupported          ReasonCode = 0x9E
	ConnectionRateExceeded      ReasonCode = 0x9F
	MaximumConnectTime          ReasonCode = 0xA0
	IdentifiersNotSupported     ReasonCode = 0xA1
	WildcardNotSupported        ReasonCode = 0xA2
)

// reasons has the name of each reason code, the packets it may stand in, and
// the return code that says it best in a CONNACK of 3.x. // MQTT 5, 2.4; 3.1.1, table 3.1
var reasons = [...]struct {
	name       string
	in         kinds
	returnCode byte
}{
	Success:                     {"success", set(connack, puback, pubrec, pubrel, pubcomp, suback, unsuback, disconnect, auth), 0},
	GrantedQoS1:                 {"granted QoS 1", set(suback), 0},
	GrantedQoS2:                 {"granted QoS 2", set(suback), 0},
	DisconnectWithWill:          {"disconnect with will message", set(disconnect), 0},
	NoMatchingSubscribers:       {"no matching subscribers", set(puback, pubrec), 0},
	NoSubscriptionExisted:       {"no subscription existed", set(unsuback), 0},
	ContinueAuthentication:      {"continue authentication", set(auth), 0},
	ReAuthenticate:              {"re-authenticate", set(auth), 0},
	UnspecifiedError:            {"unspecified error", set(connack, puback, pubrec, suback, unsuback, disconnect), 3},
	MalformedPacket:             {"malformed packet", set(connack, disconnect), 5},
	ProtocolError:               {"protocol error", set(connack, disconnect), 5},
	ImplementationSpecificError: {"implementation specific error", set(connack, puback, pubrec, suback, unsuback, disconnect), 3},
	UnsupportedProtocolVersion:  {"unsupported protocol version", set(connack), 1},
	ClientIdentifierNotValid:    {"client identifier not valid", set(connack), 2},
	BadUserNameOrPassword:       {"bad user name or password", set(connack), 4},
	NotAuthorized:               {"not authorized", set(connack, puback, pubrec, suback, unsuback, disconnect), 5},
	ServerUnavailable:           {"server unavailable", set(connack), 3},
	ServerBusy:                  {"server busy", set(connack, disconnect), 3},
	Banned:                      {"banned", set(connack), 5},
	ServerShuttingDown:          {"server shutting down", set(disconnect), 3},
	BadAuthenticationMethod:     {"bad authentication method", set(connack, disconnect), 4},
	KeepAliveTimeout:            {"keep alive timeout", set(disconnect), 3},
	SessionTakenOver:            {"session taken over", set(disconnect), 3},
	TopicFilterInvalid:          {"topic filter invalid", set(suback, unsuback, disconnect), 5},
	TopicNameInvalid:            {"topic name invalid", set(connack, puback, pubrec, disconnect), 5},
	PacketIdentifierInUse:       {"packet identifier in use", set(puback, pubrec, suback, unsuback), 5},
	PacketIdentifierNotFound:    {"packet identifier not found", set(pubrel, pubcomp), 5},
	ReceiveMaximumExceeded:      {"receive maximum exceeded", set(disconnect), 5},
	TopicAliasInvalid:           {"topic alias invalid", set(disconnect), 5},
	PacketTooLarge:              {"packet too large", set(connack, disconnect), 5},
	MessageRateTooHigh:          {"message rate too high", set(disconnect), 3},
	QuotaExceeded:               {"quota exceeded", set(connack, puback, pubrec, suback, disconnect), 3},
	AdministrativeAction:        {"administrative action", set(disconnect), 3},
	PayloadFormatInvalid:        {"payload format invalid", set(connack, puback, pubrec, disconnect), 5},
	RetainNotSupported:          {"retain not supported", set(connack, disconnect), 5},
	QoSNotSupported:             {"QoS not supported", set(connack, disconnect), 5},
	UseAnotherServer:            {"use another server", set(connack, disconnect), 3},
	ServerMoved:                 {"server moved", set(connack, disconnect), 3},
	SharedNotSupported:          {"shared subscriptions not supported", set(suback, disconnect), 5},
	ConnectionRateExceeded:      {"connection rate exceeded", set(connack, disconnect), 3},
	MaximumConnectTime:          {"maximum connect time", set(disconnect), 3},
	IdentifiersNotSupported:     {"subscription identifiers not supported", set(suback, disconnect), 5},
	WildcardNotSupported:        {"wildcard subscriptions not supported", set(suback, disconnect), 5},
}

// String returns the name of the specification, in words.
func (r ReasonCode) String() string {
	if int(r) < len(reasons) && reasons[r].name != "" {
		return reasons[r].name
	}
	return fmt.Sprintf("reason 0x%02X", uint8(r))
}

// ValidIn reports whether a packet of p's type may carry r in MQTT 5; Append
// refuses one that carries another.
func (r ReasonCode) ValidIn(p Packet) bool { return r.in(p.kind()) }

func (r ReasonCode) in(k kind) bool { return int(r) < len(reasons) && reasons[r].in.has(k) }

// misplaced is the error of a packet that carries r and must not.
func (r ReasonCode) misplaced() *Error {
	return &Error{ProtocolError, "the reason code belongs to another packet [2.4]: " + r.String()}
}

// ReturnCode returns the CONNACK return code of 3.x that says r best: 0 when
// r is no failure, otherwise 1 to 5.
func (r ReasonCode) ReturnCode() byte {
	switch {
	case r < 0x80:
		return 0
	case int(r) < len(reasons):
		return reasons[r].returnCode
	}
	return 3
}

// returnCodes are the reasons for the return codes of 3.x.
var returnCodes = [...]ReasonCode{
	Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
}
