"""paho_responder.py TOPIC: answers one request over MQTT 5, in upper case."""

import os
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def on_message(client, userdata, request):
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = request.properties.CorrelationData
    answer.ContentType = request.properties.ContentType
    sent = client.publish(
        request.properties.ResponseTopic, request.payload.upper(), qos=1, properties=answer
    )
    userdata["answer"] = sent.mid


def on_publish(client, userdata, mid):
    if mid == userdata.get("answer"):
        client.disconnect()


client = mqtt.Client(protocol=mqtt.MQTTv5, userdata={})
client.on_connect = lambda client, *_: client.subscribe(sys.argv[1], qos=1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = on_message
client.on_publish = on_publish
client.connect("127.0.0.1", int(os.environ["MQTT_PORT"]))
client.loop_forever()
