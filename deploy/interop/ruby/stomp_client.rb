# stomp_client.rb VERSION: the stomp gem, Stomp::Connection and Stomp::Client.
require 'stomp'
require 'timeout'

version = ARGV[0]
queue = "/queue/ruby.#{version}"
every_byte = (0..255).map(&:chr).join.b

def same(want, got, what)
  raise "#{what}: #{got.inspect[0, 200]} instead of #{want.inspect[0, 200]}" unless want == got
end

options = {
  hosts: [{ login: 'guest', passcode: 'guest', host: '127.0.0.1', port: ENV['STOMP_PORT'].to_i }],
  reliable: false,
  connect_headers: version == '1.0' ? {} : { 'accept-version' => version, 'host' => 'localhost', 'heart-beat' => '500,500' }
}

# What names a message in an ACK, by version.
reference = lambda do |message|
  case version
  when '1.0' then [message.headers['message-id'], {}]
  when '1.1' then [message.headers['message-id'], { subscription: message.headers['subscription'] }]
  else [message.headers['ack'], {}]
  end
end
id = version == '1.0' ? {} : { id: 'r1' }
ack = ->(connection, message) { connection.ack(*reference.call(message)) }

Timeout.timeout(60) do
  connection = Stomp::Connection.new(options)
  same version, connection.protocol, 'version'
  raise 'no session' if connection.session.to_s.empty?

  # A receipt for a SEND; bodies of all kinds.
  bodies = ['hello', '', every_byte, every_byte * 4096, 'größer']
  bodies.each_with_index do |body, n|
    connection.publish(queue, body, 'n' => n.to_s, 'receipt' => "r-#{n}", 'persistent' => true)
    receipt = connection.receive
    same ['RECEIPT', "r-#{n}"], [receipt.command, receipt.headers['receipt-id']], 'receipt'
  end
  connection.subscribe(queue, { ack: 'client' }.merge(id))
  last = nil
  bodies.each_with_index do |body, n|
    last = connection.receive
    same body.b, last.body.b, "body #{n}"
    same n.to_s, last.headers['n'], 'header'
    same queue, last.headers['destination'], 'destination'
  end
  ack.call(connection, last)

  # Header values need escapes from 1.1 on.
  values = { 'url' => 'http://host:80/', 'unicode' => 'größer ≥' }
  values['lines'] = "one\ntwo:2" if version != '1.0'
  connection.publish(queue, 'headers', values)
  message = connection.receive
  values.each { |name, value| same value.b, message.headers[name].b, name }
  ack.call(connection, message)

  # Transactions.
  connection.begin('t1')
  connection.publish(queue, 'aborted', transaction: 't1')
  connection.abort('t1')
  connection.begin('t2')
  connection.publish(queue, 'committed', transaction: 't2')
  connection.commit('t2')
  message = connection.receive
  same 'committed', message.body, 'transaction'
  if version != '1.0'
    connection.nack(*reference.call(message))
    message = connection.receive
    same ['committed', 'true'], [message.body, message.headers['redelivered']], 'after a NACK'
  end
  ack.call(connection, message)

  if version != '1.0'
    beats = connection.hbrecv_count
    sleep 0.1 until connection.hbrecv_count > beats + 1
  end
  connection.unsubscribe(queue, id)
  connection.disconnect(receipt: 'bye')
  same 'bye', connection.disconnect_receipt.headers['receipt-id'], 'receipt of DISCONNECT'

  # Stomp::Client: threads and blocks. It makes an id by itself.
  client = Stomp::Client.new(options)
  got = Queue.new
  client.subscribe(queue, ack: 'client') { |m| got << m }
  receipts = Queue.new
  client.publish(queue, 'to a block', {}) { |receipt| receipts << receipt }
  same 'RECEIPT', receipts.pop.command, 'receipt'
  message = got.pop
  same 'to a block', message.body, 'body'
  client.acknowledge(message) { |receipt| receipts << receipt }
  same 'RECEIPT', receipts.pop.command, 'receipt of the ACK'
  client.close

  # A refused frame.
  connection = Stomp::Connection.new(options)
  connection.publish('nowhere', 'x')
  error = connection.receive
  same 'ERROR', error.command, 'command'
  raise 'no message' if error.headers['message'].to_s.empty?
end
