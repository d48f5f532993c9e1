// romulus-primary-release-early: the primary agent with the fault of ReleaseEarlyEgressBuffer, on real Xen. Put
// together as primary/main.cc, but for the buffer.

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "common/agent/termination.h"
#include "common/base/log.h"
#include "common/control/host_service.h"
#include "common/loop/event_loop.h"
#include "primary/agent/primary_agent.h"
#include "primary/agent/xen_protected_host.h"
#include "tests/faults/release_early_egress_buffer.h"

ABSL_FLAG(std::string, control_address, "127.0.0.1:7450", "as romulus-primary's");
ABSL_FLAG(std::string, state_dir, "/var/lib/romulus/primary", "as romulus-primary's");

namespace romulus {
namespace {

class ReleasingEarlyHost final : public ProtectedHost {
 public:
  explicit ReleasingEarlyHost(std::unique_ptr<ProtectedHost> host) : host_(std::move(host)) {}

  absl::StatusOr<replication::v1::DomainDescription> Describe(const std::string& domain) override {
    return host_->Describe(domain);
  }
  absl::StatusOr<replication::v1::HostCompatibility> Compatibility() override { return host_->Compatibility(); }
  void RecoverGuest(uint32_t domid, std::function<void(absl::Status)> done) override {
    host_->RecoverGuest(domid, std::move(done));
  }
  void RemoveLeftovers(const std::set<std::string>& living) override { host_->RemoveLeftovers(living); }
  absl::StatusOr<ProtectionDriver::Seams> MakeSeams(const std::string& id, const control::v1::Protection& protection,
                                                    const replication::v1::DomainDescription& domain) override {
    absl::StatusOr<ProtectionDriver::Seams> seams = host_->MakeSeams(id, protection, domain);
    if (seams.ok()) seams->egress = std::make_unique<ReleaseEarlyEgressBuffer>(std::move(seams->egress));
    return seams;
  }
  void ApplySettings(const std::string& id, const control::v1::ProtectionSettings& settings) override {
    host_->ApplySettings(id, settings);
  }

 private:
  const std::unique_ptr<ProtectedHost> host_;
};

absl::Status Run() {
  const absl::StatusOr<TerminationSignals> signals = TerminationSignals::Block();
  if (!signals.ok()) return signals.status();
  const absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::New();
  if (!loop.ok()) return loop.status();
  const std::string save_helper = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "romulus-save-helper";
  absl::StatusOr<std::unique_ptr<XenProtectedHost>> xen = XenProtectedHost::Open(loop->get(), {save_helper});
  if (!xen.ok()) return xen.status();
  ReleasingEarlyHost host(*std::move(xen));
  HostService host_service([] { return control::v1::Host(); },
                           [] { return std::vector<control::v1::ReadinessCheck>(); });
  return RunPrimaryAgent({absl::GetFlag(FLAGS_control_address), absl::GetFlag(FLAGS_state_dir)}, *signals, **loop, host,
                         host_service);
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = romulus::Run();
  if (status.ok()) return EXIT_SUCCESS;
  romulus::LogError("romulus-primary-release-early: ", status.message());
  return EXIT_FAILURE;
}
