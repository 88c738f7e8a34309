/*
 * Records what a process does to the files of one directory: preloaded (ld.so(8), LD_PRELOAD), it stands
 * between the process and libc, and appends each call that succeeded to a log, with its bytes. recorder.ts
 * reads it.
 *
 * A call and its record are one step, so the order of the log is the order of the calls, over all threads. A
 * flush has two records: what was written before the first is on the disk after the second. A flush can be
 * refused, as a disk with a fault does: then what was written before the first never comes there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

enum Kind : uint32_t {
  kCreate = 1,
  kWrite,
  kTruncate,
  kPunch,
  kExtend,
  kFlushBegin,
  kFlushEnd,
  kRename,
  kUnlink,
  kUnknown,
  kFlushRefused,
};

struct Record {
  uint32_t kind;
  uint32_t thread;
  uint64_t ino;
  uint64_t offset;
  uint64_t length;
  uint32_t path_bytes;
  uint32_t data_bytes;
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
const char* directory;
size_t directory_bytes;
int log_fd = -1;

struct Lock {
  Lock() { pthread_mutex_lock(&mutex); }
  ~Lock() { pthread_mutex_unlock(&mutex); }
};

/* The number of the descriptor is taken from the process's own: high, where nobody closes it by chance. */
bool ready() {
  static bool looked = false;
  if (!looked) {
    looked = true;
    directory = getenv("CLUSTERFS_RECORD_DIRECTORY");
    const char* log = getenv("CLUSTERFS_RECORD_LOG");
    if (directory != nullptr && log != nullptr) {
      directory_bytes = strlen(directory);
      const int fd = static_cast<int>(
          syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
      log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
      syscall(SYS_close, fd);
    }
  }
  return log_fd >= 0;
}

bool is_inside(const char* path) {
  return strncmp(path, directory, directory_bytes) == 0 &&
         (path[directory_bytes] == '/' || path[directory_bytes] == '\0');
}

/* Of a file that lost its name too: the kernel says so behind the path. */
bool path_of(int fd, char* path) {
  if (fd < 0 || fd == log_fd || !ready()) return false;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (length <= 0) return false;
  path[length] = '\0';
  return is_inside(path);
}

bool path_at(int at, const char* name, char* path) {
  if (!ready() || name == nullptr) return false;
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
    return is_inside(path);
  }
  char base[PATH_MAX];
  if (at == AT_FDCWD) {
    if (getcwd(base, sizeof base) == nullptr) return false;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
    if (length <= 0) return false;
    base[length] = '\0';
  }
  if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return false;
  return is_inside(path);
}

uint64_t ino_of(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/*
 * The process dies behind the call that a countdown in a file ends with: 0 is the next. The file goes first.
 */
void count_down() {
  const char* path = getenv("CLUSTERFS_RECORD_COUNTDOWN");
  const int fd = path == nullptr ? -1 : static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDWR));
  if (fd < 0) return;
  uint32_t left = 0;
  if (syscall(SYS_pread64, fd, &left, sizeof left, 0) != sizeof left) abort();
  if (left == 0) {
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    kill(getpid(), SIGKILL);
  }
  left--;
  if (syscall(SYS_pwrite64, fd, &left, sizeof left, 0) != sizeof left) abort();
  syscall(SYS_close, fd);
}

void append(Kind kind, uint64_t ino, uint64_t offset, uint64_t length, const char* path,
            const struct iovec* data = nullptr, int parts = 0, size_t data_bytes = 0) {
  Record record = {kind,   static_cast<uint32_t>(syscall(SYS_gettid)),  ino, offset, length,
                   static_cast<uint32_t>(strlen(path)), static_cast<uint32_t>(data_bytes)};
  struct iovec all[1026] = {{&record, sizeof record}, {const_cast<char*>(path), record.path_bytes}};
  int count = 2;
  size_t total = sizeof record + record.path_bytes;
  for (size_t left = data_bytes; left > 0 && parts > 0; parts--, data++) {
    const size_t size = data->iov_len < left ? data->iov_len : left;
    all[count++] = {data->iov_base, size};
    left -= size;
    total += size;
  }
  /* A log that is not whole proves nothing. */
  if (syscall(SYS_writev, log_fd, all, count) != static_cast<long>(total)) abort();
  count_down();
}

