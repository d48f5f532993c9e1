#ifndef ROMULUS_SECONDARY_CONTROL_STANDBY_REGISTRY_H_
#define ROMULUS_SECONDARY_CONTROL_STANDBY_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/control/change_signal.h"
#include "common/link/session_acceptor.h"
#include "proto/control/v1/standby_service.pb.h"
#include "secondary/standby/standby_driver.h"

namespace romulus {

// The standbys of this host by name, the sessions that feed them, and the requests on them. Everything on the
// scheduler's thread; the callbacks too. Errors as standby_service.proto states them.
class StandbyRegistry final : public SessionAcceptor {
 public:
  using Standby = control::v1::Standby;
  using Answer = std::function<void(absl::StatusOr<Standby>)>;
  using Done = std::function<void(absl::Status)>;
  // Whether this host could run the guest of a session.
  using CheckSession = std::function<absl::Status(const replication::v1::OpenSession&)>;

  // `seams` is used for every standby; what it points to outlives the registry.
  StandbyRegistry(StandbyDriver::Seams seams, CheckSession check_session);
  ~StandbyRegistry() override;

  // A protection that the store knows: shows an activated standby again, and keeps its generation.
  void Recover(const std::string& protection);

  void OnSession(const replication::v1::PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) override;

  absl::StatusOr<Standby> Get(const std::string& name) const;
  // By name.
  std::vector<Standby> List() const;
  void Activate(const control::v1::ActivateStandbyRequest& request, Answer answer);
  void Delete(const control::v1::DeleteStandbyRequest& request, Done done);

  // Before the agent ends: every standby is given up and its primary told so; activated guests run on.
  void Shutdown(std::function<void()> done);

  // Fires on everything that a watcher should see at once.
  const ChangeSignal& changes() const { return changes_; }

 private:
  struct Entry;
  class RefusedLink;
  absl::StatusOr<Entry*> Find(const std::string& name) const;
  absl::StatusOr<Entry*> FindOrMake(const std::string& id);
  void Refuse(std::unique_ptr<SecondaryLink> link, const absl::Status& why);

  const StandbyDriver::Seams seams_;
  const CheckSession check_session_;
  ChangeSignal changes_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::map<RefusedLink*, std::shared_ptr<RefusedLink>> refused_;
};

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_CONTROL_STANDBY_REGISTRY_H_
