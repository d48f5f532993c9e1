#ifndef ROMULUS_PRIMARY_DOMAIN_DOMAIN_FINDER_H_
#define ROMULUS_PRIMARY_DOMAIN_DOMAIN_FINDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace romulus {

struct DomainIdentity {
  uint32_t domid = 0;
  std::string uuid;  // "243470ff-cf59-4d88-acac-928715852862"
  std::string name;  // Empty: none in xenstore.
};

// Which of `domains` is meant by `wanted`: all digits are a domain id (as for xl), then uuid (any case), then name.
// INVALID_ARGUMENT: nothing was named, or domain 0. NOT_FOUND, with the names there are.
absl::StatusOr<DomainIdentity> FindDomain(const std::string& wanted, const std::vector<DomainIdentity>& domains);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_DOMAIN_DOMAIN_FINDER_H_