void append_data(Kind kind, uint64_t ino, const char* path, const char* text) {
  const struct iovec data = {const_cast<char*>(text), strlen(text)};
  append(kind, ino, 0, 0, path, &data, 1, data.iov_len);
}

int opened(int at, const char* name, int flags, mode_t mode) {
  char path[PATH_MAX];
  const bool changes = (flags & (O_CREAT | O_TRUNC)) != 0 && path_at(at, name, path);
  if (!changes) return static_cast<int>(syscall(SYS_openat, at, name, flags, mode));
  Lock lock;
  struct stat before;
  const bool was_there = fstatat(at, name, &before, 0) == 0;
  const int fd = static_cast<int>(syscall(SYS_openat, at, name, flags, mode));
  if (fd < 0) return fd;
  if (!was_there) append(kCreate, ino_of(fd), 0, 0, path);
  else if ((flags & O_TRUNC) != 0) append(kTruncate, ino_of(fd), 0, 0, path);
  return fd;
}

mode_t mode_of(int flags, va_list& arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

/* One write at `offset`; without one (-1) at the place of the descriptor. */
template <typename Call>
ssize_t written(int fd, const struct iovec* data, int parts, int64_t offset, Call call) {
  char path[PATH_MAX];
  if (!path_of(fd, path)) return call();
  Lock lock;
  const int64_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR);
  const ssize_t count = call();
  if (count > 0) {
    const bool appends = offset < 0 && (fcntl(fd, F_GETFL) & O_APPEND) != 0;
    struct stat st;
    const int64_t place = appends && fstat(fd, &st) == 0 ? st.st_size - count : at;
    append(kWrite, ino_of(fd), place, count, path, data, parts, count);
  }
  return count;
}

template <typename Call>
int changed(int fd, Kind kind, uint64_t offset, uint64_t length, Call call) {
  char path[PATH_MAX];
  if (!path_of(fd, path)) return call();
  Lock lock;
  const int result = call();
  if (result == 0) append(kind, ino_of(fd), offset, length, path);
  return result;
}

/* Whether the next flush of the file is to be refused: a file says how its path begins, and goes first. */
bool is_refused(const char* path) {
  const char* order = getenv("CLUSTERFS_RECORD_REFUSE");
  const int fd = order == nullptr ? -1 : static_cast<int>(syscall(SYS_openat, AT_FDCWD, order, O_RDONLY));
  if (fd < 0) return false;
  char begin[PATH_MAX];
  const long length = syscall(SYS_read, fd, begin, sizeof begin);
  syscall(SYS_close, fd);
  if (length <= 0 || strncmp(path, begin, length) != 0) return false;
  return syscall(SYS_unlinkat, AT_FDCWD, order, 0) == 0;
}

/* Not under the lock: others go on writing while a disk flushes. */
int flushed(int fd, long call) {
  char path[PATH_MAX];
  if (!path_of(fd, path)) return static_cast<int>(syscall(call, fd));
  const uint64_t ino = ino_of(fd);
  {
    Lock lock;
    append(kFlushBegin, ino, 0, 0, path);
    if (is_refused(path)) {
      append(kFlushRefused, ino, 0, 0, path);
      errno = EIO;
      return -1;
    }
  }
  const char* slow_ms = getenv("CLUSTERFS_RECORD_FLUSH_MS");
  if (slow_ms != nullptr) usleep(1000 * atoi(slow_ms));
  const int result = static_cast<int>(syscall(call, fd));
  if (result == 0) {
    Lock lock;
    append(kFlushEnd, ino, 0, 0, path);
  }
  return result;
}

int renamed(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  char source[PATH_MAX];
  char target[PATH_MAX];
  const bool leaves = path_at(from_at, from, source);
  const bool comes = path_at(to_at, to, target);
  if (!leaves && !comes) return static_cast<int>(syscall(SYS_renameat2, from_at, from, to_at, to, flags));
  Lock lock;
  const int result = static_cast<int>(syscall(SYS_renameat2, from_at, from, to_at, to, flags));
  if (result == 0) append_data(leaves && comes && flags == 0 ? kRename : kUnknown, 0, source, target);
  return result;
}

