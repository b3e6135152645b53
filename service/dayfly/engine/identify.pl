# Run in a fork's guest, as root, by its agent: it becomes itself. One process, for each costs an emulated guest that has
# just been loaded some tenths of a second. Only what Debian's perl-base has.
# Arguments: the mark, the cluster's id, how many seconds its clock is late. Standard input: what is its own, as a tar of folders and small files; `entropy`
# among them is no file.
use strict;
use warnings;
use Fcntl;

my ($mark, $cluster, $late) = @ARGV;
my $PATIENCE_SECONDS = 30;
my $RNDRESEEDCRNG = 0x5207;    # until then all forks draw the same random numbers, where the kernel knows no vmgenid

# By their numbers: perl-base has no names for them, and `date` would be another process.
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

sub reseed {
    my ($entropy) = @_;
    open my $pool, '+<', '/dev/urandom' or die "/dev/urandom: $!\n";
    syswrite($pool, $entropy) or die "/dev/urandom: $!\n";
    ioctl($pool, $RNDRESEEDCRNG, 0) or die "/dev/urandom: it is not seeded anew: $!\n";
}

# Renamed when whole: whoever reads it meanwhile has the old one or the new one.
sub put {
    my ($path, $mode, $content) = @_;
    sysopen my $file, "$path.new", O_WRONLY | O_CREAT | O_TRUNC, $mode or die "$path: $!\n";
    chmod $mode, $file or die "$path: $!\n";
    (print {$file} $content and close $file and rename "$path.new", $path) or die "$path: $!\n";
}

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

my $sshd = first_word('/run/sshd.pid');
unlink '/run/sshd.pid';
$sshd and kill 'HUP', $sshd or system('systemctl', '--no-block', 'restart', 'ssh.service') == 0 or die "sshd: $?\n";

# Its journal begins anew, under its own machine-id. systemd starts it again, at once.
for my $group ('', '/systemd', '/unified') {
    my $journald = first_word("/sys/fs/cgroup$group/system.slice/systemd-journald.service/cgroup.procs") or next;
    for my $folder (glob '/run/log/journal/*') { unlink glob "$folder/*"; rmdir $folder }
    kill 'TERM', $journald;
    last;
}

# sshd writes it when it listens, with the new key.
for (my $waited = 0; !-s '/run/sshd.pid'; $waited += 0.02) {
    $waited < $PATIENCE_SECONDS or die "sshd does not listen with its new key\n";
    select undef, undef, undef, 0.02;
}
put($mark, 0644, "$cluster\n");
