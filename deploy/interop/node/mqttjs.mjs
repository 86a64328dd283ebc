// mqttjs.mjs VERSION: mqtt.js over WebSocket in MQTT 3.1 (3), 3.1.1 (4) or 5.0 (5).
import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { connectAsync } from 'mqtt';

const version = Number(process.argv[2]);
const root = `mqttjs/${version}`;
const everyByte = Buffer.from(Uint8Array.from({ length: 256 }, (_, i) => i));

const base = {
  protocolVersion: version,
  protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
  reconnectPeriod: 0,
  connectTimeout: 30_000,
};

/** A client and what it gets. */
class Party extends EventEmitter {
  #waiting = [];
  static async connect(options) {
    const party = new Party();
    party.client = await connectAsync(process.env.MQTT_URL, { ...base, ...options }, false);
    party.listen(party.client);
    return party;
  }
  listen(client) {
    client.on('message', (topic, payload, packet) => {
      this.#waiting.push(packet);
      this.emit('arrived');
    });
  }
  async message(topic, payload) {
    const signal = AbortSignal.timeout(30_000);
    while (!this.#waiting.length) await once(this, 'arrived', { signal });
    const packet = this.#waiting.shift();
    assert.equal(packet.topic, topic);
    if (payload !== undefined) assert.ok(Buffer.from(payload).equals(packet.payload), `the payload is ${packet.payload.subarray(0, 40)}`);
    return packet;
  }
}

const a = await Party.connect({ clientId: `mqttjs-a-${version}`, clean: true });
const granted = await a.client.subscribeAsync({ [`${root}/0/#`]: { qos: 0 }, [`${root}/1/#`]: { qos: 1 }, [`${root}/2/+`]: { qos: 2 } });
assert.deepEqual(granted.map((g) => g.qos), [0, 1, 2]);
for (const payload of [Buffer.alloc(0), Buffer.from('hello'), everyByte, Buffer.alloc(1 << 20, everyByte)]) {
  for (const qos of [0, 1, 2]) {
    await a.client.publishAsync(`${root}/${qos}/x`, payload, { qos });
    assert.equal((await a.message(`${root}/${qos}/x`, payload)).qos, qos);
  }
}

// Retained.
await a.client.publishAsync(`${root}/kept`, 'kept', { qos: 1, retain: true });
await a.client.subscribeAsync(`${root}/kept`, { qos: 1 });
assert.equal((await a.message(`${root}/kept`, 'kept')).retain, true);
await a.client.publishAsync(`${root}/kept`, '', { qos: 1, retain: true });
await a.message(`${root}/kept`, '');

// A session that goes away and comes back.
const session = { clientId: `mqttjs-b-${version}`, clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 600 } }) };
let b = await Party.connect(session);
await b.client.subscribeAsync(`${root}/away`, { qos: 1 });
await b.client.endAsync();
for (let i = 0; i < 20; i++) await a.client.publishAsync(`${root}/away`, `${i}`, { qos: 1 });
b = new Party();
const { connect } = await import('mqtt');
b.client = connect(process.env.MQTT_URL, { ...base, ...session });
b.listen(b.client); // before the messages that the session has
for (let i = 0; i < 20; i++) await b.message(`${root}/away`, `${i}`);
await b.client.endAsync();

// A will.
await a.client.subscribeAsync(`${root}/will`, { qos: 1 });
const c = await Party.connect({ clientId: `mqttjs-c-${version}`, will: { topic: `${root}/will`, payload: 'gone', qos: 1, retain: false } });
c.client.on('error', () => {});
c.client.stream.destroy();
await a.message(`${root}/will`, 'gone');

if (version === 5) {
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 60,
    contentType: 'text/plain',
    responseTopic: `${root}/answers`,
    correlationData: everyByte,
    userProperties: { colour: ['blue', 'red'], größe: '1' },
  };
  await a.client.subscribeAsync(`${root}/properties`, { qos: 1, properties: { subscriptionIdentifier: 300 } });
  await a.client.publishAsync(`${root}/properties`, 'x', { qos: 1, properties });
  const got = (await a.message(`${root}/properties`, 'x')).properties;
  assert.deepEqual({ ...got.userProperties }, properties.userProperties);
  assert.deepEqual(got.correlationData, everyByte);
  assert.equal(got.contentType, 'text/plain');
  assert.equal(got.responseTopic, `${root}/answers`);
  assert.equal(got.payloadFormatIndicator, true);
  assert.equal(got.subscriptionIdentifier, 300);
  assert.ok(got.messageExpiryInterval > 55);
  await a.client.subscribeAsync(`${root}/own`, { qos: 1, nl: true });
  await a.client.publishAsync(`${root}/own`, 'not for myself', { qos: 1 });
}

// What was unsubscribed does not come.
await a.client.unsubscribeAsync(`${root}/1/#`);
await a.client.publishAsync(`${root}/1/x`, 'nobody', { qos: 1 });
await a.client.publishAsync(`${root}/2/x`, 'last', { qos: 2 });
await a.message(`${root}/2/x`, 'last');
await a.client.endAsync();
