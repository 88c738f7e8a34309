// futex(2) on shared memory: waiting and waking across processes, which Atomics.wait and notify do not do.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

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
constexpr size_t kMaxWaiters = 128;

// Three thousand years are for ever; far beyond, the sum with the clock would overflow.
constexpr double kForeverMs = 1e14;

timespec from_milliseconds(double ms) {
  timespec t;
  t.tv_sec = static_cast<time_t>(ms / 1000);
  t.tv_nsec = static_cast<long>(fmod(ms, 1000) * 1e6);
  return t;
}

// wakeFutex(address, count)
napi_value wake_futex(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  int count = a.index(1, "count");
  if (!a.ok) return nullptr;
  return outcome(env, syscall(SYS_futex, address, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

// waitFutex(address, expected, timeoutMs): blocks the calling thread
napi_value wait_futex(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  int32_t expected = a.i32(1, "expected");
  double timeout_ms = a.milliseconds(2, "timeoutMs");
  if (!a.ok) return nullptr;
  bool forever = timeout_ms > kForeverMs;
  timespec span = from_milliseconds(forever ? 0 : timeout_ms);
  timespec* timeout = forever ? nullptr : &span;
  return outcome(env, syscall(SYS_futex, address, FUTEX_WAIT, expected, timeout, nullptr, 0));
}

// futex_waitv(2) takes a point in time, not a length of time.
timespec after(double ms) {
  timespec now, t = from_milliseconds(ms);
  clock_gettime(CLOCK_MONOTONIC, &now);
  t.tv_sec += now.tv_sec;
  t.tv_nsec += now.tv_nsec;
  if (t.tv_nsec >= 1000000000) {
    t.tv_nsec -= 1000000000;
    t.tv_sec += 1;
  }
  return t;
}

bool is_integer(double value, double min, double max) {
  return value >= min && value <= max && value == floor(value);
}

// Fills `waiters` from (address, expected) pairs. False when a number is not what it should be.
bool read_waiters(const double* pairs, size_t count, Waiter* waiters) {
  for (size_t i = 0; i < count; i++) {
    double address = pairs[i * 2], expected = pairs[i * 2 + 1];
    if (!is_integer(address, 0, kMaxSafeInteger) || !is_integer(expected, INT32_MIN, INT32_MAX)) return false;
    uint32_t value = static_cast<uint32_t>(static_cast<int32_t>(expected));
    waiters[i] = {value, static_cast<uint64_t>(address), kSize32, 0};
  }
  return true;
}

// waitFutexAny(pairs: Float64Array of (address, expected), timeoutMs): index of the one that was woken
napi_value wait_futex_any(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  size_t length = 0;
  const double* pairs = a.doubles(0, "waits", &length);
  double timeout_ms = a.milliseconds(1, "timeoutMs");
  size_t count = length / 2;
  Waiter waiters[kMaxWaiters];
  if (a.ok && (count > kMaxWaiters || !read_waiters(pairs, count, waiters))) {
    a.fail("waits", "1 to 128 addresses, each with the 32-bit integer expected there");
  }
  if (!a.ok) return nullptr;
  bool forever = timeout_ms > kForeverMs;
  timespec point = after(forever ? 0 : timeout_ms);
  timespec* deadline = forever ? nullptr : &point;
  unsigned words = static_cast<unsigned>(count);
  return outcome(env, syscall(SYS_futex_waitv, waiters, words, 0, deadline, CLOCK_MONOTONIC));
}

}  // namespace

void define_futex(napi_env env, napi_value exports) {
  define(env, exports, "wakeFutex", wake_futex);
  define(env, exports, "waitFutex", wait_futex);
  define(env, exports, "waitFutexAny", wait_futex_any);
}

}  // namespace cluster_fs
