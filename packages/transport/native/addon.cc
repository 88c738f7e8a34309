// The addon: thin wrappers of system calls that Node cannot make, copies off the event loop and the sums of
// what they read, and nothing else. Policy is TypeScript.
//
// It holds no state of a thread's, so that it loads in any number of workers at once. What it holds of the
// process's is the table of guard.cc alone.
#include "arguments.h"

NAPI_MODULE_INIT() {
  using namespace cluster_fs;
  define_mapping(env, exports);
  define_array_buffer(env, exports);
  define_file(env, exports);
  define_descriptor(env, exports);
  define_poll(env, exports);
  define_spin(env, exports);
  define_userfault(env, exports);
  define_futex(env, exports);
  define_copy(env, exports);
  define_pages(env, exports);
  define_guard(env, exports);
  return exports;
}
