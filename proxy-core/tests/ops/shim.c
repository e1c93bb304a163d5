/* Preloaded into a process: moves its wall clock, and counts what it has io_uring do to its rings. The file that
 * SHIM_FILE names is shared with the test: seconds to add to the wall clock, rings restricted, rings enabled. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REGISTER_RESTRICTIONS 11
#define REGISTER_ENABLE_RINGS 12

struct shared {
    _Atomic int64_t offset_s;
    _Atomic uint64_t restricted;
    _Atomic uint64_t enabled;
};

static struct shared nothing;
static struct shared *shared = &nothing;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_syscall = dlsym(RTLD_NEXT, "syscall");
    const char *path = getenv("SHIM_FILE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) {
        shared = mapped;
    }
}

int clock_gettime(clockid_t id, struct timespec *time) {
    /* Before the constructor has run there is nothing to add. */
    int result = real_clock_gettime ? real_clock_gettime(id, time) : (int)syscall(SYS_clock_gettime, id, time);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        time->tv_sec += shared->offset_s;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) {
        *result = now.tv_sec;
    }
    return now.tv_sec;
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int at = 0; at < 6; at++) {
        a[at] = va_arg(list, long);
    }
    va_end(list);
    if (!real_syscall) {
        real_syscall = dlsym(RTLD_NEXT, "syscall");
    }
    long result = real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_io_uring_register && result >= 0) {
        shared->restricted += a[1] == REGISTER_RESTRICTIONS;
        shared->enabled += a[1] == REGISTER_ENABLE_RINGS;
    }
    return result;
}
