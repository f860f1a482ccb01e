/* Does one thing that a recorder must not miss: past libc where the name says so. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3 || chdir(argv[1]))
        return 2;
    const char *what = argv[2];
    int file = open("file", O_CREAT | O_RDWR, 0600);
    if (!strcmp(what, "raw-write"))
        return syscall(SYS_pwrite64, file, "raw", 3L, 4L) != 3;
    if (!strcmp(what, "raw-send")) {
        int pair[2];
        return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || write(pair[0], "raw", 3) != 3;
    }
    if (!strcmp(what, "shared-memory"))
        return mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED;
    if (!strcmp(what, "link"))
        return link("file", "other");
    if (!strcmp(what, "fallocate"))
        return fallocate(file, 0, 0, 4096);
    if (!strcmp(what, "io_uring"))
        return (int)syscall(SYS_io_uring_setup, 8L, NULL);
    if (!strcmp(what, "fork"))
        return fork() < 0;
    if (!strcmp(what, "rename-out"))
        return rename("file", "/tmp/outside");
    if (!strcmp(what, "dots"))
        return unlink("../root/file");
    return 2;
}
