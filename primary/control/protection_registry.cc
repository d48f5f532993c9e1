#include "primary/control/protection_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/control/durations.h"
#include "common/control/generation_check.h"
#include "common/control/resource_name.h"
#include "common/control/uuid.h"
#include "primary/control/protection_spec.h"
#include "primary/control/protection_status.h"

namespace romulus {
namespace {

constexpr char kCollection[] = "protections";

constexpr char kEpochTraceHeader[] =
    "epoch pause_us suspend_us copy_us resume_us commit_us output_delay_us dirty_pages bytes wire_bytes ran_us "
    "acknowledge_us suspended_us dirty_bitmap_us page_copy_us vcpu_state_us permit_wait_us resumed_us finish_resume_us "
    "turn_wait_us unchanged_pages standby_wait_us";

std::string FormatParts(const CheckpointSource::PauseParts& parts) {
  std::string line;
  for (absl::Duration part : {parts.acknowledge, parts.suspend, parts.dirty_bitmap, parts.page_copy, parts.vcpu_state,
                              parts.permit_wait, parts.resume, parts.finish_resume}) {
    absl::StrAppend(&line, " ", absl::ToInt64Microseconds(part));
  }
  return line;
}

std::string FormatEpochTrace(const EpochTrace& trace) {
  using absl::ToInt64Microseconds;
  return absl::StrCat(trace.epoch, " ", ToInt64Microseconds(trace.pause), " ",
                      ToInt64Microseconds(trace.parts.to_suspended()), " ", ToInt64Microseconds(trace.copy), " ",
                      ToInt64Microseconds(trace.parts.resume), " ", ToInt64Microseconds(trace.commit), " ",
                      ToInt64Microseconds(trace.output_delay), " ", trace.dirty_pages, " ", trace.bytes, " ",
                      trace.wire_bytes, " ", ToInt64Microseconds(trace.ran), FormatParts(trace.parts), " ",
                      ToInt64Microseconds(trace.turn_wait), " ", trace.unchanged_pages, " ",
                      ToInt64Microseconds(trace.parts.standby_wait));
}

std::string DescribeCheckpoints(const ProtectionDriver::Status& status) {
  return absl::StrCat(status.checkpoints_committed, " checkpoints committed");
}

}  // namespace

struct ProtectionRegistry::Entry final : ProtectionDriver::Observer {
  Entry(std::string id, Protection spec, ChangeSignal* changes, EpochFeed* epochs, std::ostream* epoch_trace)
      : id(std::move(id)), spec(std::move(spec)), changes(changes), epochs(epochs), epoch_trace(epoch_trace) {}

  void OnChanged(bool phase_changed) override {
    if (!phase_changed) return;
    const protection::Protection::Snapshot& core = driver->core().snapshot();
    LogInfo(spec.name(), ": ", control::v1::ProtectionPhase_Name(ToProto(core.phase)), ", epoch ", core.epoch,
            ", committed ", core.committed_epoch, core.last_error.ok() ? "" : ": ", core.last_error.message());
    changes->Notify();
  }
  void OnOutputDropped(const EgressBuffer::VifStatistics& vif, uint64_t packets) override {
    const bool holding = driver->phase() == protection::Protection::Phase::kHolding;
    LogWarning(spec.name(), ": the egress buffer of ", vif.vif, " (", vif.limit_bytes, " bytes) was full: ", packets,
               " packets of the guest dropped, ", vif.dropped_packets, " in all. ",
               holding ? "Its output is held since the secondary was lost: bring that back, or, if this host owns the "
                         "guest, update the protection to RUN_UNPROTECTED"
                       : "Create the protection with a larger settings.egress_buffer_bytes or a shorter interval, or "
                         "limit the vif's rate");
  }
  void OnCheckpoint(const EpochTrace& trace) override {
    if (epoch_trace != nullptr) *epoch_trace << id << ' ' << FormatEpochTrace(trace) << std::endl;
    if (!epochs->watched()) return;
    control::v1::EpochTrace epoch = ToProto(trace);
    epoch.set_protection(spec.name());
    *epoch.mutable_release_time() = ToProto(absl::Now());
    epochs->Publish(std::move(epoch));
  }

