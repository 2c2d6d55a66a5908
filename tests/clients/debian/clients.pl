# Clients in Perl: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list.

use strict;
use warnings;

use threads;

use POSIX ();

delete @ENV{qw(http_proxy HTTP_PROXY all_proxy ALL_PROXY)};
$| = 1;

sub lwp {
    my ($url) = @_;
    my $response = LWP::UserAgent->new->get($url, ':content_cb' => sub { print $_[0] });
    # An error while the body is read is only there.
    my $died = $response->header('X-Died');
    die "$died\n" if defined $died;
    die $response->status_line . "\n" unless $response->is_success;
}

sub http_tiny {
    my ($url) = @_;
    my $response = HTTP::Tiny->new->get($url, { data_callback => sub { print $_[0] } });
    die "$response->{status} $response->{reason}: $response->{content}\n" unless $response->{success};
}

sub mojo {
    my ($url) = @_;
    my $agent = Mojo::UserAgent->new;
    my $transaction = $agent->build_tx(GET => $url);
    $transaction->res->content->unsubscribe('read')->on(read => sub { print $_[1] });
    my $error = $agent->start($transaction)->error;
    die "$error->{message}\n" if $error;
}

sub anyevent_http {
    my ($url) = @_;
    my $done = AnyEvent->condvar;
    AnyEvent::HTTP::http_get(
        $url,
        on_body => sub { print $_[0]; 1 },
        sub { $done->send($_[1]) },
    );
    my $headers = $done->recv;
    die "$headers->{Status} $headers->{Reason}\n" unless $headers->{Status} =~ /^2/;
}

sub net_async_http {
    my ($url) = @_;
    my $http = Net::Async::HTTP->new;
    IO::Async::Loop->new->add($http);
    $http->do_request(
        uri       => URI->new($url),
        on_header => sub {
            my ($response) = @_;
            # Without an argument it is the end.
            return sub { @_ ? print $_[0] : $response };
        },
    )->get;
}

# The function, and the module.
my %clients = (
    'perl-lwp'      => [ \&lwp,            'LWP::UserAgent' ],
    'perl-httptiny' => [ \&http_tiny,      'HTTP::Tiny' ],
    'perl-mojo'     => [ \&mojo,           'Mojolicious', 'Mojo::UserAgent' ],
    'perl-aehttp'   => [ \&anyevent_http,  'AnyEvent::HTTP', 'AnyEvent' ],
    'perl-nahttp'   => [ \&net_async_http, 'Net::Async::HTTP', 'IO::Async::Loop', 'URI' ],
);

my ($name, $url) = @ARGV;
if ($name eq '--list') {
    print "$_\n" for sort keys %clients;
    exit;
}
my ($client, @modules) = @{ $clients{$name} };
# Before the modules are loaded, as not all of them bear to be copied.
threads->create(sub { 1 while <STDIN>; POSIX::_exit(0) })->detach if $url ne '--version';
eval "require $_; 1" or die $@ for @modules;
if ($url eq '--version') {
    printf "%s %s, Perl %vd\n", $modules[0], $modules[0]->VERSION, $^V;
    exit;
}
eval { $client->($url); 1 } or do {
    print STDERR $@ =~ s/\s*\z/\n/r;
    POSIX::_exit(1);
};
print STDERR "end\n";
POSIX::_exit(0);
