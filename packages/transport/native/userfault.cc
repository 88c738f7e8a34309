// userfaultfd(2), ioctl_userfaultfd(2): page faults of this or another process, handed to user space.
//
// Every call returns at once. EAGAIN, which they give while the process is about to remap or fork and its
// event was not read yet, is the caller's: it may be the very thread that has to read the event.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

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

// In the order of `ways` in native/userfault.ts.
enum Way { kSystemCall, kDevice, kUserModeOnly };

int open_userfault(int way) {
  constexpr int flags = O_CLOEXEC | O_NONBLOCK;
  if (way == kSystemCall) return static_cast<int>(syscall(SYS_userfaultfd, flags));
  if (way == kUserModeOnly) return static_cast<int>(syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY));
  int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) return device;
  int fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
  int error = errno;
  close(device);
  errno = error;
  return fd;
}

// createUserfault(way, remapEvents, features: Float64Array of one, filled)
napi_value create_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int way = a.index(0, "way", kUserModeOnly);
  bool remap_events = a.boolean(1, "remapEvents");
  size_t room = 0;
  double* features = a.doubles(2, "features", &room);
  if (!a.ok) return nullptr;
  int fd = open_userfault(way);
  if (fd < 0) return outcome(env, fd);
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
                 UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID |
                 (remap_events ? UFFD_FEATURE_EVENT_REMAP : 0);
  if (ioctl(fd, UFFDIO_API, &api) != 0) return close_and_fail(env, fd);
  *features = static_cast<double>(api.features);
  return number(env, fd);
}

// registerUserfault(fd, address, length, missing, writeProtect, minor)
napi_value register_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_register r = {};
  r.range.start = a.u53(1, "address");
  r.range.len = a.u53(2, "length");
  r.mode = (a.boolean(3, "missing") ? UFFDIO_REGISTER_MODE_MISSING : 0) |
           (a.boolean(4, "writeProtect") ? UFFDIO_REGISTER_MODE_WP : 0) |
           (a.boolean(5, "minor") ? UFFDIO_REGISTER_MODE_MINOR : 0);
  if (!a.ok) return nullptr;
  return outcome(env, ioctl(fd, UFFDIO_REGISTER, &r));
}

napi_value range_call(napi_env env, napi_callback_info info, unsigned long request) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_range range = {a.u53(1, "address"), a.u53(2, "length")};
  if (!a.ok) return nullptr;
  return outcome(env, ioctl(fd, request, &range));
}

napi_value unregister_userfault(napi_env env, napi_callback_info info) {
  return range_call(env, info, UFFDIO_UNREGISTER);
}

napi_value wake_userfault(napi_env env, napi_callback_info info) {
  return range_call(env, info, UFFDIO_WAKE);
}

// writeProtectUserfault(fd, address, length, on)
napi_value write_protect_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_writeprotect w = {};
  w.range.start = a.u53(1, "address");
  w.range.len = a.u53(2, "length");
  w.mode = a.boolean(3, "on") ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  if (!a.ok) return nullptr;
  return outcome(env, ioctl(fd, UFFDIO_WRITEPROTECT, &w));
}

// The filling calls stop at the first page that they cannot fill, and say how far they came: that many bytes.
// A page that is there already, at the very start, is no failure but 0 bytes.
napi_value filled(napi_env env, int result, int64_t bytes) {
  if (result == 0 || bytes > 0) return number(env, static_cast<double>(bytes));
  return number(env, errno == EEXIST ? 0 : -static_cast<double>(errno));
}

// copyUserfault(fd, address, source, length, writeProtect, wake)
napi_value copy_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_copy c = {};
  c.dst = a.u53(1, "address");
  c.src = a.u53(2, "source");
  c.len = a.u53(3, "length");
  c.mode = (a.boolean(4, "writeProtect") ? UFFDIO_COPY_MODE_WP : 0) |
           (a.boolean(5, "wake") ? 0 : UFFDIO_COPY_MODE_DONTWAKE);
  if (!a.ok) return nullptr;
  int result = ioctl(fd, UFFDIO_COPY, &c);
  return filled(env, result, c.copy);
}

// continueUserfault(fd, address, length)
napi_value continue_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_continue c = {};
  c.range.start = a.u53(1, "address");
  c.range.len = a.u53(2, "length");
  if (!a.ok) return nullptr;
  int result = ioctl(fd, UFFDIO_CONTINUE, &c);
  return filled(env, result, c.mapped);
}

// zeroUserfault(fd, address, length)
napi_value zero_userfault(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uffdio_zeropage z = {};
  z.range.start = a.u53(1, "address");
  z.range.len = a.u53(2, "length");
  if (!a.ok) return nullptr;
  int result = ioctl(fd, UFFDIO_ZEROPAGE, &z);
  return filled(env, result, z.zeropage);
}

// poisonUserfault(fd, address, length). From Linux 6.6 on; its headers may be newer than the machine's.
napi_value poison_userfault(napi_env env, napi_callback_info info) {
  struct {
    uffdio_range range;
    uint64_t mode;
    int64_t updated;
  } p = {};
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  p.range.start = a.u53(1, "address");
  p.range.len = a.u53(2, "length");
  if (!a.ok) return nullptr;
  int result = ioctl(fd, _IOWR(UFFDIO, 0x08, decltype(p)), &p);
  return filled(env, result, p.updated);
}

constexpr size_t kMaxEvents = 256;
constexpr size_t kColumns = 4;

// A row of numbers: the event, then for a fault address, flags, thread; for a remap from, to, length; for a
// removed or unmapped range start and end.
void describe(const uffd_msg& m, double* row) {
  row[0] = m.event;
  row[3] = 0;
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

// readUserfaultEvents(fd, rows: Float64Array of four to an event): rows filled
napi_value read_userfault_events(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  size_t length = 0;
  double* rows = a.doubles(1, "rows", &length);
  if (a.ok && (length < kColumns || length > kMaxEvents * kColumns)) a.fail("max", "from 1 to 256");
  if (!a.ok) return nullptr;
  uffd_msg messages[kMaxEvents];
  ssize_t got = read(fd, messages, sizeof(uffd_msg) * (length / kColumns));
  if (got < 0) return outcome(env, got);
  size_t count = static_cast<size_t>(got) / sizeof(uffd_msg);
  for (size_t i = 0; i < count; i++) describe(messages[i], rows + i * kColumns);
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
  define(env, exports, "poisonUserfault", poison_userfault);
  define(env, exports, "readUserfaultEvents", read_userfault_events);
}

}  // namespace cluster_fs