  const std::string id;
  Protection spec;  // As asked for, with defaults; no status.
  ChangeSignal* const changes;
  EpochFeed* const epochs;
  std::ostream* const epoch_trace;
  replication::v1::DomainDescription domain;
  std::unique_ptr<ProtectionDriver> driver;
  // A recovered one begins when its guest has been seen to.
  bool started = false;
};

ProtectionRegistry::ProtectionRegistry(Scheduler* scheduler, GenerationStore* store, ProtectedHost* host,
                                       std::ostream* epoch_trace)
    : scheduler_(scheduler), store_(store), host_(host), epoch_trace_(epoch_trace) {
  if (epoch_trace_ != nullptr) *epoch_trace_ << "protection " << kEpochTraceHeader << std::endl;
}

ProtectionRegistry::~ProtectionRegistry() = default;

absl::StatusOr<ProtectionRegistry::Entry*> ProtectionRegistry::MakeEntry(
    const std::string& id, Protection spec, const replication::v1::DomainDescription& domain) {
  absl::StatusOr<replication::v1::HostCompatibility> compatibility = host_->Compatibility();
  if (!compatibility.ok()) return compatibility.status();
  absl::StatusOr<ProtectionDriver::Seams> seams = host_->MakeSeams(id, spec, domain);
  if (!seams.ok()) return seams.status();
  seams->scheduler = scheduler_;
  seams->store = store_;

  replication::v1::OpenSession open_session;
  open_session.set_protection(spec.name());
  open_session.set_stream_mode(spec.settings().stream_mode());
  *open_session.mutable_domain() = domain;
  *open_session.mutable_primary_host() = *std::move(compatibility);
  open_session.set_heartbeat_interval_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(FromProto(spec.settings().heartbeat_interval()))));

  auto entry = std::make_shared<Entry>(id, std::move(spec), &changes_, &epochs_, epoch_trace_);
  entry->domain = domain;
  entry->driver = std::make_unique<ProtectionDriver>(entry->spec.name(), ToConfig(entry->spec.settings()), open_session,
                                                     entry->spec.SerializeAsString(), *std::move(seams), entry.get());
  Entry* const made = entry.get();
  entries_[id] = std::move(entry);
  return made;
}

bool ProtectionRegistry::Recover(const std::string& name) {
  const absl::StatusOr<std::string> id = ParseResourceName(name, kCollection);
  const absl::StatusOr<GenerationStore::Record> record = store_->Read(name);
  if (!id.ok() || !record.ok()) {
    LogError(name, ": its record is unusable, its guest is left alone: ",
             id.ok() ? record.status().message() : id.status().message());
    // Nothing may be assumed: what is held stays held.
    return true;
  }
  if (record->detail.empty()) return false;
  Protection spec;
  if (!spec.ParseFromString(record->detail) || spec.name() != name) {
    LogError(name, ": what was asked for can't be read from its record, its guest is left alone");
    return true;
  }
  const absl::StatusOr<replication::v1::DomainDescription> domain = host_->Describe(spec.status().domain_uuid());
  if (absl::IsNotFound(domain.status())) {
    LogWarning(name, ": its guest is not on this host any more: ", domain.status().message());
    const absl::Status ended = store_->Write(name, {record->generation, record->ownership_moved, ""});
    if (!ended.ok()) LogError(name, ": ", ended.message());
    return false;
  }
  const absl::StatusOr<Entry*> entry = domain.ok() ? MakeEntry(*id, spec, *domain) : domain.status();
  if (!entry.ok()) {
    LogError(name, ": not recovered, its output stays held: ", entry.status().message());
    return true;
  }
  LogInfo(name, ": found in the store, going on");
  (*entry)->spec.set_generation(record->generation);
  changes_.Notify();
  host_->RecoverGuest(domain->domid(), [this, id = *id, name, generation = record->generation](absl::Status status) {
    if (!status.ok()) LogError(name, ": ", status.message());
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    found->second->started = true;
    found->second->driver->Start(generation, /*recovered=*/true, [name](absl::Status started) {
      if (!started.ok()) LogError(name, ": ", started.message());
    });
  });
  return true;
}

