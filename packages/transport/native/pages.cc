// Pages and their sums: computed, and compared with what is read from a file while the bytes are in the
// processor's cache, at once or on the libuv pool.
#include <sys/uio.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

// xxHash64 with seed 0, as its specification has it (doc/xxhash_spec.md of xxHash), of lengths that are
// multiples of 32: no rest is left over.
constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr size_t kStripe = 32;

// Of 4 KiB: its offset is a safe integer.
constexpr double kLastPlace = 2199023255551.0;

inline uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

inline uint64_t lane_at(const uint8_t* at) {
  uint64_t lane;
  memcpy(&lane, at, sizeof lane);
  return lane;
}

inline uint64_t round_of(uint64_t sum, uint64_t lane) { return rotate(sum + lane * kPrime2, 31) * kPrime1; }

inline uint64_t merge(uint64_t sum, uint64_t part) { return (sum ^ round_of(0, part)) * kPrime1 + kPrime4; }

uint64_t sum_of(const uint8_t* bytes, size_t length) {
  uint64_t a = kPrime1 + kPrime2, b = kPrime2, c = 0, d = 0 - kPrime1;
  for (const uint8_t* end = bytes + length; bytes < end; bytes += kStripe) {
    a = round_of(a, lane_at(bytes));
    b = round_of(b, lane_at(bytes + 8));
    c = round_of(c, lane_at(bytes + 16));
    d = round_of(d, lane_at(bytes + 24));
  }
  uint64_t sum = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  sum = merge(merge(merge(merge(sum, a), b), c), d) + length;
  sum = (sum ^ sum >> 33) * kPrime2;
  sum = (sum ^ sum >> 29) * kPrime3;
  return sum ^ sum >> 32;
}

// Pages of one length, side by side, with a sum for each. There may be room for more than there are.
struct Pages {
  uint8_t* bytes;
  uint64_t* sums;
  size_t each;
  size_t count;
};

Pages pages_in(Arguments* a, size_t first) {
  Pages p = {};
  size_t length = 0, room = 0;
  p.bytes = a->bytes(first, "bytes", &length);
  p.sums = a->sums(first + 1, "sums", &room);
  p.count = static_cast<size_t>(a->index(first + 2, "count"));
  if (!a->ok) return p;
  p.each = length / room;
  if (length % room != 0 || p.each % kStripe != 0)
    a->fail("bytes", "pages of a multiple of 32 bytes, one for each sum");
  else if (p.count > room) a->fail("count", "that of the sums at most");
  return p;
}

// sumPages(bytes, sums: filled, count)
napi_value sum_pages(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Pages p = pages_in(&a, 0);
  if (!a.ok) return nullptr;
  for (size_t i = 0; i < p.count; i++) p.sums[i] = sum_of(p.bytes + i * p.each, p.each);
  return number(env, static_cast<double>(p.count));
}

// Where each page is in the file, counted in pages; 0: nowhere, and it is zeros whatever its sum is.
struct Read {
  int fd;
  const double* places;
  Pages pages;
  double result;
  napi_ref arrays[3];
  napi_deferred deferred;
  napi_async_work work;
};

// Up to this much is in the cache when it is summed.
constexpr size_t kStep = 64 * 1024;

// How many pages from `first` on lie one behind the other, as far as they are read at once; 1 for one of
// zeros.
size_t run_at(const Read& r, size_t first) {
  size_t end = first + 1;
  if (r.places[first] == 0) return 1;
  size_t most = kStep / r.pages.each;
  while (end < r.pages.count && end - first < most && r.places[end] == r.places[end - 1] + 1) end++;
  return end - first;
}

// What the file does not have reads as zeros. With RWF_NOWAIT -EAGAIN when the disk must be waited for.
int read_bytes(int fd, uint8_t* into, size_t length, uint64_t offset, int flags) {
  for (size_t done = 0; done < length;) {
    iovec part = {into + done, length - done};
    ssize_t got = preadv2(fd, &part, 1, static_cast<off_t>(offset + done), flags);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    // Not only at the end of the file, but also where the next page is not in memory.
    if (got == 0 && flags != 0) return -EAGAIN;
    if (got == 0) {
      memset(into + done, 0, length - done);
      break;
    }
    done += static_cast<size_t>(got);
  }
  return 0;
}

// How many pages, from the first on, are as their sums say, or -errno.
double read_pages(const Read& r, int flags) {
  const Pages& p = r.pages;
  size_t each = p.each;
  size_t good = 0;
  for (size_t i = 0, run; i < p.count; i += run) {
    run = run_at(r, i);
    uint8_t* bytes = p.bytes + i * each;
    bool is_stored = r.places[i] != 0;
    if (is_stored) {
      int error = read_bytes(r.fd, bytes, run * each, static_cast<uint64_t>(r.places[i]) * each, flags);
      if (error != 0) return error;
    } else memset(bytes, 0, each);
    while (good >= i && good < i + run &&
           (!is_stored || sum_of(p.bytes + good * each, each) == p.sums[good])) good++;
  }
  return static_cast<double>(good);
}

Read read_of(Arguments* a) {
  Read r = {};
  size_t places = 0;
  r.fd = a->index(0, "fd");
  r.places = a->doubles(1, "places", &places);
  r.pages = pages_in(a, 2);
  if (a->ok && places < r.pages.count) a->fail("places", "one for each page");
  for (size_t i = 0; a->ok && i < r.pages.count; i++) {
    double place = r.places[i];
    if (!(place >= 0 && place <= kLastPlace) || place != floor(place)) a->fail("places", "numbers of pages");
  }
  return r;
}

// readPagesNow(fd, places, bytes, sums, count, mayWait)
napi_value read_pages_now(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Read r = read_of(&a);
  bool may_wait = a.boolean(5, "mayWait");
  return a.ok ? number(env, read_pages(r, may_wait ? 0 : RWF_NOWAIT)) : nullptr;
}

void on_execute(napi_env, void* data) {
  Read* r = static_cast<Read*>(data);
  r->result = read_pages(*r, 0);
}

void on_complete(napi_env env, napi_status status, void* data) {
  Read* r = static_cast<Read*>(data);
  napi_resolve_deferred(env, r->deferred, number(env, status == napi_ok ? r->result : -ECANCELED));
  for (napi_ref array : r->arrays) napi_delete_reference(env, array);
  napi_delete_async_work(env, r->work);
  delete r;
}

// readPages(fd, places, bytes, sums, count): a promise
napi_value read_pages_on_pool(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  Read read = read_of(&a);
  if (!a.ok) return nullptr;
  Read* r = new Read(read);
  napi_value promise, name;
  // The arrays live until they are filled.
  for (size_t i = 0; i < 3; i++) napi_create_reference(env, a.value(i + 1), 1, &r->arrays[i]);
  napi_create_promise(env, &r->deferred, &promise);
  napi_create_string_utf8(env, "cluster-fs read", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, on_execute, on_complete, r, &r->work);
  napi_queue_async_work(env, r->work);
  return promise;
}

}  // namespace

void define_pages(napi_env env, napi_value exports) {
  define(env, exports, "sumPages", sum_pages);
  define(env, exports, "readPages", read_pages_on_pool);
  define(env, exports, "readPagesNow", read_pages_now);
}

}  // namespace cluster_fs