int unlinked(int at, const char* name, int flags) {
  char path[PATH_MAX];
  if (!path_at(at, name, path)) return static_cast<int>(syscall(SYS_unlinkat, at, name, flags));
  Lock lock;
  const int result = static_cast<int>(syscall(SYS_unlinkat, at, name, flags));
  if (result == 0) append(kUnlink, 0, 0, 0, path);
  return result;
}

/* What changes a file and is not recorded: the log says so, and its reader refuses it. */
void unknown(int fd, const char* call) {
  char path[PATH_MAX];
  if (!path_of(fd, path)) return;
  Lock lock;
  append_data(kUnknown, ino_of(fd), path, call);
}

}  // namespace

extern "C" {

int open(const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return opened(AT_FDCWD, name, flags, mode);
}

int open64(const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return opened(AT_FDCWD, name, flags, mode);
}

int openat(int at, const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return opened(at, name, flags, mode);
}

int openat64(int at, const char* name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return opened(at, name, flags, mode);
}

int creat(const char* name, mode_t mode) {
  return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char* name, mode_t mode) { return creat(name, mode); }

ssize_t write(int fd, const void* bytes, size_t count) {
  const struct iovec data = {const_cast<void*>(bytes), count};
  return written(fd, &data, 1, -1, [=] { return syscall(SYS_write, fd, bytes, count); });
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  const struct iovec data = {const_cast<void*>(bytes), count};
  return written(fd, &data, 1, offset, [=] { return syscall(SYS_pwrite64, fd, bytes, count, offset); });
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return pwrite64(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec* data, int parts) {
  return written(fd, data, parts, -1, [=] { return syscall(SYS_writev, fd, data, parts); });
}

ssize_t pwritev64(int fd, const struct iovec* data, int parts, off64_t offset) {
  return written(fd, data, parts, offset, [=] { return syscall(SYS_pwritev, fd, data, parts, offset, 0); });
}

ssize_t pwritev(int fd, const struct iovec* data, int parts, off_t offset) {
  return pwritev64(fd, data, parts, offset);
}

int ftruncate64(int fd, off64_t size) {
  return changed(fd, kTruncate, size, 0, [=] { return static_cast<int>(syscall(SYS_ftruncate, fd, size)); });
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  const auto call = [=] { return static_cast<int>(syscall(SYS_fallocate, fd, mode, offset, length)); };
  if (mode == 0) return changed(fd, kExtend, offset, length, call);
  if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) return changed(fd, kPunch, offset, length, call);
  if (mode != FALLOC_FL_KEEP_SIZE) unknown(fd, "fallocate");
  return call();
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

int fsync(int fd) { return flushed(fd, SYS_fsync); }
int fdatasync(int fd) { return flushed(fd, SYS_fdatasync); }

int rename(const char* from, const char* to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }

int renameat(int from_at, const char* from, int to_at, const char* to) {
  return renamed(from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  return renamed(from_at, from, to_at, to, flags);
}

int unlink(const char* name) { return unlinked(AT_FDCWD, name, 0); }
int unlinkat(int at, const char* name, int flags) { return unlinked(at, name, flags); }

int remove(const char* name) {
  const int result = unlinked(AT_FDCWD, name, 0);
  return result != 0 && errno == EISDIR ? unlinked(AT_FDCWD, name, AT_REMOVEDIR) : result;
}

void* mmap64(void* address, size_t length, int protection, int flags, int fd, off64_t offset) {
  if (fd >= 0 && (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0) unknown(fd, "mmap");
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, length, protection, flags, fd, offset));
}

void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap64(address, length, protection, flags, fd, offset);
}

ssize_t copy_file_range(int in, off64_t* in_at, int out, off64_t* out_at, size_t count, unsigned flags) {
  unknown(out, "copy_file_range");
  return syscall(SYS_copy_file_range, in, in_at, out, out_at, count, flags);
}

ssize_t sendfile64(int out, int in, off64_t* offset, size_t count) {
  unknown(out, "sendfile");
  return syscall(SYS_sendfile, out, in, offset, count);
}

ssize_t sendfile(int out, int in, off_t* offset, size_t count) { return sendfile64(out, in, offset, count); }

}  // extern "C"
