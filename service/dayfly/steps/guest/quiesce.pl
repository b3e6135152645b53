# Stops all of Kubernetes but the API server and etcd before a template is saved; personalize.pl continues them.
# Until then a fork's processors serve its API server, and no process acts on the template's time and name.
# The guest's agent runs this script as root, with perl-base alone. Argument: the file for the list of stopped processes.
use strict;

my ($list) = @ARGV;
my %KEPT = map { $_ => 1 } qw(kube-apiserver etcd);

sub content {
    my ($path) = @_;
    open my $file, '<', $path or return '';    # the process has ended
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

# Write the list first: continuing a running process does no harm.
open my $file, '>', $list or die "$list: $!\n";
(print {$file} map { "$_\n" } @stopped and close $file) or die "$list: $!\n";
kill 'STOP', @stopped;
