// Sends messages both ways between @stomp/stompjs and MQTT.js over WebSocket.
// Usage: node websocket.mjs STOMP-URL MQTT-URL; the exit status says how it went.
import assert from "node:assert";
import { once } from "node:events";
import { Client } from "@stomp/stompjs";
import mqtt from "mqtt";
import WebSocket from "ws";

const [stompURL, mqttURL] = process.argv.slice(2);
setTimeout(() => { console.error("no answer in 20 s"); process.exit(1); }, 20_000).unref();

const bodies = [
  Buffer.from("on"),
  Buffer.from("21 °C"),
  Buffer.from("温度 ".repeat(100_000)), // spread over many messages
  Buffer.from([0, 255, 254, 10, 0]), // no UTF-8, so no text message
];

// exchange sends each body from one client to the other and compares it.
async function exchange(name, send, received) {
  for (const body of bodies) {
    const next = new Promise((resolve) => { received.resolve = resolve; });
    send(body);
    assert.deepStrictEqual(Buffer.from(await next), body, name);
  }
}

async function together(protocolVersion, forceBinaryWSFrames) {
  const sensor = mqtt.connect(mqttURL, { protocolVersion });
  await once(sensor, "connect");
  const toSensor = {};
  sensor.on("message", (_, payload) => toSensor.resolve(payload));
  await sensor.subscribeAsync("sensors/t1/set", { qos: 1 });

  const app = new Client({
    webSocketFactory: () => new WebSocket(stompURL, ["v12.stomp", "v11.stomp", "v10.stomp"]),
    forceBinaryWSFrames,
    splitLargeFrames: !forceBinaryWSFrames,
    reconnectDelay: 0,
    onStompError: (frame) => { throw new Error(frame.headers.message); },
  });
  await new Promise((resolve) => { app.onConnect = resolve; app.activate(); });
  const toApp = {};
  await new Promise((resolve) => {
    app.watchForReceipt("subscribed", resolve);
    app.subscribe("/topic/sensors.*.temperature", (message) => toApp.resolve(message.binaryBody), { receipt: "subscribed" });
  });

  await exchange("STOMP to MQTT", (binaryBody) => app.publish({ destination: "/topic/sensors.t1.set", binaryBody }), toSensor);
  await exchange("MQTT to STOMP", (body) => sensor.publish("sensors/t1/temperature", body, { qos: 1 }), toApp);
  await app.deactivate();
  await sensor.endAsync();
}

await together(5, false);
await together(4, true);
process.exit(0);
