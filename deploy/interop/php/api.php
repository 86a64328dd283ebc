<?php
// The whole API of the extension, as objects and as functions.

declare(strict_types=1);
require __DIR__ . '/check.php';

// With login and passcode, whatever they are.
$stomp = new Stomp(broker(), 'guest', 'guest');
same(true, strlen($stomp->getSessionId()) > 0, 'a session id');
$stomp->setReadTimeout(5, 500_000);
same(['sec' => 5, 'usec' => 500_000], $stomp->getReadTimeout(), 'read timeout');

// A frame object with its own headers, and headers of the call.
$frame = new StompFrame('SEND', ['colour' => 'blue', 'path' => 'C:\\temp'], 'as a frame');
same(true, $stomp->send('/queue/php.api', $frame, ['when' => '12:30:01', 'receipt' => 'r-1']), 'send a frame');
same(true, $stomp->subscribe('/queue/php.api', ['ack' => 'client-individual', 'receipt' => 'r-2']), 'subscribe');
same(true, $stomp->hasFrame(), 'hasFrame');
$got = $stomp->readFrame();
same(StompFrame::class, $got::class, 'class');
same('MESSAGE', $got->command, 'command');
same('as a frame', $got->body, 'body');
same('/queue/php.api', $got->headers['destination'], 'destination');
same('blue', $got->headers['colour'], 'header of the frame');
same('C:\\temp', $got->headers['path'], 'a backslash is data in 1.0');
same('12:30:01', $got->headers['when'], 'header of the call');
same(false, isset($got->headers['subscription']), 'a subscription without id has none in the message');
same(false, isset($got->headers['receipt']), 'the receipt of the sender');
same(true, $stomp->ack($got), 'ack of a frame');
unset($stomp);

// Acknowledged by id, into a class of the application.
class Task extends StompFrame
{
    public function run(): string
    {
        return strtoupper($this->body);
    }
}
$stomp = connect();
$stomp->send('/queue/php.api.class', 'work');
$stomp->subscribe('/queue/php.api.class');
$task = $stomp->readFrame(Task::class);
same('WORK', $task->run(), 'an object of the application');
same(true, $stomp->ack($task->headers['message-id'], ['receipt' => 'r-3']), 'ack of an id with a receipt');
same(true, $stomp->unsubscribe('/queue/php.api.class', ['receipt' => 'r-4']), 'unsubscribe');
$stomp->send('/queue/php.api.class', 'nobody reads this');
nothing($stomp, '/queue/php.api.class');
unset($stomp);

// An ERROR is false from the call that waits for a receipt, and an exception
// from the one that reads.
$stomp = connect();
same(false, $stomp->send('nowhere', 'x', ['receipt' => 'r-5']), 'a destination without a prefix');
same(true, strlen($stomp->error()) > 0, 'message of the error');
unset($stomp);

$stomp = connect();
$stomp->subscribe('nowhere');
try {
    $stomp->readFrame();
    throw new Exception('a destination without a prefix was taken');
} catch (StompException $e) {
    same(true, strlen($e->getMessage()) > 0, 'message of the error');
    same(true, str_contains($e->getDetails(), '/queue/'), 'details that say what to write instead');
}
unset($stomp);

// The same as functions.
$link = stomp_connect(broker(), 'guest', 'guest');
same(true, is_resource($link), 'stomp_connect');
stomp_set_read_timeout($link, 10);
same(['sec' => 10, 'usec' => 0], stomp_get_read_timeout($link), 'read timeout');
same(true, strlen(stomp_get_session_id($link)) > 0, 'a session id');
same(true, stomp_begin($link, 't1'), 'begin');
same(true, stomp_send($link, '/queue/php.functions', 'in a transaction', ['transaction' => 't1', 'n' => '1']), 'send');
same(true, stomp_commit($link, 't1', ['receipt' => 'r-6']), 'commit');
same(true, stomp_begin($link, 't2'), 'begin');
same(true, stomp_send($link, '/queue/php.functions', 'not sent', ['transaction' => 't2']), 'send');
same(true, stomp_abort($link, 't2'), 'abort');
same(true, stomp_subscribe($link, '/queue/php.functions'), 'subscribe');
same(true, stomp_has_frame($link), 'has frame');
$frame = stomp_read_frame($link);
same('in a transaction', $frame['body'], 'body');
same('1', $frame['headers']['n'], 'header');
same(false, isset($frame['headers']['transaction']), 'the transaction of the sender');
same(true, stomp_ack($link, $frame['headers']['message-id']), 'ack');
same(true, stomp_unsubscribe($link, '/queue/php.functions', ['receipt' => 'r-7']), 'unsubscribe');
same(false, stomp_error($link), 'error');
same(true, stomp_close($link), 'close');

// Nobody listens there.
try {
    new Stomp('tcp://127.0.0.1:1');
    throw new Exception('connected to nobody');
} catch (StompException $e) {
    same(true, strlen($e->getMessage()) > 0, 'message of the exception');
}
