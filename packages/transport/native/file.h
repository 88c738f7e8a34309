// fallocate(2) as both file.cc and copy.cc need it.
#pragma once
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdint.h>

namespace cluster_fs {

// On tmpfs, a signal undoes all that fallocate did so far (EINTR). Repeating it would never end under a
// profiler that sends signals faster than a large range is allocated, so they wait until it is done.
int uninterrupted_fallocate(int fd, int mode, uint64_t offset, uint64_t length);

}  // namespace cluster_fs
