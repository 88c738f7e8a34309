// The addon: thin wrappers of system calls that Node cannot make, and nothing else. Policy is TypeScript.
#include "arguments.h"

NAPI_MODULE_INIT() {
  using namespace cluster_fs;
  define_mapping(env, exports);
  define_file(env, exports);
  define_descriptor(env, exports);
  define_poll(env, exports);
  define_userfault(env, exports);
  define_futex(env, exports);
  define_copy(env, exports);
  define_guard(env, exports);
  return exports;
}
