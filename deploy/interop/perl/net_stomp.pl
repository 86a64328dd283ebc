#!/usr/bin/perl
# Net::Stomp, in the version of the protocol it speaks by itself, and with
# headers that ask for another: net_stomp.pl [VERSION]
use strict;
use warnings;
use Net::Stomp;
use Test::More;

my $version = shift // '1.0';
my $queue   = "/queue/perl.$version";
my $all     = join '', map { chr } 0 .. 255;
my %id      = $version eq '1.0' ? () : (id => 'p1');

sub client {
    my $stomp = Net::Stomp->new({
        hostname => '127.0.0.1', port => $ENV{STOMP_PORT}, timeout => 30,
        logger => Quiet->new,
    });
    my %headers = $version eq '1.0' ? () : ('accept-version' => $version, host => 'localhost');
    my $frame = $stomp->connect({ login => 'guest', passcode => 'guest', %headers });
    is $frame->command, 'CONNECTED', 'connected';
    is $frame->headers->{version}, $version, 'version';
    return $stomp;
}

sub next_body {
    my ($stomp, $want, $what) = @_;
    my $frame = $stomp->receive_frame({ timeout => 30 });
    ok $frame && $frame->command eq 'MESSAGE', "$what: a message" or return;
    ok $frame->body eq $want, "$what: the body";
    return $frame;
}

# Net::Stomp answers a message by its message-id; 1.1 wants the subscription too.
my @names = $version eq '1.0' ? () : $version eq '1.1' ? 'subscription' : 'ack';

sub reference {
    my $frame = shift;
    return (frame => $frame, map { $_ => $frame->headers->{$_} } @names);
}

my $stomp = client();
ok $stomp->send_with_receipt({ destination => $queue, body => 'receipt', number => 1 }), 'send with receipt';
# Its receipt comes before the COMMIT.
ok $stomp->send_transactional({ destination => $queue, body => 'transactional', persistent => 'true' }), 'send transactional';
$stomp->send({ destination => $queue, body => $all, bytes_message => 1 });
$stomp->send({ destination => $queue, body => $all x 4096, 'content-length' => 256 * 4096 });
$stomp->send({ destination => $queue, body => '' });

$stomp->subscribe({ destination => $queue, ack => 'client', %id });
my $frame = next_body($stomp, 'receipt', 'the first');
is $frame->headers->{number}, 1, 'a header';
is $frame->headers->{destination}, $queue, 'the destination';
next_body($stomp, 'transactional', 'the second');
next_body($stomp, $all, 'every byte');
$stomp->ack({ reference($frame) });
$frame = next_body($stomp, $all x 4096, '1 MiB');
$stomp->ack({ reference($frame) });
$stomp->disconnect; # at once, in one segment with the ACK

$stomp = client();
$stomp->subscribe({ destination => $queue, ack => 'client', %id });
$frame = next_body($stomp, '', 'only the last is left');
if ($version ne '1.0') {
    $stomp->nack({ reference($frame) });
    $frame = next_body($stomp, '', 'after a NACK');
    is $frame->headers->{redelivered}, 'true', 'redelivered';
}
$stomp->ack({ reference($frame) });

# Transactions, frame by frame.
sub transaction {
    my ($command, $name) = @_;
    $stomp->send_frame(Net::Stomp::Frame->new({ command => $command, headers => { transaction => $name } }));
}
transaction(BEGIN => 't1');
$stomp->send({ destination => $queue, body => 'aborted', transaction => 't1' });
transaction(ABORT => 't1');
transaction(BEGIN => 't2');
$stomp->send({ destination => $queue, body => 'committed', transaction => 't2' });
ok !$stomp->can_read({ timeout => 0.2 }), 'nothing before COMMIT';
transaction(COMMIT => 't2');
$frame = next_body($stomp, 'committed', 'a transaction');
$stomp->ack({ reference($frame) });
$stomp->unsubscribe({ destination => $queue, %id });

# To a topic.
$stomp->subscribe({ destination => "/topic/perl.$version", ack => 'auto', %id });
$stomp->send({ destination => "/topic/perl.$version", body => "line 1\nline 2\n" });
next_body($stomp, "line 1\nline 2\n", 'a topic');
$stomp->disconnect;

# A refused frame.
$stomp = client();
ok !$stomp->send_with_receipt({ destination => 'nowhere', body => 'x' }, $frame), 'refused';
is $frame->command, 'ERROR', 'ERROR';
ok $frame->headers->{message}, 'its message';

done_testing;

package Quiet;
sub new { return bless {}, shift }
sub AUTOLOAD { return 1 }
