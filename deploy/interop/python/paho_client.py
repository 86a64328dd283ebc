"""paho_client.py VERSION: paho-mqtt in MQTT 3.1 (3), 3.1.1 (4) or 5.0 (5)."""

import os
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

version = int(sys.argv[1])
root = f"paho/{version}"
EVERY_BYTE = bytes(range(256))


class Party:
    """A client whose callbacks can be waited for."""

    def __init__(self, name, clean=True, expiry=0, will=None):
        self.events = {kind: queue.Queue() for kind in ("connected", "subscribed", "message", "published", "ended")}
        session = {} if version == 5 else {"clean_session": clean}
        self.client = client = mqtt.Client(f"{name}-{version}", protocol=version, **session)
        client.on_connect = lambda client, data, flags, reason, *_: self.put("connected", (flags, reason))
        client.on_subscribe = lambda client, data, mid, granted, *_: self.put("subscribed", granted)
        client.on_message = lambda client, data, message: self.put("message", message)
        client.on_publish = lambda client, data, mid: self.put("published", mid)
        client.on_disconnect = lambda client, data, reason, *_: self.put("ended", reason)
        if will:
            client.will_set(*will)
        properties = Properties(PacketTypes.CONNECT)
        options = {}
        if version == 5:
            properties.SessionExpiryInterval = expiry
            options = {"clean_start": clean, "properties": properties}
        client.connect("127.0.0.1", int(os.environ["MQTT_PORT"]), **options)
        client.loop_start()
        self.flags, reason = self.get("connected")
        assert reason == 0, reason

    def put(self, kind, event):
        self.events[kind].put(event)

    def get(self, kind):
        return self.events[kind].get(timeout=30)

    def subscribe(self, *args, **options):
        self.client.subscribe(*args, **options)
        return [int(str(code)) if version < 5 else code.value for code in self.get("subscribed")]

    def publish(self, *args, **options):
        self.client.publish(*args, **options)
        self.get("published")

    def message(self, topic, payload):
        got = self.get("message")
        assert (got.topic, got.payload) == (topic, payload), (got.topic, got.payload[:40])
        return got

    def quiet(self):
        """Nothing is on its way: what we send ourselves comes first."""
        self.subscribe(root + "/quiet", 1)
        self.publish(root + "/quiet", "quiet", qos=1)
        self.message(root + "/quiet", b"quiet")

    def end(self):
        self.client.disconnect()
        self.get("ended")
        self.client.loop_stop()


# Every QoS out and back, bodies of all kinds.
a = Party("a")
assert not (a.flags["session present"])
assert a.subscribe([(root + "/qos/0", 0), (root + "/qos/1", 1), (root + "/qos/2", 2), (root + "/all/#", 2)]) == [0, 1, 2, 2]
for payload in (b"", b"hello", EVERY_BYTE, EVERY_BYTE * 4096):
    for qos in range(3):
        a.publish(f"{root}/qos/{qos}", payload, qos=qos)
        assert a.message(f"{root}/qos/{qos}", payload).qos == qos
        a.publish(f"{root}/all/{qos}/x", payload, qos=qos)
        assert a.message(f"{root}/all/{qos}/x", payload).qos == qos

# Wildcards, and what is no longer subscribed.
a.subscribe(f"{root}/+/wild/#", 1)
a.publish(f"{root}/x/wild", "parent", qos=1)
a.message(f"{root}/x/wild", b"parent")
a.client.unsubscribe(f"{root}/+/wild/#")
a.publish(f"{root}/x/wild", "nobody", qos=1)
a.quiet()

# Retained messages.
a.publish(root + "/retained", "first", qos=1, retain=True)
a.publish(root + "/retained", "second", qos=2, retain=True)
a.subscribe(root + "/retained", 2)
assert a.message(root + "/retained", b"second").retain
a.publish(root + "/retained", b"", qos=1, retain=True)
assert not a.message(root + "/retained", b"").retain
a.subscribe(root + "/retained", 2)
a.quiet()

# A thousand messages, more than fit in any window. They have a sender of their
# own, because paho loses count of what it sent for each QoS 2 that it gets.
sender = Party("sender")
a.subscribe(root + "/many", 2)
for n in range(1000):
    sender.client.publish(root + "/many", str(n), qos=n % 3)
by_qos = {0: [], 1: [], 2: []}
for _ in range(1000):
    got = a.get("message")
    by_qos[got.qos].append(int(got.payload))
for qos, numbers in by_qos.items():
    assert numbers == list(range(qos, 1000, 3)), f"QoS {qos} is out of order"

# A session that goes and comes back.
b = Party("b", clean=False, expiry=600)
assert not b.flags["session present"]
b.subscribe(root + "/session", 2)
b.end()
for n in range(150):  # more than are in flight at a time
    sender.publish(root + "/session", str(n), qos=1 + n % 2)
b = Party("b", clean=False, expiry=600)
assert bool(b.flags["session present"]) == (version > 3)
got = [b.get("message") for _ in range(150)]
for qos in (1, 2):
    numbers = [int(m.payload) for m in got if m.qos == qos]
    assert numbers == list(range(qos - 1, 150, 2)), f"QoS {qos}: {numbers}"

# The same client id again: the newer connection stays. A will for the older.
a.subscribe(root + "/will", 1)
c = Party("c", will=(root + "/will", "c is gone", 1, False))
c.client.reconnect_delay_set(600, 600)
d = Party("c")
a.message(root + "/will", b"c is gone")
c.get("ended")
c.client.loop_stop()
d.end()
b.end()
b = Party("b", clean=True)
assert not b.flags["session present"]

if version == 5:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("k", "1"), ("k", "2"), ("a b", "größer")]
    properties.ContentType = "text/plain"
    properties.ResponseTopic = root + "/answers"
    properties.CorrelationData = EVERY_BYTE
    properties.MessageExpiryInterval = 60
    properties.PayloadFormatIndicator = 1
    a.subscribe(root + "/properties", options=SubscribeOptions(qos=1))
    a.publish(root + "/properties", "x", qos=1, properties=properties)
    got = a.message(root + "/properties", b"x").properties
    assert got.UserProperty == properties.UserProperty, got.UserProperty
    assert got.ContentType == "text/plain" and got.ResponseTopic == root + "/answers"
    assert got.CorrelationData == EVERY_BYTE
    assert 55 < got.MessageExpiryInterval <= 60 and got.PayloadFormatIndicator == 1

    # Options of a subscription.
    a.subscribe(root + "/own", options=SubscribeOptions(qos=1, noLocal=True))
    a.publish(root + "/own", "not for myself", qos=1)
    a.publish(root + "/kept", "kept", qos=1, retain=True)
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 7
    a.client.subscribe(
        root + "/kept",
        options=SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND),
        properties=identifier,
    )
    a.get("subscribed")
    a.publish(root + "/kept", "as published", qos=1, retain=True)
    got = a.message(root + "/kept", b"as published")
    assert got.retain and got.properties.SubscriptionIdentifier == [7]
    a.quiet()

for party in (a, b, sender):
    party.end()
