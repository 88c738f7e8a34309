// ArrayBuffers and SharedArrayBuffers over memory that is not theirs, by V8's own interface: a binary of its
// own, because it must be built for the headers of the Node that runs it.
//
// A backing store with V8's empty deleter is the one kind that V8 does not count as memory of the heap's.
// Counted, a hundred views of 1 GiB start about seventy collections; so, none.
#include <node.h>
#include <v8.h>

#include "user_space.h"

namespace {

// This very function: V8 recognizes it.
constexpr v8::BackingStore::DeleterCallback release_nothing = v8::BackingStore::EmptyDeleter;

struct Range {
  void* address;
  size_t length;
};

// Reads (address, length). False, with a TypeError pending, when they are not a range of user space.
bool range_of(const v8::FunctionCallbackInfo<v8::Value>& info, Range* range) {
  v8::Isolate* isolate = info.GetIsolate();
  bool numbers = info.Length() >= 2 && info[0]->IsNumber() && info[1]->IsNumber();
  double address = numbers ? info[0].As<v8::Number>()->Value() : 0;
  double length = numbers ? info[1].As<v8::Number>()->Value() : 0;
  if (!cluster_fs::in_user_space(address, length)) {
    auto message = v8::String::NewFromUtf8Literal(isolate, "address and length must be those of a mapping");
    isolate->ThrowException(v8::Exception::TypeError(message));
    return false;
  }
  *range = {reinterpret_cast<void*>(static_cast<uintptr_t>(address)), static_cast<size_t>(length)};
  return true;
}

// What a keyed buffer wants to be detached with; JavaScript has no way to give it.
v8::Local<v8::Value> detach_key(v8::Isolate* isolate) {
  return v8::String::NewFromUtf8Literal(isolate, "cluster-fs");
}

// arrayBufferAt(address, length, keyed): a keyed one is detached by detachArrayBuffer and by nobody else.
void array_buffer_at(const v8::FunctionCallbackInfo<v8::Value>& info) {
  Range range;
  if (!range_of(info, &range)) return;
  auto store = v8::ArrayBuffer::NewBackingStore(range.address, range.length, release_nothing, nullptr);
  auto buffer = v8::ArrayBuffer::New(info.GetIsolate(), std::move(store));
  if (info[2]->IsTrue()) buffer->SetDetachKey(detach_key(info.GetIsolate()));
  info.GetReturnValue().Set(buffer);
}

// detachArrayBuffer(buffer, keyed): whether it is detached now. Unlike napi_detach_arraybuffer, it does not
// abort the process at a buffer that somebody else has the key of.
void detach_array_buffer(const v8::FunctionCallbackInfo<v8::Value>& info) {
  v8::Isolate* isolate = info.GetIsolate();
  if (!info[0]->IsArrayBuffer()) {
    auto message = v8::String::NewFromUtf8Literal(isolate, "buffer must be an ArrayBuffer");
    isolate->ThrowException(v8::Exception::TypeError(message));
    return;
  }
  auto buffer = info[0].As<v8::ArrayBuffer>();
  v8::TryCatch wrong_key(isolate);
  bool detached = false;
  if (buffer->IsDetachable()) {
    if (info[1]->IsTrue()) detached = buffer->Detach(detach_key(isolate)).FromMaybe(false);
    if (!detached) detached = buffer->Detach(v8::Local<v8::Value>()).FromMaybe(false);
  }
  info.GetReturnValue().Set(detached);
}

void shared_array_buffer_at(const v8::FunctionCallbackInfo<v8::Value>& info) {
  Range range;
  if (!range_of(info, &range)) return;
  auto store = v8::SharedArrayBuffer::NewBackingStore(range.address, range.length, release_nothing, nullptr);
  info.GetReturnValue().Set(v8::SharedArrayBuffer::New(info.GetIsolate(), std::move(store)));
}

}  // namespace

NODE_MODULE_INIT() {
#ifdef V8_ENABLE_SANDBOX
  // V8's memory cage holds no pointer to memory outside of it; Node-API refuses such buffers with an error.
  (void)array_buffer_at;
  (void)detach_array_buffer;
  (void)shared_array_buffer_at;
  (void)exports;
#else
  NODE_SET_METHOD(exports, "arrayBufferAt", array_buffer_at);
  NODE_SET_METHOD(exports, "detachArrayBuffer", detach_array_buffer);
  NODE_SET_METHOD(exports, "sharedArrayBufferAt", shared_array_buffer_at);
#endif
  (void)module;
  (void)context;
}
