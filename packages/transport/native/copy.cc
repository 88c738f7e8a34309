// Copies off the event loop, on the libuv pool: memcpy(3) between addresses, pwrite(2) from an address into a
// file.
#include <string.h>
#include <unistd.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

// Into a tmpfs file, pwrite takes fresh pages without zeroing them first, and a full tmpfs is ENOSPC and not
// SIGBUS.
int write_all(int fd, const uint8_t* from, uint64_t length, uint64_t offset) {
  while (length > 0) {
    ssize_t written = pwrite(fd, from, length, static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    from += written;
    offset += static_cast<uint64_t>(written);
    length -= static_cast<uint64_t>(written);
  }
  return 0;
}

struct Copy {
  const uint8_t* from;
  uint8_t* to;  // memory, or nullptr: the file
  int fd;
  uint64_t offset;
  uint64_t length;
  int result;
  napi_deferred deferred;
  napi_async_work work;
};

void run(Copy* c) {
  if (c->to != nullptr) memcpy(c->to, c->from, c->length);
  else c->result = write_all(c->fd, c->from, c->length, c->offset);
}

void on_execute(napi_env, void* data) { run(static_cast<Copy*>(data)); }

// The promise resolves with 0 or -errno; TypeScript makes the error.
void on_complete(napi_env env, napi_status status, void* data) {
  Copy* c = static_cast<Copy*>(data);
  napi_resolve_deferred(env, c->deferred, number(env, status == napi_ok ? c->result : -ECANCELED));
  napi_delete_async_work(env, c->work);
  delete c;
}

napi_value start(napi_env env, const Copy& copy, bool wait) {
  if (wait) {
    Copy now = copy;
    run(&now);
    return number(env, now.result);
  }
  Copy* c = new Copy(copy);
  napi_value promise, name;
  napi_create_promise(env, &c->deferred, &promise);
  napi_create_string_utf8(env, "cluster-fs copy", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, on_execute, on_complete, c, &c->work);
  napi_queue_async_work(env, c->work);
  return promise;
}

// copyMemory(from, to, length, wait)
napi_value copy_memory(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 4);
  Copy c = {};
  c.from = static_cast<uint8_t*>(a.address(0));
  c.to = static_cast<uint8_t*>(a.address(1));
  c.length = a.u53(2);
  bool wait = a.boolean(3);
  if (a.ok && (c.from == nullptr || c.to == nullptr)) a.fail("expected an address");
  if (!a.ok) return nullptr;
  return start(env, c, wait);
}

// writeMemory(fd, offset, address, length, wait)
napi_value write_memory(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 5);
  Copy c = {};
  c.fd = a.fd(0);
  c.offset = a.u53(1);
  c.from = static_cast<uint8_t*>(a.address(2));
  c.length = a.u53(3);
  bool wait = a.boolean(4);
  if (!a.ok) return nullptr;
  return start(env, c, wait);
}

}  // namespace

void define_copy(napi_env env, napi_value exports) {
  define(env, exports, "copyMemory", copy_memory);
  define(env, exports, "writeMemory", write_memory);
}

}  // namespace cluster_fs
