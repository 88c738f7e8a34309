// Copies off the event loop, on the libuv pool: between addresses, and from an address into a file.
#include <sys/mman.h>

#include "arguments.h"
#include "file.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace cluster_fs {
namespace {

// Into a tmpfs file, pwrite(2) takes fresh pages without zeroing them first, and a full tmpfs is ENOSPC and
// not SIGBUS.
int write_all(int fd, const uint8_t* from, uint64_t length, uint64_t offset) {
  while (length > 0) {
    ssize_t written = pwrite(fd, from, length, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -errno;
    if (written == 0) return -EIO;
    from += written;
    offset += static_cast<uint64_t>(written);
    length -= static_cast<uint64_t>(written);
  }
  return 0;
}

// The memory for a copy to come: its pages in the file, and both ends in this process's page tables. For the
// source this is a hint: what is not mapped is told by the copy.
int prepare(int fd, const uint8_t* from, uint8_t* to, uint64_t length, uint64_t offset) {
  int result = uninterrupted_fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
  if (result != 0) return -errno;
  madvise(const_cast<uint8_t*>(from), length, MADV_POPULATE_READ);
  if (to != nullptr && madvise(to, length, MADV_POPULATE_WRITE) != 0) return -errno;
  return 0;
}

struct Copy {
  bool only_prepare;
  const uint8_t* from;
  uint8_t* to;  // memory, or nullptr: the file
  int fd;
  uint64_t offset;
  uint64_t length;
  int result;
  napi_deferred deferred;
  napi_async_work work;
};

// The ranges may overlap: both are windows on memory that the caller laid out, and memmove costs the same.
void run(Copy* c) {
  if (c->only_prepare) c->result = prepare(c->fd, c->from, c->to, c->length, c->offset);
  else if (c->to != nullptr) memmove(c->to, c->from, c->length);
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

napi_value run_on_pool(napi_env env, const Copy& copy) {
  Copy* c = new Copy(copy);
  napi_value promise, name;
  napi_create_promise(env, &c->deferred, &promise);
  napi_create_string_utf8(env, "cluster-fs copy", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, on_execute, on_complete, c, &c->work);
  napi_queue_async_work(env, c->work);
  return promise;
}

napi_value run_now(napi_env env, Copy copy) {
  run(&copy);
  return number(env, copy.result);
}

// (from, to, length)
Copy memory_copy(Arguments* a) {
  Copy c = {};
  c.from = static_cast<uint8_t*>(a->address(0, "from"));
  c.to = static_cast<uint8_t*>(a->address(1, "to"));
  c.length = a->u53(2, "length");
  if (a->ok && (c.from == nullptr || c.to == nullptr)) a->fail("from and to", "addresses of mappings");
  return c;
}

// (fd, offset, address, length)
Copy file_copy(Arguments* a) {
  Copy c = {};
  c.fd = a->index(0, "fd");
  c.offset = a->u53(1, "offset");
  c.from = static_cast<uint8_t*>(a->address(2, "address"));
  c.length = a->u53(3, "length");
  return c;
}

napi_value copy_memory(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = memory_copy(&a);
  return a.ok ? run_on_pool(env, c) : nullptr;
}

napi_value copy_memory_sync(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = memory_copy(&a);
  return a.ok ? run_now(env, c) : nullptr;
}

napi_value write_memory(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = file_copy(&a);
  return a.ok ? run_on_pool(env, c) : nullptr;
}

napi_value write_memory_sync(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = file_copy(&a);
  return a.ok ? run_now(env, c) : nullptr;
}

// (fd, offset, address, length, window)
Copy preparation(Arguments* a) {
  Copy c = file_copy(a);
  c.only_prepare = true;
  c.to = static_cast<uint8_t*>(a->address(4, "window"));
  return c;
}

napi_value prepare_write(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = preparation(&a);
  return a.ok ? run_on_pool(env, c) : nullptr;
}

napi_value prepare_write_sync(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy c = preparation(&a);
  return a.ok ? run_now(env, c) : nullptr;
}

}  // namespace

void define_copy(napi_env env, napi_value exports) {
  define(env, exports, "copyMemory", copy_memory);
  define(env, exports, "copyMemorySync", copy_memory_sync);
  define(env, exports, "writeMemory", write_memory);
  define(env, exports, "writeMemorySync", write_memory_sync);
  define(env, exports, "prepareWrite", prepare_write);
  define(env, exports, "prepareWriteSync", prepare_write_sync);
}

}  // namespace cluster_fs
