// Readiness of a descriptor on the event loop of the calling thread: uv_poll_t. No thread of the pool is
// involved.
#include <uv.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

// One poll handle. It dies when libuv has closed the handle, which happens after close() or when its thread
// ends.
struct Poll {
  uv_poll_t handle;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
};

void on_closed(uv_handle_t* handle) {
  Poll* poll = static_cast<Poll*>(handle->data);
  if (poll->hook != nullptr) napi_remove_async_cleanup_hook(poll->hook);
  delete poll;
}

void close_poll(Poll* poll) {
  if (poll->closing) return;
  poll->closing = true;
  napi_delete_reference(poll->env, poll->callback);
  napi_async_destroy(poll->env, poll->context);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), on_closed);
}

// The thread is ending, worker.terminate() included: the handle must leave its loop before the loop is torn
// down.
void on_thread_end(napi_async_cleanup_hook_handle, void* data) { close_poll(static_cast<Poll*>(data)); }

void on_ready(uv_poll_t* handle, int status, int events) {
  Poll* poll = static_cast<Poll*>(handle->data);
  if (poll->closing) return;
  napi_handle_scope scope;
  napi_open_handle_scope(poll->env, &scope);
  napi_value callback, global, argument, ignored;
  napi_get_reference_value(poll->env, poll->callback, &callback);
  napi_get_global(poll->env, &global);
  // An error of the descriptor shows as readable: the next read tells what it is.
  argument = number(poll->env, status < 0 ? UV_READABLE : events);
  napi_status called = napi_make_callback(poll->env, poll->context, global, callback, 1, &argument, &ignored);
  if (called == napi_pending_exception) {
    napi_value exception;
    napi_get_and_clear_last_exception(poll->env, &exception);
    napi_fatal_exception(poll->env, exception);
  }
  napi_close_handle_scope(poll->env, scope);
}

// pollDescriptor(fd, callback) -> handle, or -errno
napi_value poll_descriptor(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  int fd = a.fd(0);
  napi_valuetype type = napi_undefined;
  if (a.ok) napi_typeof(env, a.value(1), &type);
  if (a.ok && type != napi_function) a.fail("expected a function");
  if (!a.ok) return nullptr;
  uv_loop_t* loop;
  napi_get_uv_event_loop(env, &loop);
  Poll* poll = new Poll{};
  poll->env = env;
  int error = uv_poll_init(loop, &poll->handle, fd);
  if (error != 0) {
    delete poll;
    return number(env, error);
  }
  poll->handle.data = poll;
  napi_value name, result;
  napi_create_string_utf8(env, "cluster-fs poll", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &poll->context);
  napi_create_reference(env, a.value(1), 1, &poll->callback);
  napi_add_async_cleanup_hook(env, on_thread_end, poll, &poll->hook);
  napi_create_external(env, poll, nullptr, nullptr, &result);
  return result;
}

Poll* poll_of(napi_env env, Arguments* a) {
  void* data = nullptr;
  if (a->ok && napi_get_value_external(env, a->value(0), &data) != napi_ok) a->fail("expected a poll handle");
  return static_cast<Poll*>(data);
}

// watchPoll(handle, events): 1 readable, 2 writable, 0 neither
napi_value watch_poll(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  Poll* poll = poll_of(env, &a);
  int events = a.i32(1);
  if (!a.ok) return nullptr;
  int error = events == 0 ? uv_poll_stop(&poll->handle) : uv_poll_start(&poll->handle, events, on_ready);
  return number(env, error);
}

// closePoll(handle). The caller does not use the handle again: its memory goes.
napi_value close_poll_handle(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  Poll* poll = poll_of(env, &a);
  if (!a.ok) return nullptr;
  close_poll(poll);
  return number(env, 0);
}

napi_value ref_poll(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  Poll* poll = poll_of(env, &a);
  bool on = a.boolean(1);
  if (!a.ok) return nullptr;
  if (on) uv_ref(reinterpret_cast<uv_handle_t*>(&poll->handle));
  else uv_unref(reinterpret_cast<uv_handle_t*>(&poll->handle));
  return number(env, 0);
}

}  // namespace

void define_poll(napi_env env, napi_value exports) {
  define(env, exports, "pollDescriptor", poll_descriptor);
  define(env, exports, "watchPoll", watch_poll);
  define(env, exports, "closePoll", close_poll_handle);
  define(env, exports, "refPoll", ref_poll);
}

}  // namespace cluster_fs
