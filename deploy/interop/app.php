<?php
// Switches the sensor "t1" on and off and prints what it measures, until it is
// stopped or, with LIMIT set, has printed so many measurements.

declare(strict_types=1);

$broker = getenv('BROKER') ?: 'tcp://127.0.0.1:61613';
$limit = (int) getenv('LIMIT');

$stomp = new Stomp($broker);
$stomp->setReadTimeout(1);
$stomp->subscribe('/topic/sensors.*.temperature', ['ack' => 'auto']);

$on = false;
$switched = 0;
$printed = 0;
while ($limit === 0 || $printed < $limit) {
    if (time() - $switched >= 5) {
        $on = !$on;
        $switched = time();
        // The receipt says that the gateway has stored the command.
        if (!$stomp->send('/queue/sensors.t1.set', $on ? 'on' : 'off', ['receipt' => uniqid()])) {
            fwrite(STDERR, "the command was not taken\n");
            exit(1);
        }
        printf("t1 is to be %s\n", $on ? 'on' : 'off');
    }
    $frame = $stomp->readFrame();
    if ($frame !== false) {
        printf("%s measures %s\n", $frame->headers['destination'], $frame->body);
        $printed++;
    }
}
