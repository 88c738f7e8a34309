// Readiness of a descriptor on the event loop of the calling thread: uv_poll_t. No thread of the pool is
// involved.
#include <fcntl.h>
#include <uv.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

// One poll handle. It dies when libuv has closed the handle, which happens after close() or when its thread
// ends.
//
// INVARIANT: `fd` is a duplicate that nobody else closes or polls. libuv keeps a table by descriptor number
// and aborts the process when epoll does not know one, so that a caller who closes too early, or polls one
// descriptor twice, would end the process.
struct Poll {
  uv_poll_t handle;
  int fd;
  int events;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
};

uv_handle_t* handle_of(Poll* poll) { return reinterpret_cast<uv_handle_t*>(&poll->handle); }

void on_closed(uv_handle_t* handle) {
  Poll* poll = static_cast<Poll*>(handle->data);
  napi_delete_reference(poll->env, poll->callback);
  napi_async_destroy(poll->env, poll->context);
  napi_remove_async_cleanup_hook(poll->hook);
  delete poll;
}

void close_poll(Poll* poll) {
  if (poll->closing) return;
  poll->closing = true;
  // uv_close takes the descriptor out of epoll before it returns; only then may it be closed.
  uv_close(handle_of(poll), on_closed);
  close(poll->fd);
}

// The thread is ending, worker.terminate() included: the handle must leave its loop before the loop is torn
// down.
void on_thread_end(napi_async_cleanup_hook_handle, void* data) { close_poll(static_cast<Poll*>(data)); }

void on_ready(uv_poll_t* handle, int status, int events) {
  Poll* poll = static_cast<Poll*>(handle->data);
  if (poll->closing) return;
  if (status < 0) {
    // libuv stops at an error of the descriptor. There may still be bytes to read before it, so go on as
    // level-triggered: the next read or write takes the error or tells the end.
    events = poll->events;
    uv_poll_start(handle, poll->events, on_ready);
  }
  napi_handle_scope scope;
  napi_open_handle_scope(poll->env, &scope);
  napi_value callback, global, ignored;
  napi_get_reference_value(poll->env, poll->callback, &callback);
  napi_get_global(poll->env, &global);
  napi_value argument = number(poll->env, events);
  napi_status called =
      napi_make_callback(poll->env, poll->context, global, callback, 1, &argument, &ignored);
  if (called == napi_pending_exception) {
    napi_value exception;
    napi_get_and_clear_last_exception(poll->env, &exception);
    napi_fatal_exception(poll->env, exception);
  }
  napi_close_handle_scope(poll->env, scope);
}

// pollDescriptor(fd, callback) -> handle, or -errno
napi_value poll_descriptor(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  napi_valuetype type = napi_undefined;
  napi_typeof(env, a.value(1), &type);
  if (type != napi_function) a.fail("callback", "a function");
  if (!a.ok) return nullptr;
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return outcome(env, own);
  uv_loop_t* loop;
  napi_get_uv_event_loop(env, &loop);
  Poll* poll = new Poll{};
  int error = uv_poll_init(loop, &poll->handle, own);
  if (error != 0) {
    delete poll;
    close(own);
    return number(env, error);
  }
  poll->handle.data = poll;
  poll->fd = own;
  poll->env = env;
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
  if (napi_get_value_external(env, a->value(0), &data) != napi_ok) a->fail("handle", "of a poll");
  return static_cast<Poll*>(data);
}

// watchPoll(handle, events): 1 readable, 2 writable, 0 neither
napi_value watch_poll(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Poll* poll = poll_of(env, &a);
  int events = a.index(1, "events", UV_READABLE | UV_WRITABLE);
  if (!a.ok) return nullptr;
  poll->events = events;
  int error = events == 0 ? uv_poll_stop(&poll->handle) : uv_poll_start(&poll->handle, events, on_ready);
  return number(env, error);
}

// closePoll(handle). The caller does not use the handle again: its memory goes.
napi_value close_poll_handle(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Poll* poll = poll_of(env, &a);
  if (!a.ok) return nullptr;
  close_poll(poll);
  return number(env, 0);
}

// refPoll(handle, on)
napi_value ref_poll(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Poll* poll = poll_of(env, &a);
  bool on = a.boolean(1, "on");
  if (!a.ok) return nullptr;
  if (on) uv_ref(handle_of(poll));
  else uv_unref(handle_of(poll));
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
