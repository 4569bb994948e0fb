/* A disk that hangs: a sync of a file below the folder $SLOW_DISK does not return while $SLOW_DISK/held is there.
 * Loaded before the C library (LD_PRELOAD), so that the program under test is the one that is shipped. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_while_held(int file) {
    const char *folder = getenv("SLOW_DISK");
    char link[64], path[4096], held[4096];
    struct timespec pause = {0, 2000000};
    if (folder == NULL) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return;
    snprintf(held, sizeof held, "%s/held", folder);
    while (access(held, F_OK) == 0) nanosleep(&pause, NULL);
}

int fsync(int file) {
    wait_while_held(file);
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    wait_while_held(file);
    return (int)syscall(SYS_fdatasync, file);
}
