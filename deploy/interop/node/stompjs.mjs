// stompjs.mjs VERSION FRAMES: @stomp/stompjs over WebSocket, in one version of
// STOMP, with text or binary frames or large frames split up.
import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { Client, Versions } from '@stomp/stompjs';
import { WebSocket } from 'ws';

const [version, frames] = process.argv.slice(2);
const queue = `/queue/stompjs.${version}.${frames}`;
const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i);
const large = 'größer 0123456789 '.repeat(60_000); // over 1 MiB

/** Events that can be waited for, each kind in order. */
class Inbox extends EventEmitter {
  #waiting = {};
  put(kind, event) {
    (this.#waiting[kind] ??= []).push(event);
    this.emit(kind);
  }
  async take(kind) {
    const signal = AbortSignal.timeout(30_000);
    while (!this.#waiting[kind]?.length) await once(this, kind, { signal });
    return this.#waiting[kind].shift();
  }
}

function connect(inbox, more = {}) {
  const client = new Client({
    webSocketFactory: () => new WebSocket(process.env.STOMP_URL, [`v${version.replace('.', '')}.stomp`]),
    stompVersions: new Versions([version]),
    connectHeaders: { login: 'guest', passcode: 'guest', host: 'localhost' },
    heartbeatIncoming: 500,
    heartbeatOutgoing: 500,
    heartbeatToleranceMultiplier: 8, // machines under test are slow
    reconnectDelay: 0,
    forceBinaryWSFrames: frames === 'binary',
    splitLargeFrames: frames === 'split',
    onConnect: (frame) => inbox.put('connected', frame),
    debug: (text) => text === '<<< PONG' && inbox.put('beat', text),
    onStompError: (frame) => inbox.put('refused', frame),
    onWebSocketClose: (event) => inbox.put('closed', event),
    onHeartbeatLost: () => inbox.put('refused', new Error('no heart-beat came')),
    ...more,
  });
  client.activate();
  return client;
}

const inbox = new Inbox();
const client = connect(inbox);
const connected = await inbox.take('connected');
assert.equal(connected.headers.version, version);
assert.ok(connected.headers.session);

const receipt = (act) => {
  const id = Math.random().toString(36).slice(2);
  const done = new Promise((resolve) => client.watchForReceipt(id, resolve));
  act({ receipt: id });
  return done;
};

// Bodies and headers.
let subscription;
await receipt((headers) => {
  subscription = client.subscribe(queue, (message) => inbox.put('message', message), headers);
});
for (const body of ['hello', '', 'größer ≥ 20 °C', large]) {
  const headers = { number: '7', 'content-type': 'text/plain' };
  if (version === '1.2') headers.special = 'a:b\nc\\d\r';
  await receipt((r) => client.publish({ destination: queue, body, headers: { ...headers, ...r } }));
  const message = await inbox.take('message');
  assert.ok(message.body === body, `the body ${body.slice(0, 10)} is damaged`);
  assert.equal(message.headers.destination, queue);
  for (const [name, value] of Object.entries(headers)) assert.equal(message.headers[name], value);
}
await receipt((headers) => client.publish({ destination: queue, binaryBody: everyByte, headers: { ...headers, 'content-type': 'application/octet-stream' } }));
const binary = await inbox.take('message');
assert.deepEqual(binary.binaryBody, everyByte);
await receipt((headers) => subscription.unsubscribe(headers));

// Acknowledgements, from 1.1 on also negative.
await receipt((headers) => {
  client.subscribe(queue, (message) => inbox.put('message', message), { ...headers, ack: 'client-individual', 'prefetch-count': '1', id: 'individual' });
});
client.publish({ destination: queue, body: 'first' });
client.publish({ destination: queue, body: 'second' });
let message = await inbox.take('message');
assert.equal(message.body, 'first');
if (version !== '1.0') {
  message.nack();
  message = await inbox.take('message');
  assert.equal(message.body, 'first');
  assert.equal(message.headers.redelivered, 'true');
}
message.ack();
message = await inbox.take('message');
assert.equal(message.body, 'second');

// Transactions.
const lost = client.begin();
client.publish({ destination: queue, body: 'aborted', headers: { transaction: lost.id } });
lost.abort();
const work = client.begin();
client.publish({ destination: queue, body: 'committed', headers: { transaction: work.id } });
message.ack({ transaction: work.id });
work.commit();
message = await inbox.take('message');
assert.equal(message.body, 'committed');
message.ack();

// Silence, with heart-beats on both sides.
if (version !== '1.0') {
  for (let i = 0; i < 3; i++) await inbox.take('beat');
  assert.ok(client.connected, 'an idle connection was closed');
}
await client.deactivate(); // with a receipt for DISCONNECT
await inbox.take('closed');

// A refused frame.
const other = connect(inbox);
await inbox.take('connected');
other.publish({ destination: 'nowhere', body: 'x' });
const error = await inbox.take('refused');
assert.ok(error.headers.message);
await inbox.take('closed');
await other.deactivate();
