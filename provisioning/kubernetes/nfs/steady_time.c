/* time() for the NFS server: from the machine's time at its first call, by a clock that nobody sets.
 *
 * nfs-ganesha measures the leases of its clients by time(). When a cluster is restored from memory, the machine's clock is set
 * forward, in a fork by days: all leases would end, and with them the locks that pods hold. Loaded by LD_PRELOAD. */
#include <time.h>

time_t time(time_t *where)
{
	static time_t base;
	struct timespec real, running;
	time_t now;

	clock_gettime(CLOCK_BOOTTIME, &running);
	if (base == 0) {
		clock_gettime(CLOCK_REALTIME, &real);
		base = real.tv_sec - running.tv_sec;
	}
	now = base + running.tv_sec;
	if (where)
		*where = now;
	return now;
}
