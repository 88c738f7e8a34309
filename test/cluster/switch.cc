/*
 * A switch that is slow and loses frames, between network devices that are given by name:
 *   switch DELAY_MS JITTER_MS LOSS_PERCENT SEED DEVICE...
 *
 * Each frame on its way to a device is lost, or comes later by DELAY_MS more or less JITTER_MS; those to one
 * device keep their order. Says `ready`, and ends when its input does. It is for kernels without netem
 * (tc-netem(8)).
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace {

struct Frame {
  int64_t due_us;
  /* With its offload header: what the sender left to its network card stays left to it. */
  std::vector<uint8_t> bytes;
};

struct Port {
  int fd;
  std::deque<Frame> queue;
};

/* Of 64 KiB, where the sender leaves it to the card to cut it into packets. */
constexpr size_t kMaxFrame = 128 * 1024;
/* struct virtio_net_hdr; its own file is none of C++. */
constexpr size_t kOffloadHeader = 10;
constexpr int kSocketBytes = 8 * 1024 * 1024;

int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

[[noreturn]] void Fail(const char* what) {
  perror(what);
  exit(1);
}

/* All frames that arrive at a device, whoever they are for (packet(7)). */
int Open(const char* device) {
  int index = static_cast<int>(if_nametoindex(device));
  if (index == 0) Fail(device);
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
  if (fd < 0) Fail("socket");
  int on = 1;
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0) Fail("PACKET_VNET_HDR");
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) Fail("PACKET_IGNORE_OUTGOING");
  for (int which : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    if (setsockopt(fd, SOL_SOCKET, which, &kSocketBytes, sizeof kSocketBytes) != 0) Fail("SO_RCVBUFFORCE");
  packet_mreq all{};
  all.mr_ifindex = index;
  all.mr_type = PACKET_MR_PROMISC;
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0) Fail("PACKET_MR_PROMISC");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = index;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Fail("bind");
  return fd;
}

class Switch {
 public:
  Switch(double delay_ms, double jitter_ms, double loss_percent, unsigned seed)
      : loss_(loss_percent / 100),
        delay_us_((delay_ms - jitter_ms) * 1000, (delay_ms + jitter_ms) * 1000),
        random_(seed) {}

  void Add(const char* device) { ports_.push_back({Open(device), {}}); }

  void Run() {
    std::vector<pollfd> polled{{STDIN_FILENO, POLLIN, 0}};
    for (const Port& port : ports_) polled.push_back({port.fd, POLLIN, 0});
    std::vector<uint8_t> buffer(kMaxFrame);
    for (;;) {
      timespec wait;
      if (ppoll(polled.data(), polled.size(), Send(&wait) ? &wait : nullptr, nullptr) < 0) Fail("ppoll");
      if (polled[0].revents != 0) return;
      for (size_t from = 0; from < ports_.size(); from++) {
        ssize_t length;
        while ((length = read(ports_[from].fd, buffer.data(), buffer.size())) > 0)
          Take(from, {buffer.begin(), buffer.begin() + length});
      }
    }
  }

 private:
  using Address = std::string;

  void Take(size_t from, std::vector<uint8_t> bytes) {
    const size_t begin = kOffloadHeader;
    if (bytes.size() < begin + ETH_HLEN) return;
    const auto* header = reinterpret_cast<const char*>(bytes.data() + begin);
    port_of_[Address(header + ETH_ALEN, ETH_ALEN)] = from;
    const auto known = port_of_.find(Address(header, ETH_ALEN));
    for (size_t to = 0; to < ports_.size(); to++)
      if (to != from && (known == port_of_.end() || known->second == to)) Queue(ports_[to], bytes);
  }

  void Queue(Port& to, const std::vector<uint8_t>& bytes) {
    if (std::uniform_real_distribution<>(0, 1)(random_) < loss_) return;
    int64_t due_us = NowUs() + static_cast<int64_t>(delay_us_(random_));
    if (!to.queue.empty()) due_us = std::max(due_us, to.queue.back().due_us);
    to.queue.push_back({due_us, bytes});
  }

  /* What is due; says how long the next has to wait, if there is one. */
  bool Send(timespec* wait) {
    int64_t now_us = NowUs();
    int64_t next_us = INT64_MAX;
    for (Port& port : ports_) {
      for (; !port.queue.empty() && port.queue.front().due_us <= now_us; port.queue.pop_front()) {
        const std::vector<uint8_t>& bytes = port.queue.front().bytes;
        /* A device that is down, or full, loses it. */
        if (write(port.fd, bytes.data(), bytes.size()) < 0) continue;
      }
      if (!port.queue.empty()) next_us = std::min(next_us, port.queue.front().due_us);
    }
    if (next_us == INT64_MAX) return false;
    const int64_t left_us = std::max<int64_t>(0, next_us - now_us);
    *wait = {left_us / 1000000, left_us % 1000000 * 1000};
    return true;
  }

  double loss_;
  std::uniform_real_distribution<> delay_us_;
  std::mt19937 random_;
  std::vector<Port> ports_;
  std::map<Address, size_t> port_of_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) {
    fprintf(stderr, "switch DELAY_MS JITTER_MS LOSS_PERCENT SEED DEVICE DEVICE...\n");
    return 2;
  }
  Switch all(atof(argv[1]), atof(argv[2]), atof(argv[3]), static_cast<unsigned>(atoi(argv[4])));
  for (int i = 5; i < argc; i++) all.Add(argv[i]);
  puts("ready");
  fflush(stdout);
  all.Run();
}
