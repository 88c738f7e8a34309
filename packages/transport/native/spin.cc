// Looking for events before the event loop of the calling thread goes to sleep: uv_prepare_t, poll(2) on the
// loop's epoll. A processor that sleeps takes tens of microseconds to wake, and who wakes it pays as much.
#include <poll.h>
#include <sched.h>
#include <uv.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

// One prepare handle. It dies when libuv has closed it, which happens after closeSpin() or when its thread
// ends.
struct Spin {
  uv_prepare_t handle;
  int microseconds;
  // Of the last look: how long it took, in microseconds and at least 1; negative when it was in vain.
  double last;
  napi_async_cleanup_hook_handle hook;
  bool closing;
};

uv_handle_t* handle_of(Spin* spin) { return reinterpret_cast<uv_handle_t*>(&spin->handle); }

void on_closed(uv_handle_t* handle) {
  Spin* spin = static_cast<Spin*>(handle->data);
  napi_remove_async_cleanup_hook(spin->hook);
  delete spin;
}

void close_spin(Spin* spin) {
  if (spin->closing) return;
  spin->closing = true;
  uv_close(handle_of(spin), on_closed);
}

void on_thread_end(napi_async_cleanup_hook_handle, void* data) { close_spin(static_cast<Spin*>(data)); }

// The loop is about to wait. The descriptor of its epoll is readable when any descriptor of the loop is
// ready, so that nobody is kept waiting; a timer ends the look when it is due.
void on_prepare(uv_prepare_t* handle) {
  Spin* spin = static_cast<Spin*>(handle->data);
  if (spin->microseconds == 0) return;
  int timeout_ms = uv_backend_timeout(handle->loop);
  if (timeout_ms == 0) return;  // It does not wait: there is something else to do first.
  uint64_t limit = static_cast<uint64_t>(spin->microseconds) * 1000;
  if (timeout_ms > 0 && limit > timeout_ms * 1000000ull) limit = timeout_ms * 1000000ull;
  spin->microseconds = 0;
  pollfd loop = {uv_backend_fd(handle->loop), POLLIN, 0};
  uint64_t start = uv_hrtime();
  uint64_t took = 0;
  bool caught = false;
  do {
    // To whoever waits for this processor; it may be the one that makes what we look for.
    if (took > 0) sched_yield();
    caught = poll(&loop, 1, 0) > 0;
    took = uv_hrtime() - start;
  } while (!caught && took < limit);
  double microseconds = static_cast<double>(took / 1000 + 1);
  spin->last = caught ? microseconds : -microseconds;
}

// createSpin() -> handle, or -errno
napi_value create_spin(napi_env env, napi_callback_info) {
  uv_loop_t* loop;
  napi_get_uv_event_loop(env, &loop);
  Spin* spin = new Spin{};
  int error = uv_prepare_init(loop, &spin->handle);
  if (error != 0) {
    delete spin;
    return number(env, error);
  }
  spin->handle.data = spin;
  uv_prepare_start(&spin->handle, on_prepare);
  uv_unref(handle_of(spin));
  napi_value result;
  napi_add_async_cleanup_hook(env, on_thread_end, spin, &spin->hook);
  napi_create_external(env, spin, nullptr, nullptr, &result);
  return result;
}

Spin* spin_of(napi_env env, Arguments* a) {
  void* data = nullptr;
  if (napi_get_value_external(env, a->value(0), &data) != napi_ok) a->fail("handle", "of a spin");
  return static_cast<Spin*>(data);
}

// spinOnce(handle, microseconds): for so long before the loop waits the next time, 0 not at all; how long the
// look before took, negative when it was in vain, 0 when there was none
napi_value spin_once(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Spin* spin = spin_of(env, &a);
  int microseconds = a.index(1, "microseconds", 1000);
  if (!a.ok) return nullptr;
  double last = spin->last;
  spin->last = 0;
  spin->microseconds = microseconds;
  return number(env, last);
}

// closeSpin(handle). The caller does not use the handle again: its memory goes.
napi_value close_spin_handle(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Spin* spin = spin_of(env, &a);
  if (!a.ok) return nullptr;
  close_spin(spin);
  return number(env, 0);
}

}  // namespace

void define_spin(napi_env env, napi_value exports) {
  define(env, exports, "createSpin", create_spin);
  define(env, exports, "spinOnce", spin_once);
  define(env, exports, "closeSpin", close_spin_handle);
}

}  // namespace cluster_fs
