#include "common/xen/xenstore.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

extern "C" {
#include <xen/io/xs_wire.h>
}

#include "common/base/unique_fd.h"

namespace romulus {
namespace {

// Answers one connection by xenstored's wire protocol (docs/misc/xenstore.txt): every node is missing, every write
// succeeds, and the first `disturbed` commits of transactions are refused because somebody else was faster.
class ScriptedXenstored {
 public:
  explicit ScriptedXenstored(int disturbed) : disturbed_(disturbed) {
    // Not the test's own folder: its name is too long for a socket.
    path_ = "/tmp/romulus-xenstored-test." + std::to_string(getpid());
    unlink(path_.c_str());
    listener_.Reset(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
    setenv("XENSTORED_PATH", path_.c_str(), 1);
    server_ = std::thread([this] { Serve(); });
  }
  ~ScriptedXenstored() {
    shutdown(listener_.get(), SHUT_RDWR);
    server_.join();
    unlink(path_.c_str());
  }
  int writes() const { return writes_; }
  int commits() const { return commits_; }

 private:
  void Serve() {
    connection_.Reset(accept(listener_.get(), nullptr, nullptr));
    xsd_sockmsg header{};
    while (recv(connection_.get(), &header, sizeof(header), MSG_WAITALL) == sizeof(header)) {
      std::string body(header.len, '\0');
      if (header.len > 0) recv(connection_.get(), body.data(), body.size(), MSG_WAITALL);
      Answer(header, body);
    }
  }
  void Answer(xsd_sockmsg header, const std::string& body) {
    std::string answer("OK", 3);
    if (header.type == XS_READ) {
      header.type = XS_ERROR;
      answer = std::string("ENOENT", 7);
    } else if (header.type == XS_TRANSACTION_START) {
      answer = std::string("7", 2);
    } else if (header.type == XS_WRITE) {
      ++writes_;
    } else if (header.type == XS_TRANSACTION_END && body[0] == 'T') {
      if (++commits_ <= disturbed_) {
        header.type = XS_ERROR;
        answer = std::string("EAGAIN", 7);
      }
    }
    header.len = answer.size();
    const std::string bytes = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + answer;
    EXPECT_EQ(send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), bytes.size());
  }

  const int disturbed_;
  std::string path_;
  UniqueFd listener_;
  UniqueFd connection_;
  int writes_ = 0;
  int commits_ = 0;
  std::thread server_;
};

TEST(Xenstore, ADisturbedTransactionIsRunAgainAsAWhole) {
  ScriptedXenstored server(2);
  auto store = *Xenstore::Open();
  int runs = 0;
  const absl::Status status = store->Transact([&](XenstoreAccess& transaction) {
    ++runs;
    return transaction.Write("/vm/x", "1");
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(server.writes(), 3);
}

TEST(Xenstore, ATransactionThatIsAlwaysDisturbedEnds) {
  ScriptedXenstored server(1 << 30);
  auto store = *Xenstore::Open();
  EXPECT_TRUE(absl::IsAborted(store->Transact([](XenstoreAccess&) { return absl::OkStatus(); })));
  EXPECT_EQ(server.commits(), Xenstore::kTransactionAttempts);
}

TEST(Xenstore, ABodyThatFailsCommitsNothing) {
  ScriptedXenstored server(0);
  auto store = *Xenstore::Open();
  const absl::Status status =
      store->Transact([](XenstoreAccess& transaction) { return transaction.Read("/no/such/node").status(); });
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_NE(std::string(status.message()).find("/no/such/node"), std::string::npos) << status;
  EXPECT_EQ(server.commits(), 0);
}

TEST(Xenstore, AMissingNodeMayHaveADefault) {
  ScriptedXenstored server(0);
  auto store = *Xenstore::Open();
  EXPECT_EQ(*store->ReadOr("/no/such/node", "otherwise"), "otherwise");
  EXPECT_TRUE(absl::IsNotFound(store->ReadNumber("/no/such/node").status()));
}

}  // namespace
}  // namespace romulus
