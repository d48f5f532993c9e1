#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTION_REGISTRY_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTION_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/control/change_signal.h"
#include "common/loop/scheduler.h"
#include "common/ownership/generation_store.h"
#include "primary/control/epoch_feed.h"
#include "primary/control/protected_host.h"
#include "primary/protection/protection_driver.h"
#include "proto/control/v1/protection_service.pb.h"

namespace romulus {

// The protections of this host by name, and the requests on them. Everything on the scheduler's thread; the callbacks
// too. Errors as protection_service.proto states them.
class ProtectionRegistry {
 public:
  using Protection = control::v1::Protection;
  using Answer = std::function<void(absl::StatusOr<Protection>)>;
  using Done = std::function<void(absl::Status)>;

  // All of them outlive the registry. `epoch_trace` gets a header and one line per committed
  // checkpoint, in columns; null: none.
  ProtectionRegistry(Scheduler* scheduler, GenerationStore* store, ProtectedHost* host,
                     std::ostream* epoch_trace = nullptr);
  ~ProtectionRegistry();

  // Goes on with a protection that a dead predecessor has left in the store ("protections/<id>"). False if there is
  // nothing to go on with: it had ended, or its guest is not on this host any more.
  bool Recover(const std::string& name);

  void Create(const control::v1::CreateProtectionRequest& request, Answer answer);
  absl::StatusOr<Protection> Get(const std::string& name) const;
  // By name.
  std::vector<Protection> List() const;
  void Update(const control::v1::UpdateProtectionRequest& request, Answer answer);
  void Delete(const control::v1::DeleteProtectionRequest& request, Done done);
  void Fence(const control::v1::FenceProtectionRequest& request, Answer answer);

  // Before the agent ends: ends every protection whose secondary answers. Those that can't be ended safely stay as they
  // are, for the next start to recover. `done` when nothing more can be done.
  void Shutdown(std::function<void()> done);

  // Every epoch that is released from now on; of the protection of this name, or of all if it is empty.
  absl::StatusOr<std::shared_ptr<EpochFeed::Reader>> WatchEpochs(const std::string& name);

  // Fires on everything that a watcher should see at once.
  const ChangeSignal& changes() const { return changes_; }

 private:
  struct Entry;
  absl::StatusOr<Entry*> Find(const std::string& name) const;
  absl::StatusOr<Entry*> FindStarted(const std::string& name) const;
  absl::StatusOr<Entry*> MakeEntry(const std::string& id, Protection spec,
                                   const replication::v1::DomainDescription& domain);
  Protection Describe(const Entry& entry) const;
  void Forget(const std::string& id);

  Scheduler* const scheduler_;
  GenerationStore* const store_;
  ProtectedHost* const host_;
  std::ostream* const epoch_trace_;
  ChangeSignal changes_;
  EpochFeed epochs_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTION_REGISTRY_H_
