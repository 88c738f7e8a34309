// Argument conversion for the wrappers of this addon.
//
// Every wrapper takes plain numbers and arrays and returns a number: a result, or -errno. A value of the
// wrong type or range throws a TypeError that names it before any system call is made, so that no wrapper can
// be led to a wild address by a NaN.
#pragma once
#include <errno.h>
#include <math.h>
#include <node_api.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

namespace cluster_fs {

constexpr double kMaxSafeInteger = 9007199254740991.0;
constexpr uint32_t kMaxParts = 64;

// The arguments of one call. After any conversion failed, `ok` is false and a TypeError is pending.
//
// Order: convert anything that can run JavaScript (elements of a plain array) before taking the address of
// bytes, because a getter may detach them.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    // Those that were not given are undefined, and fail their conversion.
    size_t count = kMax;
    napi_get_cb_info(env, info, &count, values_, nullptr, nullptr);
  }

  bool ok = true;

  napi_value value(size_t i) const { return values_[i]; }

  // A non-negative integer: an address, a length, an offset.
  uint64_t u53(size_t i, const char* name) {
    return static_cast<uint64_t>(integer(values_[i], name, 0, kMaxSafeInteger));
  }

  void* address(size_t i, const char* name) {
    return reinterpret_cast<void*>(static_cast<uintptr_t>(u53(i, name)));
  }

  // A non-negative int: a descriptor, a count, a position in a table.
  int index(size_t i, const char* name, int limit = INT32_MAX) {
    return static_cast<int>(integer(values_[i], name, 0, limit));
  }

  int32_t i32(size_t i, const char* name) {
    return static_cast<int32_t>(integer(values_[i], name, INT32_MIN, INT32_MAX));
  }

  // A length of time; infinity is for ever.
  double milliseconds(size_t i, const char* name) {
    double value = 0;
    if (ok && (napi_get_value_double(env_, values_[i], &value) != napi_ok || !(value >= 0))) {
      fail(name, "a non-negative number of milliseconds");
    }
    return ok ? value : 0;
  }

  bool boolean(size_t i, const char* name) {
    bool value = false;
    if (ok && napi_get_value_bool(env_, values_[i], &value) != napi_ok) fail(name, "a boolean");
    return value;
  }

  // A string, terminated, and how long it is. One that does not fit is cut; the length says so.
  size_t text(size_t i, const char* name, char* into, size_t size) {
    size_t length = 0;
    into[0] = 0;
    if (!ok) return 0;
    if (napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length) != napi_ok) {
      fail(name, "a string");
      return 0;
    }
    size_t copied = 0;
    napi_get_value_string_utf8(env_, values_[i], into, size, &copied);
    // The kernel would stop reading at a zero byte, and act on another name than the caller's.
    if (memchr(into, 0, copied) != nullptr) fail(name, "a string without zero bytes");
    return length;
  }

  uint8_t* bytes(size_t i, const char* name, size_t* count) {
    constexpr const char* wanted = "a Uint8Array that is not empty";
    return static_cast<uint8_t*>(typed_array(i, name, napi_uint8_array, wanted, count));
  }

  double* doubles(size_t i, const char* name, size_t* count) {
    constexpr const char* wanted = "a Float64Array that is not empty";
    return static_cast<double*>(typed_array(i, name, napi_float64_array, wanted, count));
  }

  uint64_t* sums(size_t i, const char* name, size_t* count) {
    constexpr const char* wanted = "a BigUint64Array that is not empty";
    return static_cast<uint64_t*>(typed_array(i, name, napi_biguint64_array, wanted, count));
  }

  // The descriptors in a plain array of at most `limit`; how many. May run JavaScript.
  size_t descriptors(size_t i, const char* name, int* into, uint32_t limit) {
    uint32_t count = 0;
    if (!ok) return 0;
    if (napi_get_array_length(env_, values_[i], &count) != napi_ok || count > limit) {
      fail(name, "an array of at most 16 descriptors");
      return 0;
    }
    for (uint32_t k = 0; k < count && ok; k++) {
      napi_value element;
      if (napi_get_element(env_, values_[i], k, &element) != napi_ok) ok = false;
      else into[k] = static_cast<int>(integer(element, name, 0, INT32_MAX));
    }
    return ok ? count : 0;
  }

  // The bytes of the Uint8Arrays in a plain array; how many there are. May run JavaScript, and then takes
  // their addresses.
  size_t parts(size_t i, const char* name, iovec (&into)[kMaxParts]) {
    uint32_t count = 0;
    if (!ok) return 0;
    if (napi_get_array_length(env_, values_[i], &count) != napi_ok || count == 0 || count > kMaxParts) {
      fail(name, "an array of 1 to 64 Uint8Arrays");
      return 0;
    }
    napi_value elements[kMaxParts];
    for (uint32_t k = 0; k < count && ok; k++)
      if (napi_get_element(env_, values_[i], k, &elements[k]) != napi_ok) ok = false;
    for (uint32_t k = 0; k < count && ok; k++)
      into[k].iov_base = array_in(elements[k], name, napi_uint8_array, "an array of Uint8Arrays with bytes",
                                  &into[k].iov_len);
    return ok ? count : 0;
  }

  // Throws a TypeError: `name` must be `wanted`.
  void fail(const char* name, const char* wanted) {
    char message[160];
    snprintf(message, sizeof message, "%s must be %s", name, wanted);
    if (ok) napi_throw_type_error(env_, "ERR_INVALID_ARG_VALUE", message);
    ok = false;
  }

 private:
  double integer(napi_value from, const char* name, double min, double max) {
    double value = 0;
    if (!ok) return 0;
    if (napi_get_value_double(env_, from, &value) != napi_ok || !(value >= min && value <= max) ||
        value != floor(value)) {
      char wanted[80];
      snprintf(wanted, sizeof wanted, "an integer from %.0f to %.0f", min, max);
      fail(name, wanted);
      return 0;
    }
    return value;
  }

  // An empty array is refused too: it may be a detached one, and the kernel answers a transfer of nothing
  // with 0, which elsewhere means the end.
  void* typed_array(size_t i, const char* name, napi_typedarray_type wanted, const char* description,
                    size_t* count) {
    return array_in(values_[i], name, wanted, description, count);
  }

  void* array_in(napi_value from, const char* name, napi_typedarray_type wanted, const char* description,
                 size_t* count) {
    void* data = nullptr;
    napi_typedarray_type type = napi_int8_array;
    *count = 0;
    if (!ok) return nullptr;
    if (napi_get_typedarray_info(env_, from, &type, count, &data, nullptr, nullptr) != napi_ok ||
        type != wanted || *count == 0) {
      fail(name, description);
      return nullptr;
    }
    return data;
  }

  static constexpr size_t kMax = 8;
  napi_env env_;
  napi_value values_[kMax];
};

inline napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

// The result of a system call that returns -1 and sets errno.
inline napi_value outcome(napi_env env, int64_t result) {
  return number(env, result < 0 ? -static_cast<double>(errno) : static_cast<double>(result));
}

// The same for a wrapper that made a descriptor and failed later: errno survives the close.
inline napi_value close_and_fail(napi_env env, int fd) {
  int error = errno;
  if (fd >= 0) close(fd);
  return number(env, -error);
}

using Function = napi_value (*)(napi_env, napi_callback_info);

inline void define(napi_env env, napi_value exports, const char* name, Function function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

// One for each file of this folder.
void define_mapping(napi_env env, napi_value exports);
void define_array_buffer(napi_env env, napi_value exports);
void define_file(napi_env env, napi_value exports);
void define_descriptor(napi_env env, napi_value exports);
void define_poll(napi_env env, napi_value exports);
void define_spin(napi_env env, napi_value exports);
void define_userfault(napi_env env, napi_value exports);
void define_futex(napi_env env, napi_value exports);
void define_copy(napi_env env, napi_value exports);
void define_pages(napi_env env, napi_value exports);
void define_guard(napi_env env, napi_value exports);

}  // namespace cluster_fs
