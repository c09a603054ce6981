/* Preloaded into a test: logs each file that is synced, and fails syncs of some files while a file exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *failing = getenv("SYNCS_FAIL_IF"), *pattern = getenv("SYNCS_FAIL_FOR"), *log = getenv("SYNCS_LOG");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 2);
    if (length < 0) return real(fd);
    path[length] = 0;
    if (failing && pattern && strstr(path, pattern) && access(failing, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int done = real(fd);
    if (done == 0 && log) {
        int out = open(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        path[length] = '\n';
        if (out >= 0 && write(out, path, length + 1) != length + 1) abort();
        close(out);
    }
    return done;
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
