#include "common/control/control_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/control/host_service.h"

namespace romulus {
namespace {

class TwoBackends final : public BackendDirectory {
 public:
  std::vector<control::v1::Backend> List() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++listed_;
    std::vector<control::v1::Backend> backends;
    for (const char* name : {"backends/vbd-7-51712", "backends/vif-7-0"}) {
      control::v1::Backend& backend = backends.emplace_back();
      backend.set_name(name);
      backend.set_state(state_);
      backend.mutable_age()->set_seconds(listed_);  // Time passes.
    }
    return backends;
  }
  const ChangeSignal& changes() const override { return changes_; }

  void Change(const std::string& state) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      state_ = state;
    }
    changes_.Notify();
  }
  void WaitForLists(int count) {
    while (true) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (listed_ >= count) return;
      std::this_thread::yield();
    }
  }

 private:
  std::mutex mutex_;
  int listed_ = 0;
  std::string state_ = "InitWait";
  ChangeSignal changes_;
};

class Backends : public testing::Test {
 protected:
  Backends()
      : service_([]() -> absl::StatusOr<control::v1::Host> { return absl::UnimplementedError(""); },
                 [] { return std::vector<control::v1::ReadinessCheck>(); }, &backends_),
        server_(*ControlServer::Start("127.0.0.1:0", {&service_})),
        stub_(control::v1::HostService::NewStub(
            grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()))) {}

  TwoBackends backends_;
  HostService service_;
  const std::unique_ptr<ControlServer> server_;
  const std::unique_ptr<control::v1::HostService::Stub> stub_;
};

TEST_F(Backends, AreListedPageByPage) {
  control::v1::ListBackendsRequest request;
  request.set_page_size(1);
  for (const char* name : {"backends/vbd-7-51712", "backends/vif-7-0"}) {
    grpc::ClientContext context;
    control::v1::ListBackendsResponse response;
    ASSERT_TRUE(stub_->ListBackends(&context, request, &response).ok());
    ASSERT_EQ(response.backends_size(), 1);
    EXPECT_EQ(response.backends(0).name(), name);
    EXPECT_GT(response.backends(0).age().seconds(), 0);
    request.set_page_token(response.next_page_token());
  }
  EXPECT_EQ(request.page_token(), "");
  request.set_page_size(-1);
  grpc::ClientContext context;
  control::v1::ListBackendsResponse response;
  EXPECT_EQ(stub_->ListBackends(&context, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(Backends, AreWatchedAndTimeAloneIsNoChange) {
  control::v1::WatchBackendsRequest request;
  request.set_name("backends/vif-7-0");
  request.mutable_period()->set_nanos(50'000'000);
  grpc::ClientContext context;
  const auto reader = stub_->WatchBackends(&context, request);
  control::v1::WatchBackendsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.event(), control::v1::SNAPSHOT);
  EXPECT_EQ(response.backend().name(), "backends/vif-7-0");
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.event(), control::v1::SYNCED);
  // Looked at again and again, with another age each time, and nothing is sent: what comes next is the change.
  backends_.WaitForLists(4);
  backends_.Change("Connected");
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.event(), control::v1::CHANGED);
  EXPECT_EQ(response.backend().state(), "Connected");
  EXPECT_GE(response.backend().age().seconds(), 4);
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(ControlServer, ServesUntilItIsDestroyedAndRefusesATakenPort) {
  HostService service([]() -> absl::StatusOr<control::v1::Host> { return absl::FailedPreconditionError("no Xen"); },
                      [] {
                        control::v1::ReadinessCheck missing;
                        missing.set_name("kernel-module-ifb");
                        missing.set_remedy("modprobe ifb");
                        return std::vector<control::v1::ReadinessCheck>{missing};
                      });
  auto server = ControlServer::Start("127.0.0.1:0", {&service});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = "127.0.0.1:" + std::to_string((*server)->port());
  EXPECT_EQ(ControlServer::Start(address, {}).status().code(), absl::StatusCode::kFailedPrecondition);

  const auto stub = control::v1::HostService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  {
    grpc::ClientContext context;
    control::v1::CheckReadinessResponse response;
    const grpc::Status status = stub->CheckReadiness(&context, {}, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_FALSE(response.ready());
    EXPECT_EQ(response.checks(0).remedy(), "modprobe ifb");
  }
  {
    grpc::ClientContext context;
    control::v1::Host response;
    EXPECT_EQ(stub->GetHost(&context, {}, &response).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  }
  server->reset();
  grpc::ClientContext context;
  control::v1::Host response;
  EXPECT_EQ(stub->GetHost(&context, {}, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace romulus
