#include "common/observe/metrics_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <string>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/loop/event_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace romulus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Get(int port, const std::string& path) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return "no connection";
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return "";
  std::string answer;
  char buffer[4096];
  for (ssize_t got; (got = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, got);
  return answer;
}

class Metrics : public testing::Test {
 protected:
  void Serve() {
    auto server = MetricsServer::Start("127.0.0.1:0", loop_.get(), [this](MetricFamilies& families) {
      collected_on_ = std::this_thread::get_id();
      families.Gauge("romulus_held_bytes", "Bytes that are held.", {{"vif", "vif1.0"}, {"protection", "web"}}, 1500);
      families.Counter("romulus_dropped_total", "Dropped.", {{"vif", "a\"b\\c"}}, 3);
      families.Gauge("romulus_held_bytes", "", {{"vif", "vif1.1"}, {"protection", "web"}}, 0.25);
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  const std::unique_ptr<EventLoop> loop_ = *EventLoop::New();
  std::unique_ptr<MetricsServer> server_;
  std::thread::id collected_on_;
};

TEST_F(Metrics, AreServedAsTextAndCollectedOnTheLoop) {
  Serve();
  std::string answer;
  std::thread asker([&] {
    answer = Get(server_->port(), "/metrics");
    loop_->Quit();
  });
  loop_->Run();
  asker.join();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain"));
  EXPECT_THAT(answer, HasSubstr("# HELP romulus_held_bytes Bytes that are held.\n"
                                "# TYPE romulus_held_bytes gauge\n"
                                "romulus_held_bytes{vif=\"vif1.0\",protection=\"web\"} 1500\n"
                                "romulus_held_bytes{vif=\"vif1.1\",protection=\"web\"} 0.25\n"));
  EXPECT_THAT(answer, HasSubstr("# TYPE romulus_dropped_total counter\n"
                                "romulus_dropped_total{vif=\"a\\\"b\\\\c\"} 3\n"));
  EXPECT_THAT(answer, HasSubstr("romulus_agent_responsive 1\n"));
  EXPECT_EQ(collected_on_, std::this_thread::get_id());
}

TEST_F(Metrics, ALoopThatDoesNotAnswerDoesNotHoldUpTheServer) {
  Serve();
  const std::string answer = Get(server_->port(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("romulus_agent_responsive 0\n"));
  EXPECT_THAT(answer, Not(HasSubstr("romulus_held_bytes")));
  // What the request has left behind finds its server gone.
  server_.reset();
  loop_->Post([this] { loop_->Quit(); });
  loop_->Run();
  EXPECT_EQ(collected_on_, std::thread::id());
}

TEST_F(Metrics, AnAddressThatIsTakenIsAnErrorThatSaysWhatToDo) {
  Serve();
  const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
  const auto second = MetricsServer::Start(taken, loop_.get(), [](MetricFamilies&) {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(taken));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--metrics_address"));
  EXPECT_FALSE(MetricsServer::Start("nonsense", loop_.get(), [](MetricFamilies&) {}).ok());
}

}  // namespace
}  // namespace romulus
