// ArrayBuffers over memory that is not theirs, by Node-API: for runtimes that v8_buffer.cc was not built for.
//
// V8 counts these as memory of the heap's, and that cannot be corrected from here. A negative
// napi_adjust_external_memory lowers V8's limit along with its count, so that collections start all the same;
// and as the buffer is detached the count would fall below zero, of which V8 13 (Node 24) aborts.
#include <dlfcn.h>

#include "arguments.h"
#include "user_space.h"

namespace cluster_fs {
namespace {

// Whoever maps unmaps: a buffer that dies takes nothing with it.
void release_nothing(napi_env, void*, void*) {}
void release_nothing_shared(void*, void*) {}

using CreateShared = napi_status (*)(napi_env, void*, size_t, void (*)(void*, void*), void*, napi_value*);

// Newer runtimes have it, and this binary must load in older ones.
CreateShared find_create_shared() {
  void* symbol = dlsym(RTLD_DEFAULT, "node_api_create_external_sharedarraybuffer");
  return reinterpret_cast<CreateShared>(symbol);
}

napi_value made(napi_env env, napi_status status, napi_value buffer) {
  if (status == napi_ok) return buffer;
  bool thrown = false;
  napi_is_exception_pending(env, &thrown);
  if (thrown) return nullptr;
  return number(env, status == napi_no_external_buffers_allowed ? -EOPNOTSUPP : -ENOMEM);
}

struct Range {
  void* address;
  uint64_t length;
};

Range range_of(Arguments* a) {
  uint64_t address = a->u53(0, "address"), length = a->u53(1, "length");
  if (a->ok && !in_user_space(static_cast<double>(address), static_cast<double>(length))) {
    a->fail("address and length", "those of a mapping");
  }
  return {reinterpret_cast<void*>(static_cast<uintptr_t>(address)), length};
}

// arrayBufferAt(address, length) -> ArrayBuffer, or -EOPNOTSUPP where the runtime forbids such buffers
napi_value array_buffer_at(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Range range = range_of(&a);
  if (!a.ok) return nullptr;
  napi_value buffer;
  napi_status status =
      napi_create_external_arraybuffer(env, range.address, range.length, release_nothing, nullptr, &buffer);
  return made(env, status, buffer);
}

// sharedArrayBufferAt(address, length) -> SharedArrayBuffer, or -EOPNOTSUPP where the runtime has none such
napi_value shared_array_buffer_at(napi_env env, napi_callback_info info) {
  static const CreateShared create = find_create_shared();
  Arguments a(env, info);
  Range range = range_of(&a);
  if (!a.ok) return nullptr;
  if (create == nullptr) return number(env, -EOPNOTSUPP);
  napi_value buffer;
  napi_status status = create(env, range.address, range.length, release_nothing_shared, nullptr, &buffer);
  return made(env, status, buffer);
}

// detachArrayBuffer(buffer)
napi_value detach_array_buffer(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  bool is_buffer = false;
  napi_is_arraybuffer(env, a.value(0), &is_buffer);
  if (!is_buffer) a.fail("buffer", "an ArrayBuffer");
  if (!a.ok) return nullptr;
  return number(env, napi_detach_arraybuffer(env, a.value(0)) == napi_ok ? 0 : -EINVAL);
}

// addressOf(typed array or DataView)
napi_value address_of(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* data = nullptr;
  bool is_view = false;
  napi_is_dataview(env, a.value(0), &is_view);
  if (is_view) {
    napi_get_dataview_info(env, a.value(0), nullptr, &data, nullptr, nullptr);
  } else {
    napi_get_typedarray_info(env, a.value(0), nullptr, nullptr, &data, nullptr, nullptr);
  }
  if (data == nullptr) a.fail("view", "a typed array or DataView that is not empty or detached");
  if (!a.ok) return nullptr;
  return number(env, static_cast<double>(reinterpret_cast<uintptr_t>(data)));
}

}  // namespace

void define_array_buffer(napi_env env, napi_value exports) {
  define(env, exports, "arrayBufferAt", array_buffer_at);
  define(env, exports, "sharedArrayBufferAt", shared_array_buffer_at);
  define(env, exports, "detachArrayBuffer", detach_array_buffer);
  define(env, exports, "addressOf", address_of);
}

}  // namespace cluster_fs
