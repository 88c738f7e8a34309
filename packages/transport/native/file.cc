// Files: memfd_create(2), fcntl(2) seals, fallocate(2), lseek(2) SEEK_DATA and SEEK_HOLE, fstatfs(2),
// flock(2).
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "arguments.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace cluster_fs {
namespace {

napi_value create_memfd(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  char name[250];
  a.text(0, name, sizeof name);
  uint64_t size = a.u53(1);
  if (!a.ok) return nullptr;
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && ftruncate(fd, static_cast<off_t>(size)) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    fd = -1;
  }
  return outcome(env, fd);
}

napi_value seal_future_writes(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  int fd = a.fd(0);
  if (!a.ok) return nullptr;
  int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return outcome(env, fcntl(fd, F_ADD_SEALS, seals));
}

napi_value allocate(napi_env env, int mode, napi_callback_info info) {
  Arguments a(env, info, 3);
  int fd = a.fd(0);
  uint64_t offset = a.u53(1), length = a.u53(2);
  if (!a.ok) return nullptr;
  int result;
  do {
    result = fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (result != 0 && errno == EINTR);
  return outcome(env, result);
}

napi_value allocate_range(napi_env env, napi_callback_info info) {
  return allocate(env, FALLOC_FL_KEEP_SIZE, info);
}

napi_value punch_hole(napi_env env, napi_callback_info info) {
  return allocate(env, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, info);
}

napi_value seek(napi_env env, int whence, napi_callback_info info) {
  Arguments a(env, info, 2);
  int fd = a.fd(0);
  uint64_t offset = a.u53(1);
  if (!a.ok) return nullptr;
  return outcome(env, lseek(fd, static_cast<off_t>(offset), whence));
}

napi_value seek_data(napi_env env, napi_callback_info info) { return seek(env, SEEK_DATA, info); }
napi_value seek_hole(napi_env env, napi_callback_info info) { return seek(env, SEEK_HOLE, info); }

// fileSystemStats(fd, into: Uint8Array of five doubles: type, block size, blocks, free, available)
napi_value file_system_stats(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  int fd = a.fd(0);
  size_t length = 0;
  double* into = reinterpret_cast<double*>(a.bytes(1, &length));
  if (a.ok && length < 5 * sizeof(double)) a.fail("expected room for five doubles");
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
  Arguments a(env, info, 1);
  int fd = a.fd(0);
  if (!a.ok) return nullptr;
  return outcome(env, flock(fd, LOCK_EX | LOCK_NB));
}

napi_value duplicate(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  int fd = a.fd(0);
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
