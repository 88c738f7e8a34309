// futex(2) on shared memory: waiting and waking across processes, which Atomics.wait and notify do not do.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

namespace cluster_fs {
namespace {

// struct futex_waitv of linux/futex.h, which older headers lack.
struct Waiter {
  uint64_t value;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
};
constexpr uint32_t kSize32 = 2;
constexpr uint32_t kMaxWaiters = 128;

timespec from_milliseconds(double ms) {
  timespec t;
  t.tv_sec = static_cast<time_t>(ms / 1000);
  t.tv_nsec = static_cast<long>(fmod(ms, 1000) * 1e6);
  return t;
}

napi_value wake_futex(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  void* address = a.address(0);
  int count = a.i32(1);
  if (!a.ok) return nullptr;
  return outcome(env, syscall(SYS_futex, address, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

// waitFutex(address, expected, timeoutMs): blocks the calling thread
napi_value wait_futex(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  void* address = a.address(0);
  int32_t expected = a.i32(1);
  timespec timeout = from_milliseconds(static_cast<double>(a.u53(2)));
  if (!a.ok) return nullptr;
  return outcome(env, syscall(SYS_futex, address, FUTEX_WAIT, expected, &timeout, nullptr, 0));
}

// waitFutexAny(pairs: Uint8Array of (address, expected) as doubles, count, timeoutMs): index of the one that
// was woken
napi_value wait_futex_any(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  size_t length = 0;
  const double* pairs = reinterpret_cast<double*>(a.bytes(0, &length));
  uint64_t count = a.u53(1);
  double timeout_ms = static_cast<double>(a.u53(2));
  if (a.ok && (count > kMaxWaiters || length < count * 2 * sizeof(double))) a.fail("too many waits");
  if (!a.ok) return nullptr;
  Waiter waiters[kMaxWaiters];
  for (uint64_t i = 0; i < count; i++) {
    uint32_t expected = static_cast<uint32_t>(static_cast<int32_t>(pairs[i * 2 + 1]));
    waiters[i] = {expected, static_cast<uint64_t>(pairs[i * 2]), kSize32, 0};
  }
  // futex_waitv takes a point in time, not a length of time.
  timespec now, timeout = from_milliseconds(timeout_ms);
  clock_gettime(CLOCK_MONOTONIC, &now);
  timeout.tv_sec += now.tv_sec;
  timeout.tv_nsec += now.tv_nsec;
  if (timeout.tv_nsec >= 1000000000) {
    timeout.tv_nsec -= 1000000000;
    timeout.tv_sec += 1;
  }
  return outcome(env, syscall(SYS_futex_waitv, waiters, count, 0, &timeout, CLOCK_MONOTONIC));
}

}  // namespace

void define_futex(napi_env env, napi_value exports) {
  define(env, exports, "wakeFutex", wake_futex);
  define(env, exports, "waitFutex", wait_futex);
  define(env, exports, "waitFutexAny", wait_futex_any);
}

}  // namespace cluster_fs
