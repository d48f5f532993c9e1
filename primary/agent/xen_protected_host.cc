#include "primary/agent/xen_protected_host.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/control/durations.h"
#include "common/xen/control.h"
#include "common/xen/host_compatibility.h"
#include "netbuf/guest_tap.h"
#include "netbuf/netlink_plug_kernel.h"
#include "netbuf/plug_egress_buffer.h"
#include "netbuf/xenstore_ifb_claims.h"
#include "primary/agent/egress_plan.h"
#include "primary/capture/helper_checkpoint_source.h"
#include "primary/capture/xen_guest_control.h"
#include "primary/domain/backend_vifs.h"
#include "primary/domain/domain_description_reader.h"
#include "primary/lockstep/tap_guest_traffic.h"
#include "primary/protection/guest_lockstep.h"

namespace romulus {
namespace {

// How long a suspend that a dead agent had asked for may still be under way.
constexpr absl::Duration kRecoverySettle = absl::Seconds(10);

size_t HalfOfTheProcessors() {
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  return processors > 3 ? static_cast<size_t>(processors) / 2 : 1;
}

// The mark that netbuf puts on its devices.
std::string ProtectionName(const std::string& id) { return absl::StrCat("protections/", id); }

}  // namespace

absl::StatusOr<std::unique_ptr<XenProtectedHost>> XenProtectedHost::Open(EventLoop* loop, const Options& options) {
  absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  if (!xc.ok()) return xc.status();
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return store.status();
  auto claims = std::make_unique<XenstoreIfbClaims>(store->get());
  absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> kernel = NetlinkPlugKernel::New(claims.get());
  if (!kernel.ok()) return kernel.status();
  return std::unique_ptr<XenProtectedHost>(
      new XenProtectedHost(loop, options, *std::move(xc), *std::move(store), std::move(claims), *std::move(kernel)));
}

XenProtectedHost::XenProtectedHost(EventLoop* loop, Options options, XcInterface xc, std::unique_ptr<Xenstore> store,
                                   std::unique_ptr<IfbClaims> claims, std::shared_ptr<PlugKernel> kernel)
    : loop_(loop),
      options_(std::move(options)),
      xc_(std::move(xc)),
      store_(std::move(store)),
      claims_(std::move(claims)),
      kernel_(std::move(kernel)),
      taps_(loop),
      pause_turns_(loop, options_.pauses_at_once > 0 ? options_.pauses_at_once : HalfOfTheProcessors()),
      bandwidth_(options_.bandwidth_limit),
      encoding_pool_(std::make_shared<EncodingPool>(options_.encoding_threads > 0 ? options_.encoding_threads
                                                                                  : EncodingPool::DefaultThreads())) {}

absl::StatusOr<replication::v1::DomainDescription> XenProtectedHost::Describe(const std::string& domain) {
  return DomainDescriptionReader(xc_.get(), store_.get()).Read(domain);
}

absl::StatusOr<replication::v1::HostCompatibility> XenProtectedHost::Compatibility() {
  return ReadHostCompatibility(xc_.get());
}

void XenProtectedHost::RecoverGuest(uint32_t domid, std::function<void(absl::Status)> done) {
  recoveries_[domid] = std::make_unique<HelperRecovery>(*loop_, options_.save_helper, domid, kRecoverySettle,
                                                        [this, domid, done = std::move(done)](absl::Status status) {
                                                          const auto ended = recoveries_.extract(domid);
                                                          done(status);
                                                        });
}

// Of lockstep. A guest is mute while they are there, whose protection has ended.
void XenProtectedHost::RemoveLeftoverTaps(const std::set<std::string>& living) {
  const absl::StatusOr<std::vector<GuestTap::Leftover>> leftovers = taps_.FindLeftovers(living);
  if (!leftovers.ok()) return LogError("can't look for left-over diversions: ", leftovers.status().message());
  for (const GuestTap::Leftover& leftover : *leftovers) {
    if (leftover.mode != VifMode::kDivert) continue;  // Of the secondary agent of this host.
    const absl::Status cleared = taps_.Clear(leftover);
    LogWarning("diversion of ", leftover.vif,
               ", of a protection that has ended: ", cleared.ok() ? "removed" : cleared.message());
  }
}

void XenProtectedHost::RemoveLeftovers(const std::set<std::string>& living) {
  const absl::StatusOr<std::vector<PlugKernel::Leftover>> leftovers = kernel_->FindLeftovers(living);
  if (!leftovers.ok()) return LogError("can't look for left-over egress buffers: ", leftovers.status().message());
  for (const PlugKernel::Leftover& leftover : *leftovers) {
    PlugEgressBuffer buffer(kernel_, {.protection = leftover.protection, .vifs = {leftover.vif}});
    const absl::Status removed = buffer.Detach();
    LogWarning("egress buffer ", leftover.device, " of ", leftover.protection,
               ", which has ended: ", removed.ok() ? "removed" : removed.message());
  }
  RemoveLeftoverTaps(living);
}

absl::Status XenProtectedHost::AddLockstepSeams(lockstep::LockstepEgressBuffer::Options egress,
                                                ProtectionDriver::Seams& seams) {
  const absl::StatusOr<AgentTaps::NewFrames> new_frames = taps_.Maker();
  if (!new_frames.ok()) return new_frames.status();
  seams.lockstep = std::make_unique<GuestLockstep>(loop_);
  auto traffic = std::make_shared<lockstep::TapGuestTraffic>(
      loop_, *new_frames,
      [lockstep = seams.lockstep.get()](std::vector<TrafficFrame> frames) { lockstep->OnInput(std::move(frames)); });
  egress.now = [loop = loop_] { return loop->Now(); };
  auto buffer =
      std::make_unique<lockstep::LockstepEgressBuffer>(std::move(traffic), seams.lockstep.get(), std::move(egress));
  seams.lockstep->SetBuffer(buffer.get());
  seams.egress = std::move(buffer);
  return absl::OkStatus();
}

absl::StatusOr<ProtectionDriver::Seams> XenProtectedHost::MakeSeams(const std::string& id,
                                                                    const control::v1::Protection& protection,
                                                                    const replication::v1::DomainDescription& domain) {
  PlugEgressBuffer::Options egress;
  egress.protection = ProtectionName(id);
  egress.vifs = BackendVifs(domain);
  const EgressPlan plan = PlanEgress(protection.settings(), domain, egress.vifs);
  egress.limits_bytes = plan.limits_bytes;
  LogInfo(protection.name(), ": egress buffers: ", plan.why);

  const auto next = std::make_shared<NextSession>();
  next->source.helper_program = options_.save_helper;
  next->source.domid = domain.domid();
  const bool lockstep = protection.settings().stream_mode() == replication::v1::COLO;
  next->source.lockstep = lockstep;
  next->source.suspend_timeout = FromProto(protection.settings().suspend_timeout());
  next->link.address = protection.secondary_address();
  next->link.bandwidth = bandwidth_.NewFlow();
  std::erase_if(next_sessions_, [](const auto& known) { return known.second.expired(); });
  next_sessions_[id] = next;
  ApplySettings(id, protection.settings());

  ProtectionDriver::Seams seams;
  seams.new_link = [loop = loop_, next] { return std::make_unique<GrpcPrimaryLink>(loop, next->link); };
  seams.new_source = [loop = loop_, next] { return std::make_unique<HelperCheckpointSource>(*loop, next->source); };
  seams.guest = std::make_unique<XenGuestControl>(xc_.get(), domain.domid());
  if (lockstep) {
    const absl::Status added = AddLockstepSeams(
        {.protection = egress.protection, .vifs = egress.vifs, .limits_bytes = egress.limits_bytes}, seams);
    if (!added.ok()) return added;
  } else {
    seams.egress = std::make_unique<PlugEgressBuffer>(kernel_, egress);
  }
  seams.pause_turns = &pause_turns_;
  seams.egress_watch.period = plan.sample_period;
  seams.egress_watch.high_water_percent = options_.egress_high_water_percent;
  seams.egress_watch.watches = egress_watches_;
  return seams;
}

void XenProtectedHost::ApplySettings(const std::string& id, const control::v1::ProtectionSettings& settings) {
  const auto known = next_sessions_.find(id);
  const std::shared_ptr<NextSession> next = known == next_sessions_.end() ? nullptr : known->second.lock();
  if (next == nullptr) return;
  next->link.bandwidth->SetLimit(settings.bandwidth_limit());
  next->link.encoding_pool = settings.encoding() == control::v1::RAW ? nullptr : encoding_pool_;
  // A record of an older agent does not have it.
  if (settings.page_cache_bytes() > 0) {
    next->link.page_cache_bytes_max = settings.page_cache_bytes();
    next->source.captured_pages_bytes_max = settings.page_cache_bytes();
  }
  next->source.staging_bytes_max = settings.staging_bytes_max();
}

}  // namespace romulus
