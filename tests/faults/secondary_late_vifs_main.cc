// romulus-secondary-late-vifs: the secondary agent with LateVifsGuest, whose vifs Xen's script connects at the
// takeover: what the prepared ones are measured against. Put together as secondary/main.cc, but for that.

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/agent/termination.h"
#include "common/base/grpc_process.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/control/host_service.h"
#include "common/devices/backend_listener.h"
#include "common/loop/event_loop.h"
#include "secondary/agent/secondary_agent.h"
#include "secondary/agent/xen_standby_host.h"
#include "secondary/target/helper_checkpoint_target.h"
#include "tests/faults/late_vifs_guest.h"

ABSL_FLAG(std::string, control_address, "127.0.0.1:7451", "as romulus-secondary's");
ABSL_FLAG(std::string, replication_address, "0.0.0.0:7452", "as romulus-secondary's");
ABSL_FLAG(std::string, state_dir, "/var/lib/romulus/secondary", "as romulus-secondary's");

namespace romulus {
namespace {

class LateVifsHost final : public StandbyHost {
 public:
  LateVifsHost(EventLoop* loop, std::string restore_helper, std::unique_ptr<StandbyHost> host)
      : loop_(loop), restore_helper_(std::move(restore_helper)), host_(std::move(host)) {}

  absl::StatusOr<replication::v1::HostCompatibility> Compatibility() override { return host_->Compatibility(); }
  absl::Status CheckSession(const replication::v1::OpenSession& open_session) override {
    return host_->CheckSession(open_session);
  }
  std::unique_ptr<CheckpointTarget> NewTarget() override {
    HelperCheckpointTarget::Options options;
    options.restore_helper = restore_helper_;
    options.create_guest = LateVifsGuest::Create;
    return std::make_unique<HelperCheckpointTarget>(*loop_, options);
  }
  absl::StatusOr<std::unique_ptr<StandbyTraffic>> NewTraffic(const replication::v1::OpenSession& session,
                                                             uint32_t domid) override {
    return host_->NewTraffic(session, domid);
  }
  void RemoveLeftovers() override { host_->RemoveLeftovers(); }

 private:
  EventLoop* const loop_;
  const std::string restore_helper_;
  const std::unique_ptr<StandbyHost> host_;
};

absl::Status Run() {
  const absl::StatusOr<TerminationSignals> signals = TerminationSignals::Block();
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::New();
  if (!loop.ok()) return loop.status();
  const std::string restore_helper =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "romulus-restore-helper";
  absl::StatusOr<std::unique_ptr<XenStandbyHost>> xen = XenStandbyHost::Open(loop->get(), restore_helper);
  if (!xen.ok()) return xen.status();
  LateVifsHost host(loop->get(), restore_helper, *std::move(xen));
  // Without a VifConnector: each vif is connected by its script.
  BackendListener::Options options;
  options.scope = BackendScope::kMarkedDomains;
  const absl::StatusOr<std::unique_ptr<BackendListener>> listener = BackendListener::Start(**loop, std::move(options));
  if (!listener.ok()) return listener.status();
  HostService host_service([] { return control::v1::Host(); },
                           [] { return std::vector<control::v1::ReadinessCheck>(); });
  return RunSecondaryAgent(
      {absl::GetFlag(FLAGS_control_address), absl::GetFlag(FLAGS_replication_address), absl::GetFlag(FLAGS_state_dir)},
      *signals, **loop, host, host_service);
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  romulus::KeepFreedMemory();
  romulus::PrepareGrpc();
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = romulus::Run();
  if (status.ok()) return EXIT_SUCCESS;
  romulus::LogError("romulus-secondary-late-vifs: ", status.message());
  return EXIT_FAILURE;
}
