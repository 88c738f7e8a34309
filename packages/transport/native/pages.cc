// Pages and their sums: computed, and compared with what is read from a file while the bytes are in the
// processor's cache, at once or on the libuv pool.
#include <sys/uio.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

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

// The sum of all four lanes of a page, which are a, b, c and d at its end.
inline uint64_t sum_of_lanes(uint64_t a, uint64_t b, uint64_t c, uint64_t d, size_t length) {
  uint64_t sum = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  sum = merge(merge(merge(merge(sum, a), b), c), d) + length;
  sum = (sum ^ sum >> 33) * kPrime2;
  sum = (sum ^ sum >> 29) * kPrime3;
  return sum ^ sum >> 32;
}

uint64_t sum_of(const uint8_t* bytes, size_t length) {
  uint64_t a = kPrime1 + kPrime2, b = kPrime2, c = 0, d = 0 - kPrime1;
  for (const uint8_t* end = bytes + length; bytes < end; bytes += kStripe) {
    a = round_of(a, lane_at(bytes));
    b = round_of(b, lane_at(bytes + 8));
    c = round_of(c, lane_at(bytes + 16));
    d = round_of(d, lane_at(bytes + 24));
  }
  return sum_of_lanes(a, b, c, d, length);
}

// Pages that are summed at once, where the processor can: two to a vector, and as many vectors as it takes to
// have a multiplication to begin while others go on. That is more than twice as fast as one lane after the
// other.
constexpr size_t kTogether = 16;

#ifdef __x86_64__
inline bool sums_together() {
  static const bool can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
  return can;
}

__attribute__((target("avx512f,avx512dq"))) inline __m512i two_stripes(const uint8_t* a, const uint8_t* b) {
  __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
  __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
  return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

__attribute__((target("avx512f,avx512dq"))) void sum_together(const uint8_t* bytes, size_t each,
                                                               uint64_t* sums) {
  constexpr size_t vectors = kTogether / 2;
  const __m512i prime1 = _mm512_set1_epi64(static_cast<int64_t>(kPrime1));
  const __m512i prime2 = _mm512_set1_epi64(static_cast<int64_t>(kPrime2));
  constexpr uint64_t begin[] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1,
                                kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
  __m512i lanes[vectors];
  for (__m512i& v : lanes) v = _mm512_loadu_si512(begin);
  for (size_t at = 0; at < each; at += kStripe) {
#pragma GCC unroll 8
    for (size_t i = 0; i < vectors; i++) {
      const uint8_t* page = bytes + 2 * i * each + at;
      __m512i added = _mm512_mullo_epi64(two_stripes(page, page + each), prime2);
      lanes[i] = _mm512_mullo_epi64(_mm512_rol_epi64(_mm512_add_epi64(lanes[i], added), 31), prime1);
    }
  }
  for (size_t i = 0; i < vectors; i++) {
    uint64_t l[8];
    _mm512_storeu_si512(l, lanes[i]);
    sums[2 * i] = sum_of_lanes(l[0], l[1], l[2], l[3], each);
    sums[2 * i + 1] = sum_of_lanes(l[4], l[5], l[6], l[7], each);
  }
}
#else
inline bool sums_together() { return false; }
void sum_together(const uint8_t*, size_t, uint64_t*) {}
#endif

// The sums of pages that lie side by side.
void sum_each(const uint8_t* bytes, size_t each, size_t count, uint64_t* sums) {
  size_t done = 0;
  if (sums_together())
    for (; done + kTogether <= count; done += kTogether) sum_together(bytes + done * each, each, sums + done);
  for (; done < count; done++) sums[done] = sum_of(bytes + done * each, each);
}

// How many pages that lie side by side, from the first on, are as their sums say.
size_t whole_pages(const uint8_t* bytes, size_t each, size_t count, const uint64_t* sums) {
  for (size_t done = 0; done < count; done += kTogether) {
    uint64_t found[kTogether];
    size_t part = count - done < kTogether ? count - done : kTogether;
    sum_each(bytes + done * each, each, part, found);
    for (size_t i = 0; i < part; i++)
      if (found[i] != sums[done + i]) return done + i;
  }
  return count;
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
  sum_each(p.bytes, p.each, p.count, p.sums);
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
    if (good == i) good += is_stored ? whole_pages(bytes, each, run, p.sums + i) : run;
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
