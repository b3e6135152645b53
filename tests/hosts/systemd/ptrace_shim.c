/* Preloaded into Debian 13's user-mode-linux, whose buffer for a process' registers (2,696 bytes) is shorter than what a
   processor with AMX has (11,008): the kernel refuses to set fewer than all. What the buffer has no room for is set to
   its initial state; nothing on the tried host uses it. Without effect where the buffer suffices.
   No header is included, so a compiler is all that it takes. */

typedef unsigned long word;
struct iovec { char *base; word length; };

extern long syscall(long number, ...);
extern void *memcpy(void *to, const void *from, word length);
extern void *memset(void *to, int byte, word length);

enum { SYS_PTRACE = 101, PEEK_FIRST = 1, PEEK_LAST = 3, GETREGSET = 0x4204, SETREGSET = 0x4205, NT_X86_XSTATE = 0x202 };
enum { XSTATE_BV = 512 };                  /* where an area says which components it has */
static const word KEPT = 0x2ff;            /* x87, SSE, AVX, MPX, AVX-512, PKRU: those within 2,696 bytes */

static char area[65536];
static word area_length;

static long get_area(long pid)
{
    struct iovec whole = {area, sizeof area};
    long result = syscall(SYS_PTRACE, (long)GETREGSET, pid, (long)NT_X86_XSTATE, &whole);
    if (result == 0)
        area_length = whole.length;
    return result;
}

long ptrace(long request, long pid, long address, long data)
{
    struct iovec *given = (struct iovec *)data, whole = {area, 0};
    word peeked, length;
    long result;

    /* As libc has it: a word is returned, not stored. */
    if (request >= PEEK_FIRST && request <= PEEK_LAST) {
        result = syscall(SYS_PTRACE, request, pid, address, &peeked);
        return result < 0 ? result : (long)peeked;
    }
    if ((request != GETREGSET && request != SETREGSET) || address != NT_X86_XSTATE)
        return syscall(SYS_PTRACE, request, pid, address, data);
    if (request == GETREGSET || area_length == 0) {
        result = get_area(pid);
        if (result < 0)
            return result;
    }
    length = given->length < area_length ? given->length : area_length;
    if (request == GETREGSET) {
        memcpy(given->base, area, length);
        *(word *)(given->base + XSTATE_BV) &= KEPT;
        given->length = length;
        return 0;
    }
    memset(area, 0, area_length);
    memcpy(area, given->base, length);
    *(word *)(area + XSTATE_BV) &= KEPT;
    whole.length = area_length;
    return syscall(SYS_PTRACE, request, pid, address, &whole);
}
