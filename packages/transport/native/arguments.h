// Argument conversion for the wrappers of this addon.
//
// Every wrapper takes plain numbers and buffers and returns a number: a result, or -errno. A value of the
// wrong type or range throws a TypeError before any system call is made, so that no wrapper can be led to a
// wild address by a NaN.
#pragma once
#include <errno.h>
#include <math.h>
#include <node_api.h>
#include <stdint.h>

namespace cluster_fs {

constexpr double kMaxSafeInteger = 9007199254740991.0;

// The arguments of one call. After any conversion failed, `ok` is false and a TypeError is pending.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info, size_t wanted) : env_(env) {
    size_t count = kMax;
    napi_get_cb_info(env, info, &count, values_, nullptr, nullptr);
    if (count < wanted) fail("too few arguments");
  }

  bool ok = true;

  napi_value value(size_t i) const { return values_[i]; }

  // A non-negative integer: an address, a length, a descriptor, a count.
  uint64_t u53(size_t i) {
    double number = 0;
    if (!ok) return 0;
    if (napi_get_value_double(env_, values_[i], &number) != napi_ok || !(number >= 0) ||
        number > kMaxSafeInteger || number != floor(number)) {
      fail("expected an integer from 0 to 2^53-1");
      return 0;
    }
    return static_cast<uint64_t>(number);
  }

  void* address(size_t i) { return reinterpret_cast<void*>(static_cast<uintptr_t>(u53(i))); }

  int fd(size_t i) {
    uint64_t number = u53(i);
    if (ok && number > INT32_MAX) fail("expected a descriptor");
    return static_cast<int>(number);
  }

  int32_t i32(size_t i) {
    double number = 0;
    if (!ok) return 0;
    if (napi_get_value_double(env_, values_[i], &number) != napi_ok || number != floor(number) ||
        number < INT32_MIN || number > INT32_MAX) {
      fail("expected a 32-bit integer");
      return 0;
    }
    return static_cast<int32_t>(number);
  }

  bool boolean(size_t i) {
    bool b = false;
    if (ok && napi_get_value_bool(env_, values_[i], &b) != napi_ok) fail("expected a boolean");
    return b;
  }

  // A string of less than `size` bytes, terminated.
  void text(size_t i, char* into, size_t size) {
    size_t length = 0;
    into[0] = 0;
    if (!ok) return;
    if (napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length) != napi_ok) {
      fail("expected a string");
    } else if (length >= size) {
      fail("the string is too long");
    } else {
      napi_get_value_string_utf8(env_, values_[i], into, size, &length);
    }
  }

  // The bytes of a typed array.
  uint8_t* bytes(size_t i, size_t* length) {
    void* data = nullptr;
    napi_typedarray_type type;
    size_t elements = 0;
    if (!ok) return nullptr;
    if (napi_get_typedarray_info(env_, values_[i], &type, &elements, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      fail("expected a Uint8Array");
      return nullptr;
    }
    *length = elements;
    return static_cast<uint8_t*>(data);
  }

  void fail(const char* message) {
    if (ok) napi_throw_type_error(env_, "ERR_INVALID_ARG_VALUE", message);
    ok = false;
  }

 private:
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

using Function = napi_value (*)(napi_env, napi_callback_info);

inline void define(napi_env env, napi_value exports, const char* name, Function function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

// One for each file of this folder.
void define_mapping(napi_env env, napi_value exports);
void define_file(napi_env env, napi_value exports);
void define_descriptor(napi_env env, napi_value exports);
void define_poll(napi_env env, napi_value exports);
void define_userfault(napi_env env, napi_value exports);
void define_futex(napi_env env, napi_value exports);
void define_copy(napi_env env, napi_value exports);
void define_guard(napi_env env, napi_value exports);

}  // namespace cluster_fs