void ProtectionRegistry::Create(const control::v1::CreateProtectionRequest& request, Answer answer) {
  Protection spec = request.protection();
  if (absl::Status status = CompleteAndCheck(spec); !status.ok()) return answer(status);
  if (!request.protection_id().empty()) {
    if (absl::Status status = CheckResourceId(request.protection_id()); !status.ok()) return answer(status);
  }
  const absl::StatusOr<replication::v1::DomainDescription> domain = host_->Describe(spec.domain());
  if (!domain.ok()) return answer(domain.status());
  const std::string id = request.protection_id().empty() ? MakeResourceId(domain->name()) : request.protection_id();
  spec.set_name(absl::StrCat(kCollection, "/", id));
  if (entries_.count(id) != 0) {
    return answer(
        absl::AlreadyExistsError(absl::StrCat(spec.name(), " exists: delete it first, or choose another id")));
  }
  for (const auto& [other_id, other] : entries_) {
    if (other->domain.uuid() != domain->uuid()) continue;
    return answer(absl::AlreadyExistsError(
        absl::StrCat("domain ", domain->name(), " is protected already, by ", other->spec.name())));
  }
  *spec.mutable_create_time() = ToProto(absl::Now());
  // The identity by which a restarted agent finds the guest again, whatever its name or id are by then.
  spec.mutable_status()->set_domain_uuid(FormatUuid(domain->uuid()));
  if (request.validate_only()) return answer(spec);

  const absl::StatusOr<Entry*> made = MakeEntry(id, spec, *domain);
  if (!made.ok()) return answer(made.status());
  Entry* const entry = *made;
  LogInfo(spec.name(), ": protecting domain ", domain->name(), " (id ", domain->domid(), ") with ",
          spec.secondary_address(), ", generation ", spec.generation());
  changes_.Notify();
  entry->started = true;
  entry->driver->Start(spec.generation(), /*recovered=*/false, [this, id, answer](absl::Status status) {
    const auto found = entries_.find(id);
    if (status.ok() && found != entries_.end()) return answer(Describe(*found->second));
    if (status.ok()) return answer(absl::AbortedError("deleted while it was being created"));
    LogWarning(kCollection, "/", id, ": not protected: ", status.message());
    // A driver may not go from within its own callback.
    scheduler_->Post([this, id, answer, status] {
      Forget(id);
      answer(status);
    });
  });
}

absl::StatusOr<ProtectionRegistry::Entry*> ProtectionRegistry::Find(const std::string& name) const {
  const absl::StatusOr<std::string> id = ParseResourceName(name, kCollection);
  if (!id.ok()) return id.status();
  const auto found = entries_.find(*id);
  if (found != entries_.end()) return found->second.get();
  return absl::NotFoundError(
      absl::StrCat(name, " does not exist here; ListProtections has the ", entries_.size(), " that do"));
}

absl::StatusOr<ProtectionRegistry::Entry*> ProtectionRegistry::FindStarted(const std::string& name) const {
  absl::StatusOr<Entry*> entry = Find(name);
  if (!entry.ok() || (*entry)->started) return entry;
  return absl::UnavailableError(absl::StrCat(name, " is being recovered after a restart: try again in a moment"));
}

control::v1::Protection ProtectionRegistry::Describe(const Entry& entry) const {
  Protection protection = entry.spec;
  const ProtectionDriver::Status status = entry.driver->status();
  // Until a recovered one is started, the one on record stands.
  if (entry.started) protection.set_generation(status.core.generation);
  *protection.mutable_status() = ToProto(status, absl::Now());
  protection.mutable_status()->set_domid(entry.domain.domid());
  protection.mutable_status()->set_domain_name(entry.domain.name());
  protection.mutable_status()->set_domain_uuid(FormatUuid(entry.domain.uuid()));
  return protection;
}

absl::StatusOr<control::v1::Protection> ProtectionRegistry::Get(const std::string& name) const {
  const absl::StatusOr<Entry*> entry = Find(name);
  if (!entry.ok()) return entry.status();
  return Describe(**entry);
}

std::vector<control::v1::Protection> ProtectionRegistry::List() const {
  std::vector<Protection> protections;
  for (const auto& [id, entry] : entries_) protections.push_back(Describe(*entry));
  return protections;
}

