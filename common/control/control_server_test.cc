#include "common/control/control_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>

#include "common/control/host_service.h"

namespace romulus {
namespace {

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

  const auto stub =
      control::v1::HostService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
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
