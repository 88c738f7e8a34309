// A SharedArrayBuffer over mapped memory. Node-API has no stable call for it yet, so this small binary of its
// own uses
// V8's C++ interface and is built for the headers of the Node that runs it.
#include <node.h>
#include <v8.h>

namespace {

void nothing(void*, size_t, void*) {}

// sharedArrayBufferAt(address, length): the memory stays the caller's
void shared_array_buffer_at(const v8::FunctionCallbackInfo<v8::Value>& info) {
  v8::Isolate* isolate = info.GetIsolate();
  if (info.Length() < 2 || !info[0]->IsNumber() || !info[1]->IsNumber()) {
    isolate->ThrowException(
        v8::Exception::TypeError(v8::String::NewFromUtf8Literal(isolate, "expected an address and a length")));
    return;
  }
  auto address = reinterpret_cast<void*>(static_cast<uintptr_t>(info[0].As<v8::Number>()->Value()));
  auto length = static_cast<size_t>(info[1].As<v8::Number>()->Value());
  auto store = v8::SharedArrayBuffer::NewBackingStore(address, length, nothing, nullptr);
  info.GetReturnValue().Set(v8::SharedArrayBuffer::New(isolate, std::move(store)));
}

}  // namespace

NODE_MODULE_INIT() {
  NODE_SET_METHOD(exports, "sharedArrayBufferAt", shared_array_buffer_at);
  (void)module;
  (void)context;
}