void ProtectionRegistry::Update(const control::v1::UpdateProtectionRequest& request, Answer answer) {
  const absl::StatusOr<Entry*> entry = FindStarted(request.protection().name());
  if (!entry.ok()) return answer(entry.status());
  Protection changed = (*entry)->spec;
  changed.set_generation((*entry)->driver->core().snapshot().generation);
  if (absl::Status status = ApplyUpdate(request, changed); !status.ok()) return answer(status);
  const protection::Config config = ToConfig(changed.settings());
  ProtectionDriver::Update update;
  update.generation = changed.generation();
  update.pacing = config.pacing;
  update.loss_policy = config.loss_policy;
  update.record_detail = changed.SerializeAsString();
  (*entry)->driver->UpdateSettings(update, [this, changed, answer](absl::Status status) {
    const absl::StatusOr<Entry*> still = Find(changed.name());
    if (!status.ok()) return answer(status);
    if (!still.ok()) return answer(still.status());
    *(*still)->spec.mutable_settings() = changed.settings();
    host_->ApplySettings((*still)->id, changed.settings());
    changes_.Notify();
    answer(Describe(**still));
  });
}

void ProtectionRegistry::Delete(const control::v1::DeleteProtectionRequest& request, Done done) {
  const absl::StatusOr<Entry*> entry = FindStarted(request.name());
  if (!entry.ok()) {
    const bool missing = absl::IsNotFound(entry.status());
    return done(missing && request.allow_missing() ? absl::OkStatus() : entry.status());
  }
  const uint64_t known = (*entry)->driver->core().snapshot().generation;
  if (absl::Status status = CheckGeneration(request.generation(), known); !status.ok()) return done(status);
  const std::string id = (*entry)->id;
  (*entry)->driver->Delete(
      request.generation(), request.unprotect_without_secondary(), [this, id, done](absl::Status status) {
        if (!status.ok()) return done(status);
        scheduler_->Post([this, id, done] {
          const auto found = entries_.find(id);
          if (found != entries_.end()) {
            LogInfo(found->second->spec.name(), ": deleted, ", DescribeCheckpoints(found->second->driver->status()));
          }
          Forget(id);
          done(absl::OkStatus());
        });
      });
}

void ProtectionRegistry::Fence(const control::v1::FenceProtectionRequest& request, Answer answer) {
  const absl::StatusOr<Entry*> entry = FindStarted(request.name());
  if (!entry.ok()) return answer(entry.status());
  if (request.generation() == 0) {
    return answer(absl::InvalidArgumentError(
        "generation: name the one in which the other host runs the guest, higher than the protection's"));
  }
  const std::string name = request.name();
  (*entry)->driver->Fence(request.generation(), [this, name, answer](absl::Status status) {
    if (!status.ok()) return answer(status);
    answer(Get(name));
  });
}

void ProtectionRegistry::Shutdown(std::function<void()> done) {
  std::vector<std::shared_ptr<Entry>> started;
  for (const auto& [id, entry] : entries_) {
    if (entry->started) started.push_back(entry);
  }
  auto waiting = std::make_shared<size_t>(started.size());
  if (*waiting == 0) return done();
  for (const std::shared_ptr<Entry>& entry : started) {
    const std::string name = entry->spec.name();
    const uint64_t generation = entry->driver->core().snapshot().generation;
    // With RUN_UNPROTECTED the guest's output may flow without the secondary's word: so may it when the agent ends.
    const bool run_unprotected = EffectiveLossPolicy(entry->spec.settings()) == control::v1::RUN_UNPROTECTED;
    entry->driver->Delete(generation, run_unprotected, [this, name, waiting, done](absl::Status status) {
      if (!status.ok()) LogWarning(name, ": left as it is for the next start: ", status.message());
      if (--*waiting == 0) scheduler_->Post(done);
    });
  }
}

absl::StatusOr<std::shared_ptr<EpochFeed::Reader>> ProtectionRegistry::WatchEpochs(const std::string& name) {
  if (name.empty()) return epochs_.Subscribe("");
  const absl::StatusOr<Entry*> entry = Find(name);
  if (!entry.ok()) return entry.status();
  return epochs_.Subscribe(name);
}

void ProtectionRegistry::Forget(const std::string& id) {
  entries_.erase(id);
  epochs_.End(absl::StrCat(kCollection, "/", id));
  changes_.Notify();
}

}  // namespace romulus
