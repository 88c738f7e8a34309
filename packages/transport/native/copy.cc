// Copies within a file, at once or off the event loop, on the libuv pool.
#include <memory>
#include <new>

#include "arguments.h"

namespace cluster_fs {
namespace {

// Stays in the processor's cache between the read and the write.
constexpr size_t kBufferBytes = 256 * 1024;

// Allocated by the first copy of a thread: most threads make none.
uint8_t* thread_buffer() {
  static thread_local std::unique_ptr<uint8_t[]> buffer;
  if (buffer == nullptr) buffer.reset(new (std::nothrow) uint8_t[kBufferBytes]);
  return buffer.get();
}

struct Copy {
  int fd;
  uint64_t from;
  uint64_t to;
  uint64_t length;
  int result;
  napi_deferred deferred;
  napi_async_work work;
};

// Bytes that were read or written: `length`, or fewer at an end; -errno when there are none.
template <typename Step>
ssize_t uninterrupted(Step step) {
  for (;;) {
    ssize_t done = step();
    if (done >= 0) return done;
    if (errno != EINTR) return -errno;
  }
}

// By pread(2) and pwrite(2), not through a mapping: there each page would be a fault of this process, in the
// source and in the target, and where a hypervisor keeps page tables of its own that costs ten times what
// the copy does. Into a tmpfs file, pwrite takes fresh pages without zeroing them first, and a full tmpfs is
// ENOSPC and not SIGBUS.
int copy_in_file(const Copy& c) {
  uint8_t* buffer = thread_buffer();
  if (buffer == nullptr) return -ENOMEM;
  for (uint64_t done = 0; done < c.length;) {
    size_t part = c.length - done < kBufferBytes ? c.length - done : kBufferBytes;
    ssize_t got =
        uninterrupted([&] { return pread(c.fd, buffer, part, static_cast<off_t>(c.from + done)); });
    if (got < 0) return static_cast<int>(got);
    if (got == 0) return -EIO;  // The file ends before the source does.
    for (ssize_t put = 0; put < got;) {
      off_t at = static_cast<off_t>(c.to + done) + put;
      ssize_t written = uninterrupted([&] { return pwrite(c.fd, buffer + put, got - put, at); });
      if (written < 0) return static_cast<int>(written);
      if (written == 0) return -EIO;
      put += written;
    }
    done += static_cast<uint64_t>(got);
  }
  return 0;
}

void on_execute(napi_env, void* data) {
  Copy* c = static_cast<Copy*>(data);
  c->result = copy_in_file(*c);
}

// The promise resolves with 0 or -errno; TypeScript makes the error.
void on_complete(napi_env env, napi_status status, void* data) {
  Copy* c = static_cast<Copy*>(data);
  napi_resolve_deferred(env, c->deferred, number(env, status == napi_ok ? c->result : -ECANCELED));
  napi_delete_async_work(env, c->work);
  delete c;
}

// (fd, from, to, length)
Copy copy_of(Arguments* a) {
  Copy c = {};
  c.fd = a->index(0, "fd");
  c.from = a->u53(1, "from");
  c.to = a->u53(2, "to");
  c.length = a->u53(3, "length");
  return c;
}

napi_value copy_on_pool(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy copy = copy_of(&a);
  if (!a.ok) return nullptr;
  Copy* c = new Copy(copy);
  napi_value promise, name;
  napi_create_promise(env, &c->deferred, &promise);
  napi_create_string_utf8(env, "cluster-fs copy", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, on_execute, on_complete, c, &c->work);
  napi_queue_async_work(env, c->work);
  return promise;
}

napi_value copy_sync(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Copy copy = copy_of(&a);
  return a.ok ? number(env, copy_in_file(copy)) : nullptr;
}

}  // namespace

void define_copy(napi_env env, napi_value exports) {
  define(env, exports, "copyInFile", copy_on_pool);
  define(env, exports, "copyInFileSync", copy_sync);
}

}  // namespace cluster_fs
