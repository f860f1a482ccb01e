/* Runs a program and logs, in order, every change that it makes to the files below one directory
 * and everything that it sends on sockets, so that the directory can be rebuilt as a power cut at
 * any moment could have left it, and held against what was promised until then.
 *
 *     recorder LOG DIRECTORY PROGRAM [ARGUMENT...]
 *
 * It follows every thread by ptrace and sees each system call, also one that does not go through
 * libc. A call that it does not know is an error: it may change a file or send a packet unseen. So
 * is a known one that does so in a way that is not modelled here. Appends to LOG.
 *
 * Signals to the recorder:
 *   TERM, HUP  passed on to the program
 *   USR1       kill -9 of the program, but never between a change and its event
 *   USR2       the next data sync of a file whose name contains "journal" fails with EIO
 *
 * Exit status: the program's; 0 after USR1; 3 after a call that is not known.
 *
 * An event is a head and three byte strings: a path, a second path, data. A change is logged when
 * it has been made, a sync when it begins and when it ends, a packet before it leaves: so what a
 * sync covers is never more, and what was promised never less, than what the log says.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* After the libc headers, whose names it shares. */
#include <linux/ptrace.h>

enum { THREADS = 256, PACKETS = 1024, UNKNOWN = 3 };

struct head {
    uint32_t kind, path_len, other_len, data_len;
    uint64_t object; /* inode number */
    uint64_t offset;
    uint64_t at_us; /* wall clock */
};

/* A system call under way. */
struct call {
    long nr;
    uint64_t args[6];
};

struct thread {
    pid_t tid;
    int inside;   /* a call that changes something is under way */
    int existed;  /* open: the file was there before */
    int failing;  /* the call is made to fail */
    struct call call;
};

static struct thread threads[THREADS];
static FILE *out;
static const char *root;
static pid_t program;
static pid_t leaving; /* the thread that ends the program */
/* 1: nobody goes on, and when nothing is under way the program ends; 2: it does. */
static int ending;
static int fail_next_sync;
static int executed;

static void die(const char *what)
{
    fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
    if (program)
        kill(program, SIGKILL);
    exit(UNKNOWN);
}

static void event(char kind, const char *path, const char *other, uint64_t object, uint64_t offset,
                  const void *data, size_t length)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct head head = {(uint32_t)kind,
                        (uint32_t)strlen(path),
                        (uint32_t)strlen(other),
                        (uint32_t)length,
                        object,
                        offset,
                        (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000};
    if (fwrite(&head, sizeof head, 1, out) != 1 ||
        fwrite(path, 1, head.path_len, out) != head.path_len ||
        fwrite(other, 1, head.other_len, out) != head.other_len ||
        fwrite(data, 1, length, out) != length)
        die("write the log");
}

/* The program does what this recorder cannot follow. */
static void refuse(const struct call *call, const char *why)
{
    char text[256];
    snprintf(text, sizeof text, "system call %ld(%#lx, %#lx, %#lx, %#lx) %s", call->nr,
             (long)call->args[0], (long)call->args[1], (long)call->args[2], (long)call->args[3],
             why);
    event('!', "", "", 0, 0, text, strlen(text));
    fflush(out);
    fprintf(stderr, "recorder: %s\n", text);
    kill(program, SIGKILL);
    exit(UNKNOWN);
}

/* ---- What the program's memory, descriptors and paths hold ---- */

static void *fetch(pid_t tid, uint64_t address, size_t length)
{
    char *bytes = malloc(length + 1);
    struct iovec to = {bytes, length}, from = {(void *)address, length};
    if (!bytes || (length && process_vm_readv(tid, &to, 1, &from, 1, 0) != (ssize_t)length))
        die("read the program's memory");
    bytes[length] = 0;
    return bytes;
}

/* The bytes of an array of iovec, `at_most` of them. */
static char *gather(pid_t tid, uint64_t array, size_t count, size_t at_most, size_t *length)
{
    struct iovec *parts = fetch(tid, array, count * sizeof *parts);
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += parts[i].iov_len;
    char *bytes = malloc(total + 1);
    *length = 0;
    for (size_t i = 0; bytes && i < count; i++) {
        char *part = fetch(tid, (uint64_t)parts[i].iov_base, parts[i].iov_len);
        memcpy(bytes + *length, part, parts[i].iov_len);
        *length += parts[i].iov_len;
        free(part);
    }
    if (!bytes)
        die("memory");
    if (*length > at_most)
        *length = at_most;
    free(parts);
    return bytes;
}

