/* Preloaded into a writer process: logs every change that it makes below one directory, in order,
 * so that the directory can be rebuilt as a power cut could have left it.
 *
 * POWERCUT_DIR   the directory, an absolute path
 * POWERCUT_LOG   the log; appended to
 * POWERCUT_ACKS  a file: each write to it is logged as an acknowledgement
 * POWERCUT_STOP  the process ends at once after so many of them, as if killed, but never between
 *                a change and its event
 *
 * An event in the log is a head and three byte strings: the path, a second path, the data. One
 * lock covers each call and its event, so the log's order is the order in which things happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 1024 };

struct head {
    uint32_t kind, path_len, other_len, data_len;
    uint64_t offset;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static long acks_left;
static const char *root, *acks;
static char *paths[FDS]; /* of descriptors below the directory, and of the acknowledgements */

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

__attribute__((constructor)) static void begin(void)
{
    root = getenv("POWERCUT_DIR");
    acks = getenv("POWERCUT_ACKS");
    const char *log = getenv("POWERCUT_LOG"), *stop = getenv("POWERCUT_STOP");
    acks_left = stop ? atol(stop) : 0;
    if (root && acks && log && stop)
        log_fd = REAL(open64)(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

static int below_root(const char *path)
{
    size_t length = root ? strlen(root) : 0;
    return log_fd >= 0 && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static void event(char kind, const char *path, const char *other, uint64_t offset,
                  const void *data, size_t length)
{
    struct head head = {(uint32_t)kind, (uint32_t)strlen(path), (uint32_t)strlen(other),
                        (uint32_t)length, offset};
    struct iovec parts[] = {{&head, sizeof head},
                            {(void *)path, head.path_len},
                            {(void *)other, head.other_len},
                            {(void *)data, length}};
    ssize_t want = (ssize_t)(sizeof head + head.path_len + head.other_len + length);
    if (REAL(writev)(log_fd, parts, 4) != want)
        abort();
}

/* The absolute path of `name` seen from `dir`; false if it is not below the directory. */
static int resolve(int dir, const char *name, char out[PATH_MAX])
{
    if (name[0] == '/')
        snprintf(out, PATH_MAX, "%s", name);
    else if (dir >= 0 && dir < FDS && paths[dir])
        snprintf(out, PATH_MAX, "%s/%s", paths[dir], name);
    else
        return 0;
    return below_root(out);
}

static const char *tracked(int fd)
{
    return log_fd >= 0 && fd >= 0 && fd < FDS ? paths[fd] : NULL;
}

static int open_and_track(int dir, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int ours = resolve(dir, name, path);
    int is_acks = log_fd >= 0 && !strcmp(name, acks);
    struct stat before;
    int existed = ours && lstat(path, &before) == 0;
    int fd = REAL(openat64)(dir, name, flags, mode);
    int kept = errno;
    if (fd >= FDS && (ours || is_acks))
        abort();
    if (fd >= 0 && fd < FDS && (ours || is_acks)) {
        free(paths[fd]);
        paths[fd] = strdup(is_acks ? acks : path);
        if (ours && !existed)
            event('c', path, "", 0, NULL, 0);
        else if (ours && (flags & O_TRUNC))
            event('t', path, "", 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return fd;
}

#define MODE(last)                                                                                 \
    va_list list;                                                                                  \
    va_start(list, last);                                                                          \
    mode_t mode = (last) & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;                       \
    va_end(list)

int open(const char *name, int flags, ...)
{
    MODE(flags);
    return open_and_track(AT_FDCWD, name, flags, mode);
}
int open64(const char *name, int flags, ...)
{
    MODE(flags);
    return open_and_track(AT_FDCWD, name, flags, mode);
}
int openat(int dir, const char *name, int flags, ...)
{
    MODE(flags);
    return open_and_track(dir, name, flags, mode);
}
int openat64(int dir, const char *name, int flags, ...)
{
    MODE(flags);
    return open_and_track(dir, name, flags, mode);
}

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (tracked(fd)) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static int duplicated(int fd, int result)
{
    if (result >= 0 && result < FDS && tracked(fd))
        paths[result] = strdup(paths[fd]);
    return result;
}

static int control(int fd, int command, void *argument)
{
    pthread_mutex_lock(&lock);
    int result = REAL(fcntl64)(fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        duplicated(fd, result);
    pthread_mutex_unlock(&lock);
    return result;
}

int fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return control(fd, command, argument);
}
int fcntl64(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return control(fd, command, argument);
}

/* After the call, with the lock held: what it wrote. */
static void wrote(int fd, const void *data, ssize_t length, off64_t offset)
{
    int is_ack = !strcmp(paths[fd], acks);
    if (length > 0)
        event(is_ack ? 'a' : 'w', paths[fd], "", (uint64_t)offset, data, (size_t)length);
    if (is_ack && --acks_left == 0)
        _exit(0);
}

ssize_t write(int fd, const void *data, size_t length)
{
    if (!tracked(fd))
        return REAL(write)(fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t result = REAL(write)(fd, data, length);
    off64_t end = lseek64(fd, 0, SEEK_CUR);
    wrote(fd, data, result, end - result);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    if (!tracked(fd))
        return REAL(pwrite64)(fd, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t result = REAL(pwrite64)(fd, data, length, offset);
    wrote(fd, data, result, offset);
    pthread_mutex_unlock(&lock);
    return result;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

/* Ways to write that the store does not use: better no test than one that sees half. */
static void unseen(int fd)
{
    if (tracked(fd))
        abort();
}
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    unseen(fd);
    return REAL(writev)(fd, parts, count);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    unseen(fd);
    return REAL(pwritev64)(fd, parts, count, offset);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}
int fallocate64(int fd, int how, off64_t offset, off64_t length)
{
    unseen(fd);
    return REAL(fallocate64)(fd, how, offset, length);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t length,
                        unsigned flags)
{
    /* Copies are made by the program itself where this is missing. */
    if (tracked(to)) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(copy_file_range)(from, at, to, to_at, length, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t length)
{
    if (tracked(to)) {
        errno = ENOSYS;
        return -1;
    }
    ssize_t (*call)(int, int, off64_t *, size_t) = real("sendfile64");
    return call(to, from, at, length);
}

int ftruncate64(int fd, off64_t length)
{
    pthread_mutex_lock(&lock);
    int result = REAL(ftruncate64)(fd, length);
    if (!result && tracked(fd))
        event('t', paths[fd], "", (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

/* A sync covers what was written before it began; it runs outside the lock, as it takes long. */
static int synced(int (*call)(int), int fd)
{
    if (!tracked(fd))
        return call(fd);
    pthread_mutex_lock(&lock);
    char *path = strdup(paths[fd]);
    event('b', path, "", (uint64_t)fd, NULL, 0);
    pthread_mutex_unlock(&lock);
    int result = call(fd);
    pthread_mutex_lock(&lock);
    event(result ? 'x' : 's', path, "", (uint64_t)fd, NULL, 0);
    pthread_mutex_unlock(&lock);
    free(path);
    return result;
}
int fsync(int fd)
{
    return synced(REAL(fsync), fd);
}
int fdatasync(int fd)
{
    return synced(REAL(fdatasync), fd);
}

static int renamed(int from_dir, const char *from, int to_dir, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX];
    pthread_mutex_lock(&lock);
    int ours = resolve(from_dir, from, a) && resolve(to_dir, to, b);
    int result = REAL(renameat)(from_dir, from, to_dir, to);
    int kept = errno;
    if (!result && ours)
        event('m', a, b, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int rename(const char *from, const char *to)
{
    return renamed(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renamed(from_dir, from, to_dir, to);
}

static int removed(int dir, const char *name, int flags)
{
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int ours = resolve(dir, name, path);
    int result = REAL(unlinkat)(dir, name, flags);
    int kept = errno;
    if (!result && ours)
        event('u', path, "", 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int unlink(const char *name)
{
    return removed(AT_FDCWD, name, 0);
}
int rmdir(const char *name)
{
    return removed(AT_FDCWD, name, AT_REMOVEDIR);
}
int unlinkat(int dir, const char *name, int flags)
{
    return removed(dir, name, flags);
}

int mkdir(const char *name, mode_t mode)
{
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int ours = resolve(AT_FDCWD, name, path);
    int result = REAL(mkdir)(name, mode);
    int kept = errno;
    if (!result && ours)
        event('d', path, "", 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
