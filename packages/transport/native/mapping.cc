// Memory mappings: mmap(2), mremap(2), mprotect(2), madvise(2), msync(2), munmap(2).
//
// The kernel rounds a length up to whole pages. Where that would replace or change bytes that the caller did
// not name, a range that is not of whole pages is EINVAL here.
#include <sys/mman.h>

#include "arguments.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace cluster_fs {
namespace {

// In the order of `protections` and `advices` in native/mapping.ts.
constexpr int kProtections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
constexpr int kAdvices[] = {
    MADV_NORMAL,   MADV_RANDOM,     MADV_SEQUENTIAL, MADV_WILLNEED,      MADV_DONTNEED,
    MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP,   MADV_POPULATE_READ, MADV_POPULATE_WRITE,
};

int protection_of(Arguments* a, size_t i) {
  constexpr int last = sizeof kProtections / sizeof *kProtections - 1;
  return kProtections[a->index(i, "protection", last)];
}

const uintptr_t page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));

// Page zero is refused as well: privileged processes may map it, and every null pointer would then work.
bool whole_pages(void* address, uint64_t length) {
  uintptr_t start = reinterpret_cast<uintptr_t>(address);
  return start != 0 && start % page_size == 0 && length != 0 && length % page_size == 0;
}

napi_value mapped(napi_env env, void* address) {
  if (address == MAP_FAILED) return number(env, -static_cast<double>(errno));
  return number(env, static_cast<double>(reinterpret_cast<uintptr_t>(address)));
}

// reserve(length)
napi_value reserve(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  uint64_t length = a.u53(0, "length");
  if (!a.ok) return nullptr;
  return mapped(env, mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

// mapFile(fd, offset, length, protection, populate, fixed, address): unless fixed, the kernel chooses
napi_value map_file(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  uint64_t offset = a.u53(1, "offset"), length = a.u53(2, "length");
  int protection = protection_of(&a, 3);
  int flags = MAP_SHARED | (a.boolean(4, "populate") ? MAP_POPULATE : 0);
  bool fixed = a.boolean(5, "fixed");
  void* address = a.address(6, "address");
  if (!a.ok) return nullptr;
  if (fixed && !whole_pages(address, length)) return number(env, -EINVAL);
  if (fixed) flags |= MAP_FIXED;
  return mapped(env, mmap(address, length, protection, flags, fd, static_cast<off_t>(offset)));
}

// mapAnonymous(address, length, protection)
napi_value map_anonymous(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  uint64_t length = a.u53(1, "length");
  int protection = protection_of(&a, 2);
  if (!a.ok) return nullptr;
  if (!whole_pages(address, length)) return number(env, -EINVAL);
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  return mapped(env, mmap(address, length, protection, flags, -1, 0));
}

// moveMapping(from, to, length)
napi_value move_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void *from = a.address(0, "from"), *to = a.address(1, "to");
  uint64_t length = a.u53(2, "length");
  if (!a.ok) return nullptr;
  if (!whole_pages(from, length) || !whole_pages(to, length)) return number(env, -EINVAL);
  return mapped(env, mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

// protectMapping(address, length, protection)
napi_value protect_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  uint64_t length = a.u53(1, "length");
  int protection = protection_of(&a, 2);
  if (!a.ok) return nullptr;
  if (!whole_pages(address, length)) return number(env, -EINVAL);
  return outcome(env, mprotect(address, length, protection));
}

// adviseMapping(address, length, advice)
napi_value advise_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  uint64_t length = a.u53(1, "length");
  int advice = kAdvices[a.index(2, "advice", sizeof kAdvices / sizeof *kAdvices - 1)];
  if (!a.ok) return nullptr;
  if (!whole_pages(address, length)) return number(env, -EINVAL);
  return outcome(env, madvise(address, length, advice));
}

// syncMapping(address, length)
napi_value sync_mapping(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  uint64_t length = a.u53(1, "length");
  if (!a.ok) return nullptr;
  return outcome(env, msync(address, length, MS_SYNC));
}

// unmap(address, length). Rounds up like mmap without an address, so that what was mapped can be unmapped.
napi_value unmap(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  void* address = a.address(0, "address");
  uint64_t length = a.u53(1, "length");
  if (!a.ok) return nullptr;
  return outcome(env, munmap(address, length));
}

napi_value get_page_size(napi_env env, napi_callback_info) {
  return number(env, static_cast<double>(page_size));
}

}  // namespace

void define_mapping(napi_env env, napi_value exports) {
  define(env, exports, "reserve", reserve);
  define(env, exports, "mapFile", map_file);
  define(env, exports, "mapAnonymous", map_anonymous);
  define(env, exports, "moveMapping", move_mapping);
  define(env, exports, "protectMapping", protect_mapping);
  define(env, exports, "adviseMapping", advise_mapping);
  define(env, exports, "syncMapping", sync_mapping);
  define(env, exports, "unmap", unmap);
  define(env, exports, "pageSize", get_page_size);
}

}  // namespace cluster_fs
