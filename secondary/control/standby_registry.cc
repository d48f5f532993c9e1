#include "secondary/control/standby_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/control/resource_name.h"
#include "secondary/control/standby_status.h"

namespace romulus {
namespace {

constexpr char kCollection[] = "standbys";
constexpr char kProtections[] = "protections";
// A host can't hold more guests than this; a peer that invents protections is stopped here.
constexpr size_t kStandbysMax = 256;

}  // namespace

struct StandbyRegistry::Entry final : StandbyDriver::Observer {
  Entry(std::string name, ChangeSignal* changes) : name(std::move(name)), changes(changes) {}

  void OnChanged(bool phase_changed) override {
    if (!phase_changed || driver == nullptr) return;
    const standby::Standby::Snapshot& core = driver->core().snapshot();
    const control::v1::StandbyPhase phase = ToProto(core.phase);
    LogInfo(name, ": ",
            phase == control::v1::STANDBY_PHASE_UNSPECIFIED ? "gone" : control::v1::StandbyPhase_Name(phase),
            ", committed ", core.committed_epoch, core.last_error.ok() ? "" : ": ", core.last_error.message());
    changes->Notify();
  }

  const std::string name;
  ChangeSignal* const changes;
  std::unique_ptr<StandbyDriver> driver;
};

// A link that is only waiting to be closed.
class StandbyRegistry::RefusedLink final : public SecondaryLink::Observer {
 public:
  RefusedLink(StandbyRegistry* registry, std::unique_ptr<SecondaryLink> link)
      : registry_(registry), link_(std::move(link)) {}

  void Refuse(const absl::Status& why) {
    link_->Start(this);
    link_->Close(why);
  }
  void OnMessage(const replication::v1::PrimaryMessage&) override {}
  void OnSeeded(std::string, replication::v1::AfterCheckpoint) override {}
  void OnCheckpoint(uint64_t, CheckpointBytes, replication::v1::AfterCheckpoint) override {}
  void OnClosed(absl::Status) override {
    // Not from within the link's own callback.
    auto self = registry_->refused_.extract(this);
    registry_->seams_.scheduler->Post([keep = std::move(self.mapped())] {});
  }

 private:
  StandbyRegistry* const registry_;
  const std::unique_ptr<SecondaryLink> link_;
};

StandbyRegistry::StandbyRegistry(StandbyDriver::Seams seams, CheckSession check_session)
    : seams_(std::move(seams)), check_session_(std::move(check_session)) {}

StandbyRegistry::~StandbyRegistry() = default;

void StandbyRegistry::Recover(const std::string& protection) {
  const absl::StatusOr<std::string> id = ParseResourceName(protection, kProtections);
  if (!id.ok()) return LogWarning("ignoring the record of ", protection, ": ", id.status().message());
  if (absl::Status status = FindOrMake(*id).status(); !status.ok()) {
    LogError(protection, ": not recovered: ", status.message());
  }
}

absl::StatusOr<StandbyRegistry::Entry*> StandbyRegistry::FindOrMake(const std::string& id) {
  if (const auto found = entries_.find(id); found != entries_.end()) return found->second.get();
  if (entries_.size() >= kStandbysMax) {
    // Those of which nothing is left make room.
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const bool gone = entry->second->driver->phase() == standby::Standby::Phase::kNone;
      entry = gone ? entries_.erase(entry) : std::next(entry);
    }
  }
  if (entries_.size() >= kStandbysMax) {
    return absl::ResourceExhaustedError(absl::StrCat("this host keeps ", kStandbysMax, " standbys already"));
  }
  auto entry = std::make_shared<Entry>(absl::StrCat(kCollection, "/", id), &changes_);
  entry->driver = std::make_unique<StandbyDriver>(absl::StrCat(kProtections, "/", id), seams_, entry.get());
  Entry* const made = entry.get();
  entries_[id] = std::move(entry);
  return made;
}

void StandbyRegistry::OnSession(const replication::v1::PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) {
  const absl::StatusOr<std::string> id = ParseResourceName(open.open_session().protection(), kProtections);
  if (!id.ok()) return Refuse(std::move(link), id.status());
  const absl::StatusOr<Entry*> entry = FindOrMake(*id);
  if (!entry.ok()) return Refuse(std::move(link), entry.status());
  (*entry)->driver->OfferSession(open, check_session_(open.open_session()), std::move(link));
}

void StandbyRegistry::Refuse(std::unique_ptr<SecondaryLink> link, const absl::Status& why) {
  LogWarning("a session was refused: ", why.message());
  auto refused = std::make_shared<RefusedLink>(this, std::move(link));
  refused_[refused.get()] = refused;
  refused->Refuse(why);
}

absl::StatusOr<StandbyRegistry::Entry*> StandbyRegistry::Find(const std::string& name) const {
  const absl::StatusOr<std::string> id = ParseResourceName(name, kCollection);
  if (!id.ok()) return id.status();
  const auto found = entries_.find(*id);
  if (found != entries_.end() && found->second->driver->phase() != standby::Standby::Phase::kNone) {
    return found->second.get();
  }
  return absl::NotFoundError(absl::StrCat(name, " does not exist here; ListStandbys has those that do"));
}

absl::StatusOr<control::v1::Standby> StandbyRegistry::Get(const std::string& name) const {
  const absl::StatusOr<Entry*> entry = Find(name);
  if (!entry.ok()) return entry.status();
  return ToProto(name, (*entry)->driver->status(), absl::Now());
}

std::vector<control::v1::Standby> StandbyRegistry::List() const {
  std::vector<Standby> standbys;
  for (const auto& [id, entry] : entries_) {
    if (entry->driver->phase() == standby::Standby::Phase::kNone) continue;
    standbys.push_back(ToProto(entry->name, entry->driver->status(), absl::Now()));
  }
  return standbys;
}

void StandbyRegistry::Activate(const control::v1::ActivateStandbyRequest& request, Answer answer) {
  const absl::StatusOr<Entry*> entry = Find(request.name());
  if (!entry.ok()) return answer(entry.status());
  if (request.generation() == 0) {
    return answer(
        absl::InvalidArgumentError(absl::StrCat("generation: name this activation's; the highest known here is ",
                                                (*entry)->driver->core().snapshot().generation)));
  }
  const std::string name = request.name();
  LogInfo(name, ": asked to activate in generation ", request.generation(),
          request.primary_fenced() ? ", the caller has fenced the primary" : "");
  (*entry)->driver->Activate(request.generation(), request.primary_fenced(), [this, name, answer](absl::Status status) {
    if (!status.ok()) {
      LogWarning(name, ": not activated: ", status.message());
      return answer(status);
    }
    answer(Get(name));
  });
}

void StandbyRegistry::Delete(const control::v1::DeleteStandbyRequest& request, Done done) {
  const absl::StatusOr<Entry*> entry = Find(request.name());
  if (!entry.ok()) {
    const bool missing = absl::IsNotFound(entry.status());
    return done(missing && request.allow_missing() ? absl::OkStatus() : entry.status());
  }
  (*entry)->driver->Delete(request.generation(), std::move(done));
}

void StandbyRegistry::Shutdown(std::function<void()> done) {
  auto waiting = std::make_shared<size_t>(entries_.size());
  if (*waiting == 0) return done();
  for (const auto& [id, entry] : entries_) {
    const std::string name = entry->name;
    entry->driver->Shutdown([this, name, waiting, done](absl::Status status) {
      if (!status.ok()) LogWarning(name, ": not ended cleanly: ", status.message());
      if (--*waiting == 0) seams_.scheduler->Post(done);
    });
  }
}

}  // namespace romulus