static int read_link(const char *link, char path[PATH_MAX])
{
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int of_descriptor(pid_t tid, int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/%d/cwd" : "/proc/%d/fd/%d", tid, fd);
    return read_link(link, path);
}

static int is_below_root(const char *path)
{
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* Whether `fd` is a file or directory below the root; if so its inode number is in `object`. */
static int is_tracked(pid_t tid, int fd, uint64_t *object, char path[PATH_MAX])
{
    char link[64];
    struct stat about;
    if (!of_descriptor(tid, fd, path) || !is_below_root(path))
        return 0;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, fd);
    if (stat(link, &about))
        die(path);
    *object = about.st_ino;
    return 1;
}

static int is_socket(pid_t tid, int fd)
{
    char path[PATH_MAX];
    return of_descriptor(tid, fd, path) && !strncmp(path, "socket:", 7);
}

/* The absolute path of the name at `address`, seen from `dir`; whether it is below the root. */
static int resolve(const struct thread *t, int dir, uint64_t address, char path[PATH_MAX])
{
    pid_t tid = t->tid;
    char name[PATH_MAX], base[PATH_MAX];
    struct iovec to = {name, sizeof name}, from = {(void *)address, sizeof name};
    ssize_t got = process_vm_readv(tid, &to, 1, &from, 1, 0);
    if (got <= 0) {
        /* Near the end of a mapping: page by page. */
        from.iov_len = to.iov_len = 4096 - address % 4096;
        got = process_vm_readv(tid, &to, 1, &from, 1, 0);
    }
    if (got <= 0 || !memchr(name, 0, (size_t)got))
        die("read a path");
    if (name[0] == '/')
        snprintf(path, PATH_MAX, "%s", name);
    else if (of_descriptor(tid, dir, base))
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
    else
        die("find a directory");
    if (strstr(path, "/../"))
        refuse(&t->call, "names a file by way of another directory");
    return is_below_root(path);
}

/* ---- Calls ---- */

enum kind {
    HARMLESS, /* changes no file and sends nothing */
    STRANGE,
    OPEN,
    WRITE,
    TRUNCATE,
    COPY,
    SYNC,
    RENAME,
    REMOVE,
    MKDIR,
    SEND,
    MAP,
    CLONE,
    EXECUTE,
    LEAVE,
    NOT_HERE, /* not on a file below the root */
};

#define IN(...)                                                                                    \
    ({                                                                                             \
        const long list[] = {__VA_ARGS__};                                                         \
        int found = 0;                                                                             \
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)                                    \
            found |= list[i] == nr;                                                                \
        found;                                                                                     \
    })

/* System calls that only some machines have. */
#ifdef __x86_64__
#define OLD_OPENS SYS_open
#define OLD_NAMES SYS_rename, SYS_unlink, SYS_rmdir, SYS_mkdir
#define OLD_HARMLESS                                                                               \
    SYS_access, SYS_arch_prctl, SYS_dup2, SYS_epoll_create, SYS_epoll_wait, SYS_getdents,          \
        SYS_lstat, SYS_pipe, SYS_poll, SYS_readlink, SYS_select, SYS_stat, SYS_time, SYS_chmod,    \
        SYS_eventfd
#else
#define OLD_OPENS -1
#define OLD_NAMES -1
#define OLD_HARMLESS -1
#define SYS_rename -2
#define SYS_unlink -3
#define SYS_rmdir -4
#define SYS_mkdir -5
#endif

