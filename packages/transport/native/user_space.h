// What may be the range of a buffer. V8 aborts the process at a length that it cannot represent.
#pragma once
#include <math.h>

namespace cluster_fs {

// User space ends here on x86-64 and arm64: 2^47.
constexpr double kUserSpaceEnd = 140737488355328.0;

// False for a NaN too.
inline bool in_user_space(double address, double length) {
  return address >= 1 && length >= 1 && address + length <= kUserSpaceEnd && address == floor(address) &&
         length == floor(length);
}

}  // namespace cluster_fs
