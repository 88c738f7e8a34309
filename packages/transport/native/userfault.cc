// userfaultfd(2), ioctl_userfaultfd(2): page faults of this or another process, handed to user space.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

namespace cluster_fs {
namespace {

// createUserfault(how, remapEvents): how 0 the system call with kernel faults, 1 /dev/userfaultfd, 2 user
// faults only
napi_value create_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  int how = a.i32(0);
  bool remap_events = a.boolean(1);
  if (!a.ok) return nullptr;
  int fd;
  if (how == 1) {
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return outcome(env, device);
    fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int error = errno;
    close(device);
    errno = error;
  } else {
    int flags = O_CLOEXEC | O_NONBLOCK | (how == 2 ? UFFD_USER_MODE_ONLY : 0);
    fd = static_cast<int>(syscall(SYS_userfaultfd, flags));
  }
  if (fd < 0) return outcome(env, fd);
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
                 UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID |
                 (remap_events ? UFFD_FEATURE_EVENT_REMAP : 0);
  if (ioctl(fd, UFFDIO_API, &api) != 0) {
    int error = errno;
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

// registerUserfault(fd, address, length, mode): mode 1 missing, 2 write-protect, 4 minor
napi_value register_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 4);
  int fd = a.fd(0);
  uffdio_register r = {};
  r.range.start = a.u53(1);
  r.range.len = a.u53(2);
  r.mode = a.u53(3);
  if (!a.ok) return nullptr;
  return outcome(env, ioctl(fd, UFFDIO_REGISTER, &r));
}

napi_value range_call(napi_env env, napi_callback_info info, unsigned long request) {
  Arguments a(env, info, 3);
  int fd = a.fd(0);
  uffdio_range range = {a.u53(1), a.u53(2)};
  if (!a.ok) return nullptr;
  return outcome(env, ioctl(fd, request, &range));
}

napi_value unregister_userfault(napi_env env, napi_callback_info info) {
  return range_call(env, info, UFFDIO_UNREGISTER);
}
napi_value wake_userfault(napi_env env, napi_callback_info info) {
  return range_call(env, info, UFFDIO_WAKE);
}

napi_value write_protect_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 4);
  int fd = a.fd(0);
  uffdio_writeprotect w = {};
  w.range.start = a.u53(1);
  w.range.len = a.u53(2);
  w.mode = a.boolean(3) ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  if (!a.ok) return nullptr;
  int result;
  // EAGAIN: the process is forking or remapping just now.
  do {
    result = ioctl(fd, UFFDIO_WRITEPROTECT, &w);
  } while (result != 0 && errno == EAGAIN);
  return outcome(env, result);
}

// copyUserfault(fd, address, source, length, writeProtect, wake): bytes copied, or -errno when none was
napi_value copy_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 6);
  int fd = a.fd(0);
  uffdio_copy c = {};
  c.dst = a.u53(1);
  c.src = a.u53(2);
  c.len = a.u53(3);
  c.mode = (a.boolean(4) ? UFFDIO_COPY_MODE_WP : 0) | (a.boolean(5) ? 0 : UFFDIO_COPY_MODE_DONTWAKE);
  if (!a.ok) return nullptr;
  if (ioctl(fd, UFFDIO_COPY, &c) == 0 || c.copy > 0) return number(env, static_cast<double>(c.copy));
  return number(env, -static_cast<double>(errno));
}

napi_value continue_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  int fd = a.fd(0);
  uffdio_continue c = {};
  c.range.start = a.u53(1);
  c.range.len = a.u53(2);
  if (!a.ok) return nullptr;
  if (ioctl(fd, UFFDIO_CONTINUE, &c) == 0 || c.mapped > 0) return number(env, static_cast<double>(c.mapped));
  return number(env, -static_cast<double>(errno));
}

napi_value zero_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  int fd = a.fd(0);
  uffdio_zeropage z = {};
  z.range.start = a.u53(1);
  z.range.len = a.u53(2);
  if (!a.ok) return nullptr;
  int result = ioctl(fd, UFFDIO_ZEROPAGE, &z);
  if (result == 0 || z.zeropage > 0) return number(env, static_cast<double>(z.zeropage));
  return number(env, -static_cast<double>(errno));
}

// readUserfaultEvents(fd, into: Uint8Array of rows of four doubles): rows filled. A row: event, then
//   fault: address, flags, thread;  remap: from, to, length;  remove, unmap: start, end
napi_value read_userfault_events(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  int fd = a.fd(0);
  size_t length = 0;
  double* row = reinterpret_cast<double*>(a.bytes(1, &length));
  if (!a.ok) return nullptr;
  uffd_msg messages[64];
  size_t rows = length / (4 * sizeof(double));
  ssize_t got = read(fd, messages, sizeof(uffd_msg) * (rows < 64 ? rows : 64));
  if (got < 0) return outcome(env, got);
  size_t count = static_cast<size_t>(got) / sizeof(uffd_msg);
  for (size_t i = 0; i < count; i++, row += 4) {
    const uffd_msg& m = messages[i];
    row[0] = m.event;
    row[1] = row[2] = row[3] = 0;
    if (m.event == UFFD_EVENT_PAGEFAULT) {
      row[1] = static_cast<double>(m.arg.pagefault.address);
      row[2] = static_cast<double>(m.arg.pagefault.flags);
      row[3] = m.arg.pagefault.feat.ptid;
    } else if (m.event == UFFD_EVENT_REMAP) {
      row[1] = static_cast<double>(m.arg.remap.from);
      row[2] = static_cast<double>(m.arg.remap.to);
      row[3] = static_cast<double>(m.arg.remap.len);
    } else {
      row[1] = static_cast<double>(m.arg.remove.start);
      row[2] = static_cast<double>(m.arg.remove.end);
    }
  }
  return number(env, static_cast<double>(count));
}

}  // namespace

void define_userfault(napi_env env, napi_value exports) {
  define(env, exports, "createUserfault", create_userfault);
  define(env, exports, "registerUserfault", register_userfault);
  define(env, exports, "unregisterUserfault", unregister_userfault);
  define(env, exports, "wakeUserfault", wake_userfault);
  define(env, exports, "writeProtectUserfault", write_protect_userfault);
  define(env, exports, "copyUserfault", copy_userfault);
  define(env, exports, "continueUserfault", continue_userfault);
  define(env, exports, "zeroUserfault", zero_userfault);
  define(env, exports, "readUserfaultEvents", read_userfault_events);
}

}  // namespace cluster_fs