static int is_harmless(long nr)
{
    return IN(
        OLD_HARMLESS,
        /* memory */
        SYS_brk, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_membarrier, SYS_msync,
        /* threads, time, signals */
        SYS_futex, SYS_exit, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity,
        SYS_setpriority,
        SYS_set_robust_list, SYS_set_tid_address, SYS_rseq, SYS_gettid, SYS_getpid, SYS_getppid,
        SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
        SYS_clock_adjtime, SYS_adjtimex, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
        SYS_rt_sigtimedwait, SYS_sigaltstack, SYS_tgkill, SYS_tkill, SYS_kill, SYS_restart_syscall,
        SYS_timerfd_create, SYS_timerfd_settime, SYS_signalfd4, SYS_prctl, SYS_getcpu,
        /* who we are */
        SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups, SYS_capget, SYS_capset,
        SYS_uname, SYS_sysinfo, SYS_getrandom, SYS_prlimit64, SYS_getrlimit, SYS_getrusage,
        SYS_umask, SYS_getcwd, SYS_chdir, SYS_fchdir,
        /* reading */
        SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_lseek, SYS_fstat,
        SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_getdents64, SYS_readlinkat,
        SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_readahead, SYS_inotify_init1,
        SYS_inotify_add_watch, SYS_inotify_rm_watch,
        /* descriptors */
        SYS_close, SYS_close_range, SYS_dup, SYS_dup3, SYS_fcntl, SYS_flock, SYS_pipe2,
        SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
        SYS_ppoll, SYS_pselect6, SYS_memfd_create,
        /* sockets, but for sending */
        SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect,
        SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_shutdown,
        SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg,
        /* modes, owners and times of files, which a rebuilt directory does not keep; and a
         * request to write soon, which promises nothing */
        SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_sync_file_range);
}

static enum kind kind_of(long nr)
{
    if (IN(SYS_openat, OLD_OPENS))
        return OPEN;
    if (IN(SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev))
        return WRITE;
    if (IN(SYS_sendto, SYS_sendmsg, SYS_sendmmsg))
        return SEND;
    if (IN(SYS_fsync, SYS_fdatasync))
        return SYNC;
    if (IN(SYS_copy_file_range, SYS_sendfile))
        return COPY;
#ifdef SYS_renameat
    if (nr == SYS_renameat)
        return RENAME;
#endif
    if (IN(SYS_rename, SYS_renameat2))
        return RENAME;
    if (IN(SYS_unlink, SYS_unlinkat, SYS_rmdir))
        return REMOVE;
    if (IN(SYS_mkdir, SYS_mkdirat))
        return MKDIR;
    if (IN(SYS_clone, SYS_clone3))
        return CLONE;
    switch (nr) {
    case SYS_ftruncate:
        return TRUNCATE;
    case SYS_mmap:
        return MAP;
    case SYS_execve:
        return EXECUTE;
    case SYS_exit_group:
        return LEAVE;
    case SYS_ioctl:
    case SYS_fallocate:
        return NOT_HERE;
    }
    return is_harmless(nr) ? HARMLESS : STRANGE;
}

/* Descriptor, flags and address of the name of an open. */
static void read_open(const struct call *call, int *dir, uint64_t *name, uint64_t *flags)
{
    int at = call->nr == SYS_openat;
    *dir = at ? (int)call->args[0] : AT_FDCWD;
    *name = call->args[at];
    *flags = call->args[at + 1];
}

static int begin_open(struct thread *t)
{
    char path[PATH_MAX];
    struct stat about;
    uint64_t name, flags;
    int dir;
    read_open(&t->call, &dir, &name, &flags);
    if (!(flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))))
        return 0;
    if (!resolve(t, dir, name, path))
        return 0;
    if ((flags & O_TMPFILE) == O_TMPFILE)
        refuse(&t->call, "makes a file without a name");
    t->existed = lstat(path, &about) == 0;
    if (t->existed && !S_ISREG(about.st_mode))
        refuse(&t->call, "opens what is no regular file");
    return 1;
}

static void end_open(const struct thread *t, int64_t fd)
{
    char path[PATH_MAX];
    uint64_t object, name, flags;
    int dir;
    read_open(&t->call, &dir, &name, &flags);
    if (!is_tracked(t->tid, (int)fd, &object, path))
        die("find the file that was opened");
    /* Whether it is new is for the reader of the log, who knows what was there. */
    event('o', path, "", object, flags & O_TRUNC ? 1 : 0, NULL, 0);
}

/* Says what leaves before it does; a call that fails or sends less is tried again. */
static void begin_send(const struct thread *t)
{
    const struct call *call = &t->call;
    struct mmsghdr *messages = NULL;
    size_t count = 1, length;
    if (call->nr == SYS_sendto) {
        char *bytes = fetch(t->tid, call->args[1], call->args[2]);
        event('a', "", "", 0, 0, bytes, call->args[2]);
        free(bytes);
        return;
    }
    if (call->nr == SYS_sendmsg) {
        struct msghdr *one = fetch(t->tid, call->args[1], sizeof *one);
        messages = calloc(1, sizeof *messages);
        if (!messages)
            die("memory");
        messages->msg_hdr = *one;
        free(one);
    } else {
        count = call->args[2] < PACKETS ? call->args[2] : PACKETS;
        messages = fetch(t->tid, call->args[1], count * sizeof *messages);
    }
    for (size_t i = 0; i < count; i++) {
        const struct msghdr *message = &messages[i].msg_hdr;
        char *bytes = gather(t->tid, (uint64_t)message->msg_iov, message->msg_iovlen, SIZE_MAX,
                             &length);
        event('a', "", "", 0, 0, bytes, length);
        free(bytes);
    }
    free(messages);
}

