#ifndef ROMULUS_NETBUF_XENSTORE_IFB_CLAIMS_H_
#define ROMULUS_NETBUF_XENSTORE_IFB_CLAIMS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/xen/xenstore.h"
#include "netbuf/hotplug_lock.h"
#include "netbuf/ifb_claims.h"

namespace romulus {

// The record where libxl keeps it and Xen's remus-netbuf-setup looks before it takes an ifb, under that script's lock:
//   /libxl/<domid>/remus/netbuf/<devid>/ifb       the device's name
//   /libxl/<domid>/remus/netbuf/<devid>/romulus   the protection, and
//   /libxl/<domid>/remus/netbuf/<devid>/vif       the vif's name: Romulus' own additions, by which a successor of a
//   dead
//                                                 agent knows its claims from others', and what they were for
// For an HVM guest's emulated card <devid> is "<devid>-emu": the script goes by what is listed there, whatever its
// name. libxl removes all of it with the domain.
class XenstoreIfbClaims final : public IfbClaims {
 public:
  struct Options {
    std::string lock_directory = HotplugLock::kDirectory;
    // The script holds the lock while it forks some dozens of times. Nothing else of the calling thread goes on
    // meanwhile: a checkpoint of another guest may wait, suspended, and its save helper gives up after 5 s.
    absl::Duration lock_timeout = absl::Seconds(3);
  };

  // `store` outlives it.
  explicit XenstoreIfbClaims(Xenstore* store) : XenstoreIfbClaims(store, Options()) {}
  XenstoreIfbClaims(Xenstore* store, Options options) : store_(store), options_(std::move(options)) {}

  absl::StatusOr<std::unique_ptr<Turn>> TakeTurn() override;
  absl::StatusOr<std::vector<IfbClaim>> List() override;
  absl::Status Record(const IfbClaim& claim) override;
  absl::Status Erase(const Vif& vif, const std::string& protection) override;

 private:
  Xenstore* const store_;
  const Options options_;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_XENSTORE_IFB_CLAIMS_H_
