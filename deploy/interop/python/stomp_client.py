"""stomp_client.py VERSION: stomp.py from CONNECT to DISCONNECT."""

import os
import queue
import sys

import stomp

version = sys.argv[1]
Connection = {
    "1.0": stomp.Connection10,
    "1.1": stomp.Connection11,
    "1.2": stomp.Connection12,
}[version]
broker = [("127.0.0.1", int(os.environ["STOMP_PORT"]))]
destination = "/queue/stomp.py." + version
EVERY_BYTE = bytes(range(256))


class Inbox(stomp.ConnectionListener):
    def __init__(self):
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.errors = queue.Queue()
        self.beats = queue.Queue()
        self.ended = queue.Queue()

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_heartbeat(self):
        self.beats.put(None)

    def on_heartbeat_timeout(self):
        self.errors.put("no heart-beat came")

    def on_disconnected(self):
        self.ended.put(None)


def connect(headers=None, **options):
    connection = Connection(broker, auto_decode=False, **options)
    inbox = Inbox()
    connection.set_listener("", inbox)
    connection.connect("guest", "guest", wait=True, headers=headers)
    return connection, inbox


def message(inbox):
    return inbox.messages.get(timeout=30)


def receipt(inbox, want):
    got = inbox.receipts.get(timeout=30)
    assert got == want, f"receipt {got!r} instead of {want!r}"


def reference(frame):
    """What names a message in an ACK or NACK, by version."""
    if version == "1.0":
        return [frame.headers["message-id"]]
    if version == "1.1":
        return [frame.headers["message-id"], frame.headers["subscription"]]
    return [frame.headers["ack"]]


# Without and with headers of the application.
connection, inbox = connect()
connection.disconnect(receipt="bye")
receipt(inbox, "bye")
connection, inbox = connect(headers={"client-id": "stomp.py-" + version})

# Messages, receipts, bodies of all kinds.
connection.subscribe(destination, id="s1", ack="auto", headers={"receipt": "sub"})
receipt(inbox, "sub")
for number, body in enumerate([b"", b"hello", EVERY_BYTE, EVERY_BYTE * 4096]):
    connection.send(destination, body, "application/octet-stream", headers={"n": number}, receipt=f"r{number}")
    receipt(inbox, f"r{number}")
    frame = message(inbox)
    assert frame.body == body or (not body and not frame.body), f"body {number} is damaged"
    assert frame.headers["content-type"] == "application/octet-stream"
    assert frame.headers["n"] == str(number)
    assert frame.headers["destination"] == destination

# Headers need escapes from 1.1 on.
values = {"url": "http://host:80/?q=1", "unicode": "größer ≥ 20 °C"}
if version != "1.0":
    values["path"] = "C:\\new"
    values["two lines"] = "one\ntwo: 2\\n"
if version == "1.2":
    values["dos"] = "one\r\ntwo"
connection.send(destination, "x", headers=dict(values))
headers = message(inbox).headers
for name, value in values.items():
    assert headers[name] == value, f"{name}: {headers[name]!r} instead of {value!r}"
connection.unsubscribe(id="s1")

# One acknowledgement at a time.
for body in ["first", "second", "third"]:
    connection.send(destination, body, headers={"persistent": "true"})
connection.subscribe(destination, id="s2", ack="client-individual", headers={"prefetch-count": "1"})
frame = message(inbox)
assert frame.body == b"first"
if version != "1.0":
    connection.nack(*reference(frame))
    frame = message(inbox)
    assert frame.body == b"first" and frame.headers["redelivered"] == "true"
connection.ack(*reference(frame))
frame = message(inbox)
assert frame.body == b"second", frame.body

# Transactions.
lost = connection.begin()
connection.send(destination, "aborted", transaction=lost)
connection.ack(*reference(frame), transaction=lost)
connection.abort(lost)
work = connection.begin()
connection.send(destination, "committed", transaction=work)
connection.ack(*reference(frame), transaction=work)
connection.commit(work)
for want in [b"third", b"committed"]:
    frame = message(inbox)
    assert frame.body == want, frame.body
    connection.ack(*reference(frame))
connection.unsubscribe(id="s2")
connection.disconnect(receipt="end")
receipt(inbox, "end")
assert inbox.messages.empty() and inbox.errors.empty()

# An ERROR and what follows it.
connection, inbox = connect()
connection.send("no prefix", "x", receipt="never")
error = inbox.errors.get(timeout=30)
assert error.headers["receipt-id"] == "never" and error.headers["message"], error.headers
inbox.ended.get(timeout=30)

# Silence is no reason to end a connection, with heart-beats.
if version != "1.0":
    connection, inbox = connect(heartbeats=(500, 500), heart_beat_receive_scale=8)
    for _ in range(3):
        inbox.beats.get(timeout=30)
    connection.subscribe(destination, id="s3")
    connection.send(destination, "still here")
    assert message(inbox).body == b"still here"
    connection.disconnect(receipt="end")
    receipt(inbox, "end")
    assert inbox.errors.empty(), inbox.errors.get()