/* The bytes that a write was given, `at_most` of them. */
static char *written(const struct thread *t, size_t at_most, size_t *length)
{
    const struct call *call = &t->call;
    if (call->nr == SYS_write || call->nr == SYS_pwrite64) {
        *length = call->args[2] < at_most ? call->args[2] : at_most;
        return fetch(t->tid, call->args[1], *length);
    }
    return gather(t->tid, call->args[1], call->args[2], at_most, length);
}

static int begin_write(const struct thread *t)
{
    char path[PATH_MAX];
    uint64_t object;
    int fd = (int)t->call.args[0];
    if (is_socket(t->tid, fd)) {
        size_t length;
        char *bytes = written(t, SIZE_MAX, &length);
        event('a', "", "", 0, 0, bytes, length);
        free(bytes);
    }
    return is_tracked(t->tid, fd, &object, path);
}

/* Where the descriptor's position is. */
static uint64_t position(pid_t tid, int fd)
{
    char name[64];
    unsigned long long at = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", tid, fd);
    FILE *info = fopen(name, "re");
    if (!info || fscanf(info, "pos: %llu", &at) != 1)
        die("read the position of a descriptor");
    fclose(info);
    return at;
}

static void end_write(const struct thread *t, int64_t result)
{
    char path[PATH_MAX];
    uint64_t object, offset = t->call.args[3];
    int fd = (int)t->call.args[0];
    size_t length;
    if (result == 0 || !is_tracked(t->tid, fd, &object, path))
        return;
    if (t->call.nr == SYS_write || t->call.nr == SYS_writev)
        offset = position(t->tid, fd) - (uint64_t)result;
    char *bytes = written(t, (size_t)result, &length);
    event('w', path, "", object, offset, bytes, length);
    free(bytes);
}

static int copy_target(const struct call *call)
{
    return (int)call->args[call->nr == SYS_sendfile ? 0 : 2];
}

/* What the kernel copied is read back from where it went. */
static void end_copy(const struct thread *t, int64_t result)
{
    char path[PATH_MAX], link[64];
    uint64_t object;
    int fd = copy_target(&t->call);
    if (result == 0 || !is_tracked(t->tid, fd, &object, path))
        return;
    if (t->call.nr == SYS_copy_file_range && t->call.args[3])
        refuse(&t->call, "copies to a place of its choice");
    uint64_t offset = position(t->tid, fd) - (uint64_t)result;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", t->tid, fd);
    char *bytes = malloc((size_t)result);
    int file = open(link, O_RDONLY | O_CLOEXEC);
    if (!bytes || pread(file, bytes, (size_t)result, (off_t)offset) != result)
        die("read back a copy");
    event('w', path, "", object, offset, bytes, (size_t)result);
    close(file);
    free(bytes);
}

/* Makes the call under way do nothing. */
static void skip_call(pid_t tid)
{
#if defined(__x86_64__)
    if (ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, orig_rax), -1L))
        die("skip a call");
#elif defined(__aarch64__)
    int none = -1;
    struct iovec to = {&none, sizeof none};
    if (ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &to))
        die("skip a call");
#else
#error "say how a system call is skipped on this machine"
#endif
}

static void set_result(pid_t tid, long result)
{
    struct user_regs_struct regs;
    struct iovec all = {&regs, sizeof regs};
    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all))
        die("read registers");
#if defined(__x86_64__)
    regs.rax = (unsigned long)result;
#else
    regs.regs[0] = (unsigned long)result;
#endif
    if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &all))
        die("write registers");
}

static int begin_sync(struct thread *t)
{
    char path[PATH_MAX];
    uint64_t object;
    if (!is_tracked(t->tid, (int)t->call.args[0], &object, path))
        return 0;
    event('b', path, "", object, (uint64_t)t->tid, NULL, 0);
    if (fail_next_sync && strstr(path + strlen(root), "journal")) {
        fail_next_sync = 0;
        t->failing = 1;
        skip_call(t->tid);
    }
    return 1;
}

