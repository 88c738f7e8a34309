// Says which view a process died of: a store into a read-only mapping is SIGSEGV, and no exception of
// JavaScript's.
//
// The table is written by any thread and read by the signal handler, so it is a fixed array of slots that are
// claimed with one compare-and-swap and published with one store. The handler only reads, formats numbers and
// calls write(2).
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "arguments.h"

namespace cluster_fs {
namespace {

constexpr size_t kSlots = 4096;
constexpr size_t kLabel = 200;

struct Slot {
  std::atomic<uintptr_t> start{0};  // 0 free, 1 being filled
  uintptr_t length;
  char label[kLabel];
};

Slot slots[kSlots];
struct sigaction before_segv, before_bus;
std::atomic<bool> installed{false};

// Writes `value` in decimal; snprintf is not safe in a signal handler.
size_t decimal(uintptr_t value, char* into) {
  char digits[24];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (size_t i = 0; i < count; i++) into[i] = digits[count - 1 - i];
  return count;
}

size_t append(char* line, size_t at, const char* text) {
  size_t length = strlen(text);
  memcpy(line + at, text, length);
  return at + length;
}

void report(const Slot& slot, uintptr_t offset, int signal) {
  char line[kLabel + 160];
  size_t at = append(line, 0, "cluster-fs: store into read-only view of ");
  at = append(line, at, slot.label);
  at = append(line, at, " at offset ");
  at += decimal(offset, line + at);
  at = append(line, at, signal == SIGBUS ? " (SIGBUS)\n" : " (SIGSEGV)\n");
  ssize_t ignored = write(STDERR_FILENO, line, at);
  (void)ignored;
}

void on_signal(int signal, siginfo_t* info, void* context) {
  uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  struct sigaction* before = signal == SIGBUS ? &before_bus : &before_segv;
  for (size_t i = 0; i < kSlots; i++) {
    uintptr_t start = slots[i].start.load(std::memory_order_acquire);
    if (start > 1 && address >= start && address - start < slots[i].length) {
      report(slots[i], address - start, signal);
      // The instruction runs again when this returns, and now the process dies of it as it would have.
      struct sigaction fall_back = {};
      fall_back.sa_handler = SIG_DFL;
      sigaction(signal, &fall_back, nullptr);
      return;
    }
  }
  // None of ours: V8 handles faults of its own (WebAssembly), and so may others.
  if ((before->sa_flags & SA_SIGINFO) != 0 && before->sa_sigaction != nullptr) {
    before->sa_sigaction(signal, info, context);
  } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
    before->sa_handler(signal);
  } else {
    sigaction(signal, before, nullptr);
  }
}

void install() {
  if (installed.exchange(true)) return;
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
}

// guardRange(address, length, label): 0, or -ENOSPC when the table is full, which costs the message and
// nothing else
napi_value guard_range(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  uint64_t start = a.u53(0), length = a.u53(1);
  char label[4097];
  a.text(2, label, sizeof label);
  if (a.ok && start < 2) a.fail("expected an address");
  if (!a.ok) return nullptr;
  install();
  for (size_t i = 0; i < kSlots; i++) {
    uintptr_t free_slot = 0;
    if (!slots[i].start.compare_exchange_strong(free_slot, 1)) continue;
    slots[i].length = length;
    label[kLabel - 1] = 0;
    memcpy(slots[i].label, label, strlen(label) + 1);
    slots[i].start.store(start, std::memory_order_release);
    return number(env, 0);
  }
  return number(env, -ENOSPC);
}

napi_value unguard_range(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  uint64_t start = a.u53(0);
  if (a.ok && start < 2) a.fail("expected an address");
  if (!a.ok) return nullptr;
  for (size_t i = 0; i < kSlots; i++) {
    uintptr_t expected = start;
    if (slots[i].start.compare_exchange_strong(expected, 0)) return number(env, 0);
  }
  return number(env, -ENOENT);
}

}  // namespace

void define_guard(napi_env env, napi_value exports) {
  define(env, exports, "guardRange", guard_range);
  define(env, exports, "unguardRange", unguard_range);
}

}  // namespace cluster_fs
