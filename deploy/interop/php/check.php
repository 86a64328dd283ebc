<?php
// What the scripts beside this one have in common.

declare(strict_types=1);

// Warnings of the extension are failures too; it hands null to its own frame
// for an empty body, which PHP deprecates.
error_reporting(E_ALL & ~E_DEPRECATED);
set_error_handler(function (int $level, string $message, string $file, int $line): never {
    throw new ErrorException($message, 0, $level, $file, $line);
}, error_reporting());

function broker(): string
{
    return getenv('BROKER') ?: 'tcp://127.0.0.1:61613';
}

/** Headers of a CONNECT that asks for a version; 1.0 is what the extension speaks without. */
function version(string $version): array
{
    return $version === '1.0' ? [] : ['accept-version' => $version, 'host' => 'localhost'];
}

function connect(string $version = '1.0'): Stomp
{
    $stomp = new Stomp(broker(), getenv('LOGIN') ?: '', getenv('PASSCODE') ?: '', version($version));
    $stomp->setReadTimeout(10);
    return $stomp;
}

function same(mixed $want, mixed $got, string $what): void
{
    if ($want !== $got) {
        $show = fn (mixed $v): string => substr(json_encode($v, JSON_INVALID_UTF8_SUBSTITUTE), 0, 300);
        throw new Exception("$what: expected {$show($want)}, got {$show($got)}");
    }
}

/** The next frame, which must come. */
function next_frame(Stomp $stomp): StompFrame
{
    $frame = $stomp->readFrame();
    if ($frame === false) {
        throw new Exception('no frame came: ' . json_encode($stomp->error()));
    }
    same('MESSAGE', $frame->command, 'command');
    return $frame;
}

/** Nothing comes: a receipt is answered first, so that what is on its way would be there. */
function nothing(Stomp $stomp, string $queue): void
{
    same(true, $stomp->send("$queue.done", '', ['receipt' => uniqid()]), 'send with a receipt');
    $stomp->setReadTimeout(0, 200_000);
    same(false, $stomp->hasFrame(), 'a frame is there');
    $stomp->setReadTimeout(10);
}
