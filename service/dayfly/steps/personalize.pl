# Personalises a fork, run as root by its guest agent. One process without libraries, with perl-base alone: a further process or
# library costs tenths of a second in an emulated guest after its restore.
# Arguments: the list of stopped processes (quiesce.pl), the mark file, the mark's content, the seconds that the clock is late.
# Standard input: a tar of folders and small files to write; its member `entropy` is for reseed() (guest/reseed.pl).
# sshd needs no restart: each connection starts a new sshd, which reads the host key.
use strict;

my ($stopped, $mark, $identity, $late) = @ARGV;

# Constants that only libraries name.
my $O_WRONLY_CREAT_TRUNC = 01 | 0100 | 01000;
my ($CLOCK_REALTIME, $SYS_CLOCK_SETTIME, $SYS_CLOCK_GETTIME) = (0, 227, 228);

sub set_clock {
    my ($add) = @_;
    my $time = pack 'q2', 0, 0;
    syscall($SYS_CLOCK_GETTIME, $CLOCK_REALTIME, $time) == 0 or die "the clock cannot be read: $!\n";
    my ($seconds, $nanoseconds) = unpack 'q2', $time;
    my $microseconds = $seconds * 1e6 + int($nanoseconds / 1e3) + int($add * 1e6);
    $time = pack 'q2', int($microseconds / 1e6), $microseconds % 1e6 * 1e3;
    syscall($SYS_CLOCK_SETTIME, $CLOCK_REALTIME, $time) == 0 or die "the clock cannot be set: $!\n";
}

sub first_word {
    my ($path) = @_;
    open my $file, '<', $path or return;
    my $line = readline($file) // '';
    return $line =~ /^(\d+)/ ? $1 : undef;
}

sub inside {
    my ($folder) = @_;
    opendir my $opened, $folder or return;
    return map { "$folder/$_" } grep { !/^\.\.?$/ } readdir $opened;
}

# Rename the complete file: readers get the old or the new content.
sub put {
    my ($path, $mode, $content) = @_;
    sysopen my $file, "$path.new", $O_WRONLY_CREAT_TRUNC, $mode or die "$path: $!\n";
    chmod $mode, $file or die "$path: $!\n";
    (print {$file} $content and close $file and rename "$path.new", $path) or die "$path: $!\n";
}

# Run ahead of the fork's other processes: the fork is ready only after this script.
setpriority 0, 0, -20;
set_clock($late);

binmode STDIN;
while ((read(STDIN, my $header, 512) // 0) == 512) {
    my ($name, $mode, $size, $type) = unpack 'Z100 Z8 x16 Z12 x20 a1', $header;
    last if $name eq '';
    ($mode, $size) = (oct $mode, oct $size);
    my $padded = $size + -$size % 512;
    my $content = '';
    !$padded or read(STDIN, $content, $padded) == $padded or die "$name: cut off\n";
    $content = substr $content, 0, $size;
    if ($name eq 'entropy') { reseed($content) }
    elsif ($type eq '5') { -d "/$name" or mkdir "/$name" or die "/$name: $!\n"; chmod $mode, "/$name" }
    else { put("/$name", $mode, $content) }
}

# Start an empty journal under the fork's machine-id: systemd restarts journald at once.
for my $group ('', '/systemd', '/unified') {
    my $journald = first_word("/sys/fs/cgroup$group/system.slice/systemd-journald.service/cgroup.procs") or next;
    for my $folder (inside('/run/log/journal')) { unlink inside($folder); rmdir $folder }
    kill 'TERM', $journald;
    last;
}

# Continue the stopped processes: clock and identity are correct now.
if (open my $list, '<', $stopped) { chomp(my @stopped = readline $list); kill 'CONT', @stopped }

put($mark, 0644, "$identity\n");
