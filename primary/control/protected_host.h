#ifndef ROMULUS_PRIMARY_CONTROL_PROTECTED_HOST_H_
#define ROMULUS_PRIMARY_CONTROL_PROTECTED_HOST_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "primary/protection/protection_driver.h"
#include "proto/control/v1/protection_service.pb.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// The host as ProtectionRegistry sees it: its guests, and what protecting one of them takes. main.cc has the real one.
// On the loop's thread.
class ProtectedHost {
 public:
  virtual ~ProtectedHost() = default;

  // The running guest of this name, uuid or domain id. NOT_FOUND, or FAILED_PRECONDITION with what is in the way.
  virtual absl::StatusOr<replication::v1::DomainDescription> Describe(const std::string& domain) = 0;

  virtual absl::StatusOr<replication::v1::HostCompatibility> Compatibility() = 0;

  // Gets a guest running again whose protection was cut off by the death of an agent; harmless for any other. Calls
  // `done` later. An error: it may still be suspended, and the message says what to do.
  virtual void RecoverGuest(uint32_t domid, std::function<void(absl::Status)> done) = 0;

  // Removes what dead agents have left of protections that are not in `living` ("protections/<id>"). Logs what it
  // removed and what it could not.
  virtual void RemoveLeftovers(const std::set<std::string>& living) = 0;

  // `id`: of the protection. Everything but scheduler and store, which are the registry's.
  virtual absl::StatusOr<ProtectionDriver::Seams> MakeSeams(const std::string& id,
                                                            const control::v1::Protection& protection,
                                                            const replication::v1::DomainDescription& domain) = 0;

  // The settings of a protection whose seams were made have been changed, on record: what of them concerns what is
  // behind the seams takes effect: at once (bandwidth_limit), or with the next session
  // (encoding, page_cache_bytes, staging_bytes_max).
  virtual void ApplySettings(const std::string& id, const control::v1::ProtectionSettings& settings) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CONTROL_PROTECTED_HOST_H_
