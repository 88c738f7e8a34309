// Unix stream sockets that carry descriptors: socket(2), sendmsg(2), recvmsg(2), unix(7) SCM_RIGHTS,
// SO_PEERCRED and SO_PEERGROUPS.
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <vector>

#include "arguments.h"

namespace cluster_fs {
namespace {

constexpr size_t kMaxDescriptors = 16;

// Fills the address of a socket at a path: 0, or an errno. An empty path would become an abstract name, which
// any user may connect to.
int unix_address(Arguments* a, size_t i, sockaddr_un* address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = a->text(i, "path", address->sun_path, sizeof address->sun_path);
  if (length >= sizeof address->sun_path) return ENAMETOOLONG;
  return length == 0 ? ENOENT : 0;
}

int stream_socket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

// listenUnix(path, backlog, mode)
//
// bind(2) makes the file with the rights of the socket's own inode, less the umask: so the file never has
// more than `mode`, and umask(2), which is every thread's, is left alone. Then it gets what the umask took;
// until listen(2) nobody can connect.
napi_value listen_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  sockaddr_un address;
  int error = unix_address(&a, 0, &address);
  int backlog = a.index(1, "backlog");
  mode_t mode = static_cast<mode_t>(a.index(2, "mode", 0777));
  if (!a.ok) return nullptr;
  if (error != 0) return number(env, -error);
  int fd = stream_socket();
  if (fd < 0) return outcome(env, fd);
  if (fchmod(fd, mode) != 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return close_and_fail(env, fd);
  }
  if (chmod(address.sun_path, mode) != 0 || listen(fd, backlog) != 0) {
    error = errno;
    unlink(address.sun_path);
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

// connectUnix(path)
napi_value connect_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  sockaddr_un address;
  int error = unix_address(&a, 0, &address);
  if (!a.ok) return nullptr;
  if (error != 0) return number(env, -error);
  int fd = stream_socket();
  if (fd < 0) return outcome(env, fd);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return close_and_fail(env, fd);
  return number(env, fd);
}

// acceptUnix(fd)
napi_value accept_unix(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int listener = a.index(0, "fd");
  if (!a.ok) return nullptr;
  return outcome(env, accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

// Room for as many descriptors as a message may carry.
union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
};

void attach_descriptors(msghdr* message, Control* control, const int* descriptors, size_t count) {
  memset(control, 0, sizeof *control);
  message->msg_control = control;
  message->msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
}

// sendMessage(fd, bytes, offset, length, descriptors)
napi_value send_message(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  int descriptors[kMaxDescriptors];
  size_t count = a.descriptors(4, "descriptors", descriptors, kMaxDescriptors);
  uint64_t offset = a.u53(2, "offset"), length = a.u53(3, "length");
  size_t size = 0;
  uint8_t* bytes = a.bytes(1, "bytes", &size);
  if (a.ok && (offset > size || length > size - offset)) a.fail("offset and length", "inside the bytes");
  // A stream carries descriptors with a byte; without any they would vanish.
  if (a.ok && length == 0) a.fail("length", "more than 0");
  if (!a.ok) return nullptr;
  iovec part = {bytes + offset, length};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control;
  if (count > 0) attach_descriptors(&message, &control, descriptors, count);
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return outcome(env, sent);
}

// sendParts(fd, parts): bytes sent. The parts leave as if they were one.
napi_value send_parts(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  iovec parts[kMaxParts];
  size_t count = a.parts(1, "parts", parts);
  if (!a.ok) return nullptr;
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return outcome(env, sent);
}

// Appends `descriptor` to the array. A frozen one does not say that it did not take it.
bool append(napi_env env, napi_value into, int descriptor) {
  uint32_t before = 0, after = 0;
  napi_get_array_length(env, into, &before);
  napi_set_element(env, into, before, number(env, descriptor));
  napi_get_array_length(env, into, &after);
  return after == before + 1;
}

// Appends the received descriptors to the array. When some did not fit (or the process may not open more),
// the kernel has dropped those already; the rest are closed here, since nobody can tell which is which.
// False then, and when the array does not take them.
bool take_descriptors(napi_env env, msghdr* message, napi_value into) {
  bool keep = (message->msg_flags & MSG_CTRUNC) == 0;
  for (cmsghdr* h = CMSG_FIRSTHDR(message); h != nullptr; h = CMSG_NXTHDR(message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
      if (keep && append(env, into, descriptor)) continue;
      keep = false;
      close(descriptor);
    }
  }
  return keep;
}

// receiveMessage(fd, into, descriptors): bytes received; descriptors are appended to the array
napi_value receive_message(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  size_t size = 0;
  uint8_t* bytes = a.bytes(1, "into", &size);
  bool is_array = false;
  napi_is_array(env, a.value(2), &is_array);
  if (!is_array) a.fail("descriptors", "an array");
  if (!a.ok) return nullptr;
  iovec part = {bytes, size};
  Control control;
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t received;
  do {
    received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  bool carries = received >= 0 && (message.msg_controllen > 0 || (message.msg_flags & MSG_CTRUNC) != 0);
  if (carries && !take_descriptors(env, &message, a.value(2))) return number(env, -EMSGSIZE);
  return outcome(env, received);
}

// peerCredentials(fd, into: Float64Array of pid, uid, gid)
napi_value peer_credentials(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  size_t room = 0;
  double* into = a.doubles(1, "into", &room);
  if (a.ok && room < 3) a.fail("into", "three numbers long");
  if (!a.ok) return nullptr;
  ucred credentials;
  socklen_t size = sizeof credentials;
  int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  if (result == 0) {
    into[0] = credentials.pid;
    into[1] = credentials.uid;
    into[2] = credentials.gid;
  }
  return outcome(env, result);
}

// peerGroups(fd, into: Float64Array): how many groups the peer has; those that fit are filled in
napi_value peer_groups(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  size_t room = 0;
  double* into = a.doubles(1, "into", &room);
  if (!a.ok) return nullptr;
  std::vector<gid_t> groups(room);
  socklen_t size = static_cast<socklen_t>(room * sizeof(gid_t));
  int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
  // ERANGE when they do not fit; then `size` says how much room they need.
  if (result != 0 && errno != ERANGE) return outcome(env, result);
  size_t count = size / sizeof(gid_t);
  for (size_t i = 0; result == 0 && i < count; i++) into[i] = groups[i];
  return outcome(env, static_cast<ssize_t>(count));
}

// unreadBytes(fd): how much of what was sent the peer has not received yet, as the kernel counts it
napi_value unread_bytes(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  int bytes = 0;
  int result = ioctl(fd, SIOCOUTQ, &bytes);
  return outcome(env, result != 0 ? result : bytes);
}

// closeDescriptor(fd). Linux frees the number before it can be interrupted: EINTR is done, and not to be
// repeated.
napi_value close_descriptor(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  int result = close(fd);
  return outcome(env, result != 0 && errno == EINTR ? 0 : result);
}

napi_value shutdown_socket(napi_env env, napi_callback_info info) {
  Arguments a(env, info);
  int fd = a.index(0, "fd");
  if (!a.ok) return nullptr;
  return outcome(env, shutdown(fd, SHUT_RDWR));
}

}  // namespace

void define_descriptor(napi_env env, napi_value exports) {
  define(env, exports, "listenUnix", listen_unix);
  define(env, exports, "connectUnix", connect_unix);
  define(env, exports, "acceptUnix", accept_unix);
  define(env, exports, "sendMessage", send_message);
  define(env, exports, "sendParts", send_parts);
  define(env, exports, "receiveMessage", receive_message);
  define(env, exports, "peerCredentials", peer_credentials);
  define(env, exports, "peerGroups", peer_groups);
  define(env, exports, "unreadBytes", unread_bytes);
  define(env, exports, "closeDescriptor", close_descriptor);
  define(env, exports, "shutdownSocket", shutdown_socket);
}

}  // namespace cluster_fs
