// Memory mappings, and ArrayBuffers over them: mmap(2), mremap(2), mprotect(2), madvise(2), msync(2),
// munmap(2).
#include <sys/mman.h>
#include <unistd.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

napi_value mapped(napi_env env, void* address) {
  return number(env, address == MAP_FAILED ? -static_cast<double>(errno)
                                           : static_cast<double>(reinterpret_cast<uintptr_t>(address)));
}

// map(address, length, protection, flags, fd, offset)
napi_value map(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 6);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  int protection = a.i32(2), flags = a.i32(3), fd = a.i32(4);
  uint64_t offset = a.u53(5);
  if (!a.ok) return nullptr;
  return mapped(env, mmap(address, length, protection, flags, fd, static_cast<off_t>(offset)));
}

// moveMapping(from, length, to)
napi_value move_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  void* from = a.address(0);
  uint64_t length = a.u53(1);
  void* to = a.address(2);
  if (!a.ok) return nullptr;
  return mapped(env, mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

napi_value protect(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  int protection = a.i32(2);
  if (!a.ok) return nullptr;
  return outcome(env, mprotect(address, length, protection));
}

napi_value advise(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  int advice = a.i32(2);
  if (!a.ok) return nullptr;
  return outcome(env, madvise(address, length, advice));
}

napi_value sync_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  if (!a.ok) return nullptr;
  return outcome(env, msync(address, length, MS_SYNC));
}

napi_value unmap(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  if (!a.ok) return nullptr;
  return outcome(env, munmap(address, length));
}

// arrayBufferAt(address, length) -> ArrayBuffer, or -1 where the runtime forbids external buffers. V8 counts
// its length as memory of its own; v8_buffer.cc does better where it is built.
napi_value array_buffer_at(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  void* address = a.address(0);
  uint64_t length = a.u53(1);
  if (a.ok && (address == nullptr || length == 0)) a.fail("an empty mapping has no ArrayBuffer");
  if (!a.ok) return nullptr;
  napi_value buffer;
  napi_status status = napi_create_external_arraybuffer(env, address, length, nullptr, nullptr, &buffer);
  if (status == napi_no_external_buffers_allowed) return number(env, -1);
  return status == napi_ok ? buffer : nullptr;
}

napi_value detach_array_buffer(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  if (!a.ok) return nullptr;
  return number(env, napi_detach_arraybuffer(env, a.value(0)) == napi_ok ? 0 : -EINVAL);
}

// addressOf(typed array)
napi_value address_of(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  void* data = nullptr;
  napi_typedarray_type type;
  size_t length = 0;
  if (!a.ok) return nullptr;
  if (napi_get_typedarray_info(env, a.value(0), &type, &length, &data, nullptr, nullptr) != napi_ok) {
    a.fail("expected a typed array");
    return nullptr;
  }
  return number(env, static_cast<double>(reinterpret_cast<uintptr_t>(data)));
}

napi_value page_size(napi_env env, napi_callback_info) {
  return number(env, static_cast<double>(sysconf(_SC_PAGESIZE)));
}

}  // namespace

void define_mapping(napi_env env, napi_value exports) {
  define(env, exports, "map", map);
  define(env, exports, "moveMapping", move_mapping);
  define(env, exports, "protect", protect);
  define(env, exports, "advise", advise);
  define(env, exports, "syncMapping", sync_mapping);
  define(env, exports, "unmap", unmap);
  define(env, exports, "arrayBufferAt", array_buffer_at);
  define(env, exports, "detachArrayBuffer", detach_array_buffer);
  define(env, exports, "addressOf", address_of);
  define(env, exports, "pageSize", page_size);
}

}  // namespace cluster_fs
