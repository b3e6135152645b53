# Run in a template's guests, as root, by their agents, just before they are saved: all of Kubernetes but the API server and
# what keeps its data stands still from now on. personalize.pl lets a fork's go on: it has its processors for its API until then,
# and nothing in it acts on the time and the name of its template. Only what Debian's perl-base has.
# Argument: the file that says which processes.
use strict;

my ($list) = @ARGV;
my %KEPT = map { $_ => 1 } qw(kube-apiserver etcd);

sub content {
    my ($path) = @_;
    open my $file, '<', $path or return '';    # of one that has just ended
    local $/;
    return readline($file) // '';
}

sub must_stop {
    my ($process) = @_;
    my ($name) = split /\n/, content("/proc/$process/comm");
    return 0 if !defined $name or $KEPT{$name};
    return $name eq 'kubelet' || content("/proc/$process/cgroup") =~ m{[:/]kubepods};
}

opendir my $processes, '/proc' or die "/proc: $!\n";
my @stopped = grep { /^\d+$/ && must_stop($_) } readdir $processes;

# Noted first: it does no harm to let go on what does.
open my $file, '>', $list or die "$list: $!\n";
(print {$file} map { "$_\n" } @stopped and close $file) or die "$list: $!\n";
kill 'STOP', @stopped;