static void end_sync(struct thread *t, int64_t result)
{
    char path[PATH_MAX];
    uint64_t object;
    if (!is_tracked(t->tid, (int)t->call.args[0], &object, path))
        die("find what was synced");
    if (t->failing)
        set_result(t->tid, result = -EIO);
    t->failing = 0;
    event(result ? 'x' : 's', path, "", object, (uint64_t)t->tid, NULL, 0);
}

/* Both paths of a rename; whether they are below the root. */
static int renamed(const struct thread *t, char from[PATH_MAX], char to[PATH_MAX])
{
    const uint64_t *args = t->call.args;
    int at = t->call.nr != SYS_rename;
    int a = resolve(t, at ? (int)args[0] : AT_FDCWD, args[at], from);
    int b = resolve(t, at ? (int)args[2] : AT_FDCWD, args[at ? 3 : 1], to);
    if (a != b)
        refuse(&t->call, "renames into or out of the directory");
    if (t->call.nr == SYS_renameat2 && args[4])
        refuse(&t->call, "renames in a way that is not modelled");
    return a;
}

/* The path that a removal or mkdir names; whether it is below the root. */
static int named(const struct thread *t, char path[PATH_MAX])
{
    int at = t->call.nr == SYS_unlinkat || t->call.nr == SYS_mkdirat;
    return resolve(t, at ? (int)t->call.args[0] : AT_FDCWD, t->call.args[at], path);
}

static int is_thread(const struct thread *t)
{
    uint64_t flags = t->call.args[0];
    if (t->call.nr == SYS_clone3) {
        uint64_t *given = fetch(t->tid, t->call.args[0], sizeof *given);
        flags = *given;
        free(given);
    }
    return (flags & CLONE_THREAD) != 0;
}

/* At the entry of a call: whether its end is of interest. */
static int begin(struct thread *t)
{
    char path[PATH_MAX], other[PATH_MAX];
    uint64_t object;
    int fd = (int)t->call.args[0];
    switch (kind_of(t->call.nr)) {
    case HARMLESS:
        return 0;
    case STRANGE:
        refuse(&t->call, "is not known: say in recorder.c what it does to files and sockets");
        return 0;
    case OPEN:
        return begin_open(t);
    case WRITE:
        return begin_write(t);
    case SYNC:
        return begin_sync(t);
    case TRUNCATE:
        return is_tracked(t->tid, fd, &object, path);
    case COPY:
        if (is_socket(t->tid, copy_target(&t->call)))
            refuse(&t->call, "sends what is not seen");
        return is_tracked(t->tid, copy_target(&t->call), &object, path);
    case RENAME:
        return renamed(t, path, other);
    case REMOVE:
    case MKDIR:
        return named(t, path);
    case SEND:
        begin_send(t);
        return 1;
    case MAP:
        fd = (int)t->call.args[4];
        if (!(t->call.args[3] & MAP_ANONYMOUS) && t->call.args[3] & MAP_SHARED &&
            (is_socket(t->tid, fd) || is_tracked(t->tid, fd, &object, path)))
            refuse(&t->call, "shares memory with a file or socket");
        return 0;
    case CLONE:
        if (!is_thread(t))
            refuse(&t->call, "starts a process");
        return 0;
    case EXECUTE:
        if (executed++)
            refuse(&t->call, "runs another program");
        return 0;
    case NOT_HERE:
        if (is_tracked(t->tid, fd, &object, path))
            refuse(&t->call, "changes a file in a way that is not modelled");
        return 0;
    case LEAVE:
        leaving = t->tid;
        ending = 1;
        return 0;
    }
    return 0;
}

/* At the end of a call of interest. */
static void end(struct thread *t, int64_t result)
{
    char path[PATH_MAX], other[PATH_MAX];
    uint64_t object;
    struct stat about;
    enum kind kind = kind_of(t->call.nr);
    if (kind == SYNC) {
        end_sync(t, result);
        return;
    }
    if (result < 0)
        return;
    switch (kind) {
    case OPEN:
        end_open(t, result);
        break;
    case WRITE:
        end_write(t, result);
        break;
    case COPY:
        end_copy(t, result);
        break;
    case TRUNCATE:
        if (is_tracked(t->tid, (int)t->call.args[0], &object, path))
            event('t', path, "", object, t->call.args[1], NULL, 0);
        break;
    case RENAME:
        renamed(t, path, other);
        event('m', path, other, 0, 0, NULL, 0);
        break;
    case REMOVE:
        named(t, path);
        event('u', path, "", 0, 0, NULL, 0);
        break;
    case MKDIR:
        named(t, path);
        if (lstat(path, &about))
            die("find the directory that was made");
        event('d', path, "", about.st_ino, 0, NULL, 0);
        break;
    default:
        break;
    }
}

