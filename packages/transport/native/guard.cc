// Says which view a process died of: a store into a read-only mapping is SIGSEGV, and no exception of
// JavaScript's. And lets touches of a view wait while it is paused: then its memory is PROT_NONE.
//
// The table is written by any thread and read by the signal handler, so it is of slots that are claimed with
// one compare-and-swap and published with one store, in arrays that never go: each leads to the next. The
// handler only reads, formats numbers, counts, and calls write(2) and nanosleep(2).
#include <errno.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <new>

#include "arguments.h"

namespace cluster_fs {
namespace {

// In one array.
constexpr size_t kSlots = 1024;
constexpr size_t kLabel = 200;
constexpr uintptr_t kFree = 0;
constexpr uintptr_t kFilling = 1;
// Who waits looks so often whether it may go on.
constexpr long kLookNs = 5 * 1000 * 1000;
// A fault whose handler comes when the pause is over is of before: it is tried again. Other threads may have
// such faults, too. What comes so often is none.
constexpr int kTries = 256;

// INVARIANT: the last byte of `label` is never anything but 0, so that it ends for a handler that reads it
// while another thread fills it.
struct Slot {
  std::atomic<uintptr_t> start{kFree};
  uintptr_t length;
  char label[kLabel];
  std::atomic<bool> paused;
  // Faults that may be tried again since the last pause.
  std::atomic<int> tries;
};

struct Table {
  Slot slots[kSlots];
  std::atomic<Table*> next{nullptr};
};

Table first;
struct sigaction before_segv, before_bus;
std::atomic<bool> installed{false};

// The array behind `table`, made when there is none; nullptr when there is no memory for it.
Table* table_behind(Table* table) {
  Table* next = table->next.load(std::memory_order_acquire);
  if (next != nullptr) return next;
  Table* made = new (std::nothrow) Table();
  if (made == nullptr) return nullptr;
  if (table->next.compare_exchange_strong(next, made, std::memory_order_acq_rel)) return made;
  // Another thread was first.
  delete made;
  return next;
}

// The slot of the range that begins there; nullptr when it is not guarded.
Slot* slot_at(uintptr_t start) {
  for (Table* table = &first; table != nullptr; table = table->next.load(std::memory_order_acquire))
    for (Slot& slot : table->slots)
      if (slot.start.load(std::memory_order_acquire) == start) return &slot;
  return nullptr;
}

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
  bool bus = signal == SIGBUS;
  char line[kLabel + 160];
  size_t at = append(line, 0, "cluster-fs: ");
  at = append(line, at, bus ? "no readable content behind view of " : "store into read-only view of ");
  at = append(line, at, slot.label);
  at = append(line, at, " at offset ");
  at += decimal(offset, line + at);
  at = append(line, at, bus ? " (SIGBUS)\n" : " (SIGSEGV)\n");
  ssize_t ignored = write(STDERR_FILENO, line, at);
  (void)ignored;
}

Slot* slot_of(uintptr_t address, uintptr_t* offset) {
  for (Table* table = &first; table != nullptr; table = table->next.load(std::memory_order_acquire)) {
    for (Slot& slot : table->slots) {
      uintptr_t start = slot.start.load(std::memory_order_acquire);
      if (start <= kFilling || address < start || address - start >= slot.length) continue;
      *offset = address - start;
      return &slot;
    }
  }
  return nullptr;
}

// Hands a signal that is none of ours to whoever was there before: V8 takes faults of WebAssembly, others may
// take others.
void pass_on(const struct sigaction& before, int signal, siginfo_t* info, void* context) {
  bool has_handler = before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN;
  if (has_handler && (before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
  if (has_handler) return before.sa_handler(signal);
  sigaction(signal, &before, nullptr);
  // A fault repeats itself after this; a signal that somebody sent does not.
  if (info->si_code <= 0) raise(signal);
}

// True when the touch is to be tried again.
bool wait_while_paused(Slot* slot, uintptr_t start) {
  int error = errno;
  bool waited = false;
  while (slot->paused.load(std::memory_order_acquire) &&
         slot->start.load(std::memory_order_acquire) == start) {
    waited = true;
    struct timespec look = {0, kLookNs};
    nanosleep(&look, nullptr);
  }
  errno = error;
  return waited || slot->tries.fetch_sub(1) > 0;
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const struct sigaction& before = signal == SIGBUS ? before_bus : before_segv;
  // Only the kernel's signals, whose code is positive, have an address.
  uintptr_t offset = 0, address = reinterpret_cast<uintptr_t>(info->si_addr);
  Slot* slot = info->si_code > 0 ? slot_of(address, &offset) : nullptr;
  if (slot == nullptr) return pass_on(before, signal, info, context);
  if (signal == SIGSEGV && wait_while_paused(slot, address - offset)) return;
  report(*slot, offset, signal);
  // The instruction runs again when this returns, and now the process dies of it as it would have.
  sigaction(signal, &before, nullptr);
}

void install() {
  if (installed.exchange(true)) return;
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  // Order: what was there is known before the handler that passes on to it can run.
  sigaction(SIGSEGV, nullptr, &before_segv);
  sigaction(SIGBUS, nullptr, &before_bus);
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

// Copies what fits of a label; a line break in a file's name must not make two lines of the report.
void set_label(Slot* slot, const char* label) {
  size_t i = 0;
  for (; i < kLabel - 1 && label[i] != 0; i++) {
    bool control = static_cast<unsigned char>(label[i]) < ' ' || label[i] == 127;
    slot->label[i] = control ? '?' : label[i];
  }
  slot->label[i] = 0;
}

// Claims a slot that is free, to be filled; nullptr when there is no memory for one more.
Slot* claim_slot() {
  for (Table* table = &first; table != nullptr; table = table_behind(table)) {
    for (Slot& slot : table->slots) {
      uintptr_t expected = kFree;
      if (slot.start.compare_exchange_strong(expected, kFilling)) return &slot;
    }
  }
  return nullptr;
}

// guardRange(address, length, label): 0, or -ENOMEM
napi_value guard_range(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  uint64_t start = a.u53(0, "address"), length = a.u53(1, "length");
  char label[kLabel];
  a.text(2, "label", label, sizeof label);
  if (a.ok && start <= kFilling) a.fail("address", "that of a mapping");
  if (!a.ok) return nullptr;
  install();
  Slot* slot = claim_slot();
  if (slot == nullptr) return number(env, -ENOMEM);
  slot->length = length;
  slot->paused.store(false);
  slot->tries.store(0);
  set_label(slot, label);
  slot->start.store(start, std::memory_order_release);
  return number(env, 0);
}

// unguardRange(address): 0, or -ENOENT
napi_value unguard_range(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  uint64_t start = a.u53(0, "address");
  if (a.ok && start <= kFilling) a.fail("address", "that of a mapping");
  if (!a.ok) return nullptr;
  Slot* slot = slot_at(start);
  uintptr_t expected = start;
  bool ended = slot != nullptr && slot->start.compare_exchange_strong(expected, kFree);
  return number(env, ended ? 0 : -ENOENT);
}

// pauseGuarded(address, on): 0, or -ENOENT when it is not guarded. While it is on, a SIGSEGV there waits.
napi_value pause_guarded(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  uint64_t start = a.u53(0, "address");
  bool on = a.boolean(1, "on");
  if (a.ok && start <= kFilling) a.fail("address", "that of a mapping");
  if (!a.ok) return nullptr;
  Slot* slot = slot_at(start);
  if (slot == nullptr) return number(env, -ENOENT);
  if (on) slot->tries.store(kTries);
  slot->paused.store(on, std::memory_order_release);
  return number(env, 0);
}

}  // namespace

void define_guard(napi_env env, napi_value exports) {
  define(env, exports, "guardRange", guard_range);
  define(env, exports, "unguardRange", unguard_range);
  define(env, exports, "pauseGuarded", pause_guarded);
}

}  // namespace cluster_fs
