/*
 * The least that a touch of absent memory costs on this machine when another process brings the page, without
 * a file system, a protocol, or JavaScript:
 *   paging file PATH     blocks of 64 KiB from a file, every third, backwards
 *   paging tcp           pages of 4 KiB from a third process, through TCP
 *
 * Each line of input is a round; the answer is the median of its touches, in microseconds. Ends when its
 * input does. As in nodes, who waits looks for 200 us before he sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace {

constexpr double kLookUs = 200;
constexpr size_t kBlockBytes = 64 * 1024;
constexpr size_t kPageBytes = 4096;
constexpr size_t kPages = 200;

double now_us() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

[[noreturn]] void fail(const char* what) {
  perror(what);
  exit(1);
}

int assured(int result, const char* what) {
  if (result < 0) fail(what);
  return result;
}

/* Looks for a while whether there is something to read, then sleeps until there is. */
template <typename Read>
ssize_t when_there(int fd, Read read) {
  for (double end = now_us() + kLookUs;;) {
    ssize_t n = read();
    if (n >= 0) return n;
    if (errno != EAGAIN) fail("read");
    pollfd waiting = {fd, POLLIN, 0};
    if (now_us() > end) poll(&waiting, 1, -1);
  }
}

/* False at the end of the connection. */
bool receive(int fd, void* into, size_t length) {
  for (size_t done = 0; done < length;) {
    auto* at = static_cast<char*>(into) + done;
    ssize_t n = when_there(fd, [&] { return recv(fd, at, length - done, MSG_DONTWAIT); });
    if (n == 0) return false;
    done += n;
  }
  return true;
}

/* A process of its own, which ends with this one. */
template <typename Work>
void in_child(Work work) {
  if (assured(fork(), "fork") > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  work();
  exit(0);
}

/* A process that sends a page for each number that it gets; the connection to it. */
int start_home() {
  int listener = assured(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  assured(bind(listener, reinterpret_cast<sockaddr*>(&address), size), "bind");
  assured(listen(listener, 1), "listen");
  assured(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  int here = assured(socket(AF_INET, SOCK_STREAM, 0), "socket");
  assured(connect(here, reinterpret_cast<sockaddr*>(&address), size), "connect");
  int there = assured(accept(listener, nullptr, nullptr), "accept");
  int on = 1;
  for (int fd : {here, there}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  in_child([&] {
    close(here);
    std::vector<char> page(kPageBytes, 1);
    for (uint32_t number; receive(there, &number, sizeof number);) send(there, page.data(), page.size(), 0);
  });
  close(there);
  close(listener);
  return here;
}

struct Memory {
  int fd;
  char* at;
  size_t length;
  int userfault;
};

Memory absent_memory(size_t length) {
  Memory m = {assured(memfd_create("paging", MFD_CLOEXEC), "memfd_create"), nullptr, length, -1};
  assured(ftruncate(m.fd, length), "ftruncate");
  m.at = static_cast<char*>(mmap(nullptr, length, PROT_READ, MAP_SHARED, m.fd, 0));
  if (m.at == MAP_FAILED) fail("mmap");
  int flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
  m.userfault = assured(syscall(SYS_userfaultfd, flags), "userfaultfd");
  uffdio_api api = {UFFD_API, 0, 0};
  assured(ioctl(m.userfault, UFFDIO_API, &api), "UFFDIO_API");
  uffdio_register range = {{reinterpret_cast<uintptr_t>(m.at), length}, UFFDIO_REGISTER_MODE_MISSING, 0};
  assured(ioctl(m.userfault, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
  return m;
}

/* Serves touches: `bring(offset, into)` has the bytes of the part that is touched. */
template <typename Bring>
void serve(const Memory& m, size_t part, Bring bring) {
  std::vector<char> bytes(part, 1);
  for (;;) {
    uffd_msg message;
    when_there(m.userfault, [&] { return read(m.userfault, &message, sizeof message); });
    auto begin = reinterpret_cast<uintptr_t>(m.at);
    size_t offset = (message.arg.pagefault.address - begin) / part * part;
    bring(offset, bytes.data());
    if (pwrite(m.fd, bytes.data(), part, offset) != static_cast<ssize_t>(part)) fail("pwrite");
    uffdio_range woken = {begin + offset, part};
    assured(ioctl(m.userfault, UFFDIO_WAKE, &woken), "UFFDIO_WAKE");
  }
}

double round_of(const Memory& m, const std::vector<size_t>& offsets) {
  assured(fallocate(m.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, m.length), "fallocate");
  std::vector<double> us;
  for (size_t offset : offsets) {
    double began = now_us();
    *const_cast<volatile char*>(m.at + offset);
    us.push_back(now_us() - began);
  }
  std::sort(us.begin(), us.end());
  return us[us.size() / 2];
}

void answer_rounds(const Memory& m, const std::vector<size_t>& offsets) {
  for (char line[8]; fgets(line, sizeof line, stdin) != nullptr;) {
    printf("%.1f\n", round_of(m, offsets));
    fflush(stdout);
  }
}

void from_file(const char* path) {
  int file = assured(open(path, O_RDONLY | O_CLOEXEC), path);
  struct stat about;
  assured(fstat(file, &about), "fstat");
  Memory m = absent_memory(about.st_size);
  in_child([&] {
    serve(m, kBlockBytes, [&](size_t offset, char* into) {
      assured(pread(file, into, kBlockBytes, offset), "pread");
    });
  });
  std::vector<size_t> offsets;
  size_t blocks = m.length / kBlockBytes;
  for (size_t i = 0; i < blocks / 3; i++) offsets.push_back((blocks - 1 - 3 * i) * kBlockBytes);
  answer_rounds(m, offsets);
}

void from_tcp() {
  int home = start_home();
  Memory m = absent_memory(kPages * kBlockBytes);
  in_child([&] {
    serve(m, kPageBytes, [&](size_t offset, char* into) {
      auto number = static_cast<uint32_t>(offset / kPageBytes);
      assured(send(home, &number, sizeof number, 0), "send");
      if (!receive(home, into, kPageBytes)) exit(0);
    });
  });
  std::vector<size_t> offsets;
  for (size_t i = 0; i < kPages; i++) offsets.push_back(i * kBlockBytes);
  answer_rounds(m, offsets);
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 3 && strcmp(arguments[1], "file") == 0) from_file(arguments[2]);
  else if (count == 2 && strcmp(arguments[1], "tcp") == 0) from_tcp();
  else fail("usage: paging file PATH | paging tcp");
}
