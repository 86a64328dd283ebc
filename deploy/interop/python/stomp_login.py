"""stomp_login.py PORT CERTIFICATE USER PASSWORD: logs in over TLS, or fails."""

import sys

import stomp

port, certificate, user, password = sys.argv[1:]
broker = [("127.0.0.1", int(port))]
connection = stomp.Connection12(broker, reconnect_attempts_max=1)
connection.set_ssl(for_hosts=broker, ca_certs=certificate)
connection.connect(user, password, wait=True)
connection.send("/topic/login", "hello")
connection.disconnect()
