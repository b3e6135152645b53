# Makes the kernel's random numbers new; until then all machines of one saved memory draw the same, where the kernel knows no
# vmgenid. With perl-base alone, as personalize.pl.
use strict;

my $RNDRESEEDCRNG = 0x5207;

sub reseed {
    my ($entropy) = @_;
    open my $pool, '+<', '/dev/urandom' or die "/dev/urandom: $!\n";
    syswrite($pool, $entropy) or die "/dev/urandom: $!\n";
    ioctl($pool, $RNDRESEEDCRNG, 0) or die "/dev/urandom: cannot be reseeded: $!\n";
}
