// Unix stream sockets that carry descriptors: socket(2), sendmsg(2), recvmsg(2), unix(7) SCM_RIGHTS and
// SO_PEERCRED.
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "arguments.h"

namespace cluster_fs {
namespace {

constexpr size_t kMaxDescriptors = 16;

// The address of a socket at `path`. False when the path does not fit, which it must with its terminator.
bool unix_address(Arguments* a, size_t i, sockaddr_un* address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  char path[4097];
  a->text(i, path, sizeof path);
  if (!a->ok) return false;
  if (strlen(path) >= sizeof address->sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  strcpy(address->sun_path, path);
  return true;
}

int stream_socket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

napi_value close_with_errno(napi_env env, int fd) {
  int error = errno;
  if (fd >= 0) close(fd);
  return number(env, -error);
}

// listenUnix(path, backlog, mode). The socket never has wider rights than `mode`, not even for a moment.
// umask(2) is the process's, so the caller makes no file meanwhile: this runs on one thread, at start-up.
napi_value listen_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  sockaddr_un address;
  bool fits = unix_address(&a, 0, &address);
  int backlog = a.i32(1), mode = a.i32(2);
  if (!a.ok) return nullptr;
  if (!fits) return number(env, -ENAMETOOLONG);
  int fd = stream_socket();
  if (fd < 0) return outcome(env, fd);
  mode_t before = umask(static_cast<mode_t>(~mode & 0777));
  int bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  int error = errno;
  umask(before);
  errno = error;
  if (bound != 0 || listen(fd, backlog) != 0) return close_with_errno(env, fd);
  return number(env, fd);
}

napi_value connect_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  sockaddr_un address;
  bool fits = unix_address(&a, 0, &address);
  if (!a.ok) return nullptr;
  if (!fits) return number(env, -ENAMETOOLONG);
  int fd = stream_socket();
  if (fd < 0) return outcome(env, fd);
  int connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  if (connected != 0) return close_with_errno(env, fd);
  return number(env, fd);
}

napi_value accept_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  int listener = a.fd(0);
  if (!a.ok) return nullptr;
  return outcome(env, accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

// sendMessage(fd, bytes, offset, length, descriptors)
napi_value send_message(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 5);
  int fd = a.fd(0);
  size_t size = 0;
  uint8_t* bytes = a.bytes(1, &size);
  uint64_t offset = a.u53(2), length = a.u53(3);
  uint32_t count = 0;
  if (a.ok && (offset > size || length > size - offset)) a.fail("the range is outside the buffer");
  if (a.ok && napi_get_array_length(env, a.value(4), &count) != napi_ok) a.fail("expected descriptors");
  if (a.ok && count > kMaxDescriptors) a.fail("too many descriptors");
  if (!a.ok) return nullptr;
  iovec part = {bytes + offset, length};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; i++) {
      napi_value element;
      int32_t descriptor = -1;
      napi_get_element(env, a.value(4), i, &element);
      if (napi_get_value_int32(env, element, &descriptor) != napi_ok || descriptor < 0) {
        a.fail("expected a descriptor");
        return nullptr;
      }
      memcpy(CMSG_DATA(header) + i * sizeof(int), &descriptor, sizeof(int));
    }
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return outcome(env, sent);
}

// Appends the received descriptors to the array. When some did not fit, the kernel has dropped those already;
// the rest are closed here, since nobody can tell any more which is which.
bool take_descriptors(napi_env env, msghdr* message, napi_value into) {
  bool truncated = (message->msg_flags & MSG_CTRUNC) != 0;
  uint32_t length = 0;
  napi_get_array_length(env, into, &length);
  for (cmsghdr* h = CMSG_FIRSTHDR(message); h != nullptr; h = CMSG_NXTHDR(message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
      if (truncated) close(descriptor);
      else napi_set_element(env, into, length++, number(env, descriptor));
    }
  }
  return !truncated;
}

// receiveMessage(fd, into, descriptors): bytes received; descriptors are appended to the array
napi_value receive_message(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 3);
  int fd = a.fd(0);
  size_t size = 0;
  uint8_t* bytes = a.bytes(1, &size);
  if (!a.ok) return nullptr;
  iovec part = {bytes, size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received;
  do {
    received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  bool came = received >= 0 && message.msg_controllen > 0;
  if (came && !take_descriptors(env, &message, a.value(2))) return number(env, -EMSGSIZE);
  return outcome(env, received);
}

// peerCredentials(fd, into: Uint8Array of three 32-bit integers: pid, uid, gid)
napi_value peer_credentials(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 2);
  int fd = a.fd(0);
  size_t length = 0;
  uint8_t* into = a.bytes(1, &length);
  if (a.ok && length < 12) a.fail("expected room for three integers");
  if (!a.ok) return nullptr;
  ucred credentials;
  socklen_t size = sizeof credentials;
  int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  if (result == 0) {
    uint32_t values[3] = {static_cast<uint32_t>(credentials.pid), credentials.uid, credentials.gid};
    memcpy(into, values, sizeof values);
  }
  return outcome(env, result);
}

napi_value close_descriptor(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  int fd = a.fd(0);
  if (!a.ok) return nullptr;
  return outcome(env, close(fd));
}

napi_value shutdown_socket(napi_env env, napi_callback_info info) {
  Arguments a(env, info, 1);
  int fd = a.fd(0);
  if (!a.ok) return nullptr;
  return outcome(env, shutdown(fd, SHUT_RDWR));
}

}  // namespace

void define_descriptor(napi_env env, napi_value exports) {
  define(env, exports, "listenUnix", listen_unix);
  define(env, exports, "connectUnix", connect_unix);
  define(env, exports, "acceptUnix", accept_unix);
  define(env, exports, "sendMessage", send_message);
  define(env, exports, "receiveMessage", receive_message);
  define(env, exports, "peerCredentials", peer_credentials);
  define(env, exports, "closeDescriptor", close_descriptor);
  define(env, exports, "shutdownSocket", shutdown_socket);
}

}  // namespace cluster_fs
