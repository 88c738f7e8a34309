// Files: memfd_create(2), fcntl(2) seals, fallocate(2), lseek(2) SEEK_DATA and SEEK_HOLE, fstatfs(2),
// flock(2).
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "arguments.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace cluster_fs {

namespace {

// On tmpfs, a signal undoes all that fallocate did so far (EINTR). Repeating it would never end under a
// profiler that sends signals faster than a large range is allocated, so they wait until it is done.
int uninterrupted_fallocate(int fd, int mode, uint64_t offset, uint64_t length) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return result;
}

// createMemfd(name, size)
napi_value create_memfd(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  char name[256];
  size_t length = a.text(0, "name", name, sizeof name);
  uint64_t size = a.u53(1, "sizeBytes");
  if (!a.ok) return nullptr;
  if (length >= sizeof name) return number(env, -EINVAL);
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) return close_and_fail(env, fd);
  return number(env, fd);
}

napi_value seal_future_writes(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  constexpr int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return outcome(env, fcntl(fd, F_ADD_SEALS, seals));
}

napi_value allocate(napi_env env, napi_callback_info info, int mode) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uint64_t offset = a.u53(1, "offset"), length = a.u53(2, "length");
  if (!a.ok) return nullptr;
  return outcome(env, uninterrupted_fallocate(fd, mode, offset, length));
}

napi_value allocate_range(napi_env env, napi_callback_info info) {
  return allocate(env, info, FALLOC_FL_KEEP_SIZE);
}

napi_value punch_hole(napi_env env, napi_callback_info info) {
  return allocate(env, info, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

napi_value seek(napi_env env, napi_callback_info info, int whence) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uint64_t offset = a.u53(1, "offset");
  if (!a.ok) return nullptr;
  return outcome(env, lseek(fd, static_cast<off_t>(offset), whence));
}

napi_value seek_data(napi_env env, napi_callback_info info) { return seek(env, info, SEEK_DATA); }
napi_value seek_hole(napi_env env, napi_callback_info info) { return seek(env, info, SEEK_HOLE); }

// fileSystemStats(fd, into: Float64Array of type, block size, blocks, free, available)
napi_value file_system_stats(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  size_t room = 0;
  double* into = a.doubles(1, "into", &room);
  if (a.ok && room < 5) a.fail("into", "five numbers long");
  if (!a.ok) return nullptr;
  struct statfs s;
  int result = fstatfs(fd, &s);
  if (result == 0) {
    into[0] = static_cast<double>(static_cast<uint32_t>(s.f_type));
    into[1] = static_cast<double>(s.f_bsize);
    into[2] = static_cast<double>(s.f_blocks);
    into[3] = static_cast<double>(s.f_bfree);
    into[4] = static_cast<double>(s.f_bavail);
  }
  return outcome(env, result);
}

napi_value lock_file(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  return outcome(env, flock(fd, LOCK_EX | LOCK_NB));
}

napi_value duplicate(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  return outcome(env, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

}  // namespace

void define_file(napi_env env, napi_value exports) {
  define(env, exports, "createMemfd", create_memfd);
  define(env, exports, "sealFutureWrites", seal_future_writes);
  define(env, exports, "allocateRange", allocate_range);
  define(env, exports, "punchHole", punch_hole);
  define(env, exports, "seekData", seek_data);
  define(env, exports, "seekHole", seek_hole);
  define(env, exports, "fileSystemStats", file_system_stats);
  define(env, exports, "lockFile", lock_file);
  define(env, exports, "duplicate", duplicate);
}

}  // namespace cluster_fs