/* ---- Following the threads ---- */

static struct thread *thread_of(pid_t tid)
{
    struct thread *free_place = NULL;
    for (size_t i = 0; i < THREADS; i++) {
        if (threads[i].tid == tid)
            return &threads[i];
        if (!threads[i].tid && !free_place)
            free_place = &threads[i];
    }
    if (!free_place)
        die("too many threads");
    memset(free_place, 0, sizeof *free_place);
    free_place->tid = tid;
    return free_place;
}

static void go_on(pid_t tid, int signal)
{
    /* It may have been killed meanwhile. */
    if (ptrace(PTRACE_SYSCALL, tid, 0, signal) && errno != ESRCH)
        die("let a thread go on");
}

static void at_call(struct thread *t)
{
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info) < 0) {
        if (errno == ESRCH)
            return;
        die("look at a system call");
    }
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        t->call.nr = (long)info.entry.nr;
        for (int i = 0; i < 6; i++)
            t->call.args[i] = info.entry.args[i];
        if (ending)
            return; /* held before it does anything */
        t->inside = begin(t);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->inside) {
        end(t, info.exit.rval);
        t->inside = 0;
    }
}

/* Takes note of what a thread stopped for, and lets it go on. */
static void stopped(pid_t tid, int status)
{
    struct thread *t = thread_of(tid);
    int signal = WSTOPSIG(status);
    int is_call = signal == (SIGTRAP | 0x80);
    if (is_call)
        at_call(t);
    /* Threads begin with a stop, and ptrace has events of its own: neither is a signal. */
    if (is_call || status >> 16 || signal == SIGSTOP || signal == SIGTRAP)
        signal = 0;
    if (!ending || t->inside)
        go_on(tid, signal);
}

/* Ends the program once nothing is under way. */
static void end_program(void)
{
    for (size_t i = 0; i < THREADS; i++)
        if (threads[i].tid && threads[i].inside)
            return;
    ending = 2;
    if (!leaving)
        kill(program, SIGKILL);
    else if (ptrace(PTRACE_CONT, leaving, 0, 0) && errno != ESRCH)
        die("let the program end");
}

static void launch(char **argv, const sigset_t *before)
{
    program = fork();
    if (program < 0)
        die("fork");
    if (program == 0) {
        sigprocmask(SIG_SETMASK, before, NULL);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    int status;
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_EXITKILL;
    if (waitpid(program, &status, __WALL) != program ||
        ptrace(PTRACE_SETOPTIONS, program, 0, options))
        die("trace the program");
    thread_of(program);
    go_on(program, 0);
}

/* Follows what has happened so far; the program's status when it is over, else -1. */
static int follow(void)
{
    int status;
    pid_t tid;
    while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
        if (WIFSTOPPED(status)) {
            stopped(tid, status);
        } else if (tid == program) {
            return status;
        } else {
            memset(thread_of(tid), 0, sizeof(struct thread));
        }
        if (ending == 1)
            end_program();
    }
    return -1;
}

int main(int argc, char **argv)
{
    sigset_t set, before;
    int killed = 0, status;
    if (argc < 4) {
        fprintf(stderr, "usage: recorder LOG DIRECTORY PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    root = argv[2];
    out = fopen(argv[1], "ae");
    if (!out)
        die(argv[1]);
    event('B', "", "", 0, 0, NULL, 0);
    sigemptyset(&set);
    for (const int *s = (int[]){SIGCHLD, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, 0}; *s; s++)
        sigaddset(&set, *s);
    sigprocmask(SIG_BLOCK, &set, &before);
    launch(argv + 3, &before);
    while ((status = follow()) < 0) {
        int signal = sigwaitinfo(&set, NULL);
        if (signal == SIGTERM || signal == SIGHUP)
            kill(program, signal);
        fail_next_sync |= signal == SIGUSR2;
        if (signal == SIGUSR1 && !ending) {
            killed = ending = 1;
            end_program();
        }
    }
    if (fclose(out))
        die(argv[1]);
    if (killed)
        return 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
