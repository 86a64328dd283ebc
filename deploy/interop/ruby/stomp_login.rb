# stomp_login.rb PORT CERTIFICATE USER PASSWORD: logs in over TLS, or fails.
require 'stomp'

port, certificate, user, password = ARGV
connection = Stomp::Connection.new(
  hosts: [{ login: user, passcode: password, host: '127.0.0.1', port: port.to_i, ssl: Stomp::SSLParams.new(ts_files: certificate) }],
  reliable: false, connect_headers: { 'accept-version' => '1.2', 'host' => 'localhost' }
)
connection.publish('/topic/login', 'hello', receipt: 'r')
exit connection.receive.command == 'RECEIPT'
