// Array buffers over mapped memory, by V8's C++ interface: what Node-API cannot do. So this is a small binary
// of its own, built for the headers of the Node that runs it; without it views work too, and cost more.
//
// V8 counts an ArrayBuffer over outside memory as memory of its own, and a gigabyte view starts a collection
// of garbage.
// It does not count one whose deleter is known to do nothing, and ours does nothing: who maps unmaps.
#include <node.h>
#include <v8.h>

namespace {

struct Range {
  void* address;
  size_t length;
};

bool range_of(const v8::FunctionCallbackInfo<v8::Value>& info, Range* range) {
  if (info.Length() == 2 && info[0]->IsNumber() && info[1]->IsNumber()) {
    double address = info[0].As<v8::Number>()->Value(), length = info[1].As<v8::Number>()->Value();
    if (address > 0 && length > 0 && address < 1LL << 52 && length < 1LL << 52) {
      *range = {reinterpret_cast<void*>(static_cast<uintptr_t>(address)), static_cast<size_t>(length)};
      return true;
    }
  }
  v8::Isolate* isolate = info.GetIsolate();
  isolate->ThrowException(
      v8::Exception::TypeError(v8::String::NewFromUtf8Literal(isolate, "expected an address and a length")));
  return false;
}

// arrayBufferAt(address, length)
void array_buffer_at(const v8::FunctionCallbackInfo<v8::Value>& info) {
  Range r;
  if (!range_of(info, &r)) return;
  auto store = v8::ArrayBuffer::NewBackingStore(r.address, r.length, v8::BackingStore::EmptyDeleter, nullptr);
  info.GetReturnValue().Set(v8::ArrayBuffer::New(info.GetIsolate(), std::move(store)));
}

// sharedArrayBufferAt(address, length)
void shared_array_buffer_at(const v8::FunctionCallbackInfo<v8::Value>& info) {
  Range r;
  if (!range_of(info, &r)) return;
  auto nothing = v8::BackingStore::EmptyDeleter;
  auto store = v8::SharedArrayBuffer::NewBackingStore(r.address, r.length, nothing, nullptr);
  info.GetReturnValue().Set(v8::SharedArrayBuffer::New(info.GetIsolate(), std::move(store)));
}

}  // namespace

NODE_MODULE_INIT() {
  NODE_SET_METHOD(exports, "arrayBufferAt", array_buffer_at);
  NODE_SET_METHOD(exports, "sharedArrayBufferAt", shared_array_buffer_at);
  (void)module;
  (void)context;
}
