// Runs shell commands in dom0 for the lab's driver, over TCP on the management network. No authentication: the network
// is the run's own.
//
// One connection is one command. Frames both ways are {u32 type, u32 length} and payload, little-endian:
//   to the server    1 command line for /bin/sh (first, once), 2 bytes for its stdin, 3 end of its stdin
//   to the driver    1 bytes of its stdout, 2 bytes of its stderr, 3 exit status (i32; 128 + n for signal n; last)
// The command ends when its shell does: what background children write later is dropped, so they can't hold the
// connection. If the driver hangs up first, the command's process group is killed.
//
// One forked process per connection, so that commands can't disturb each other and a crash costs one command.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace {

constexpr uint16_t kPort = 2222;
constexpr size_t kChunk = 65536;
constexpr uint32_t kMostFrame = 4u << 20;

enum ToServer : uint32_t { kCommand = 1, kStdin = 2, kStdinEnd = 3 };
enum ToDriver : uint32_t { kStdout = 1, kStderr = 2, kExit = 3 };

struct FrameHeader {
  uint32_t type;
  uint32_t length;
};

bool ReadAll(int fd, void* data, size_t size) {
  for (char* at = static_cast<char*>(data); size > 0;) {
    ssize_t got = read(fd, at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= got;
  }
  return true;
}

bool WriteAll(int fd, const void* data, size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    ssize_t put = write(fd, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    at += put;
    size -= put;
  }
  return true;
}

bool ReadFrame(int fd, uint32_t& type, std::string& payload) {
  FrameHeader header;
  if (!ReadAll(fd, &header, sizeof(header)) || header.length > kMostFrame) return false;
  payload.resize(header.length);
  type = header.type;
  return ReadAll(fd, payload.data(), payload.size());
}

bool WriteFrame(int fd, uint32_t type, const void* data, uint32_t size) {
  std::string frame(sizeof(FrameHeader) + size, '\0');
  FrameHeader header{type, size};
  memcpy(frame.data(), &header, sizeof(header));
  memcpy(frame.data() + sizeof(header), data, size);
  return WriteAll(fd, frame.data(), frame.size());
}

// Forwards what is in the pipe; false when nothing more will come or the driver is gone.
bool Forward(int pipe_fd, int connection, uint32_t type) {
  static char buffer[kChunk];
  ssize_t got = read(pipe_fd, buffer, sizeof(buffer));
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  return got > 0 && WriteFrame(connection, type, buffer, got);
}

pid_t StartShell(const std::string& command, int in[2], int out[2], int err[2]) {
  pid_t child = fork();
  if (child != 0) return child;
  setsid();
  dup2(in[0], 0);
  dup2(out[1], 1);
  dup2(err[1], 2);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(127);
}

int Serve(int connection) {
  uint32_t type;
  std::string command;
  if (!ReadFrame(connection, type, command) || type != kCommand) return 1;
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return 1;
  pid_t child = StartShell(command, in, out, err);
  if (child < 0) return 1;
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  close(in[0]);
  close(out[1]);
  close(err[1]);
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  fcntl(err[0], F_SETFL, O_NONBLOCK);

  std::string to_stdin;  // what the command has not taken yet; while it is not empty no more is read from the driver
  bool stdin_ends = false;
  auto close_stdin = [&] {
    if (in[1] >= 0) close(in[1]);
    in[1] = -1;
  };
  for (bool running = true; running;) {
    if (to_stdin.empty() && stdin_ends) close_stdin();
    pollfd fds[5] = {
        {connection, static_cast<short>(to_stdin.empty() ? POLLIN : 0), 0},
        {to_stdin.empty() ? -1 : in[1], POLLOUT, 0},
        {out[0], POLLIN, 0},
        {err[0], POLLIN, 0},
        {pidfd, POLLIN, 0},
    };
    if (poll(fds, 5, -1) < 0 && errno != EINTR) break;
    if (fds[0].revents) {
      std::string payload;
      if (!ReadFrame(connection, type, payload)) {
        kill(-child, SIGKILL);
        return 1;
      }
      if (type == kStdin && in[1] >= 0) to_stdin = std::move(payload);
      if (type == kStdinEnd) stdin_ends = true;
    }
    if (fds[1].revents) {
      ssize_t put = write(in[1], to_stdin.data(), to_stdin.size());
      if (put > 0) {
        to_stdin.erase(0, put);
      } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
        to_stdin.clear();  // the command closed its stdin: swallow the rest
        close_stdin();
      }
    }
    if (fds[2].revents && !Forward(out[0], connection, kStdout)) {
      close(out[0]);
      out[0] = -1;
    }
    if (fds[3].revents && !Forward(err[0], connection, kStderr)) {
      close(err[0]);
      err[0] = -1;
    }
    if (fds[4].revents) running = false;
  }
  // The shell is gone: forward what it left in the pipes, but don't wait for children that still hold them.
  for (auto [fd, frame] : {std::pair{out[0], kStdout}, std::pair{err[0], kStderr}}) {
    pollfd left{fd, POLLIN, 0};
    while (fd >= 0 && poll(&left, 1, 0) > 0 && (left.revents & POLLIN) && Forward(fd, connection, frame)) {
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  int32_t code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  WriteFrame(connection, kExit, &code, sizeof(code));
  return 0;
}

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);  // finished connections reap themselves
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 || listen(listener, 64) != 0) {
    perror("command_server");
    return 1;
  }
  for (;;) {
    int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    // A driver that vanished (restored snapshot, cut link) must not leave a process here for ever.
    int idle_s = 30;
    setsockopt(connection, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(connection, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    if (fork() == 0) {
      close(listener);
      signal(SIGCHLD, SIG_DFL);
      _exit(Serve(connection));
    }
    close(connection);
  }
}
