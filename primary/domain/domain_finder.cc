#include "primary/domain/domain_finder.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace romulus {
namespace {

// A message names no more than these.
constexpr size_t kMostNames = 12;

bool IsMeant(const std::string& wanted, const DomainIdentity& domain) {
  uint32_t id = 0;
  if (wanted.find_first_not_of("0123456789") == std::string::npos) {
    return absl::SimpleAtoi(wanted, &id) && id == domain.domid;
  }
  return absl::EqualsIgnoreCase(wanted, domain.uuid) || wanted == domain.name;
}

}  // namespace

absl::StatusOr<DomainIdentity> FindDomain(const std::string& wanted, const std::vector<DomainIdentity>& domains) {
  if (wanted.empty()) return absl::InvalidArgumentError("no domain was named: give its name, uuid or id");
  std::vector<std::string> names;
  for (const DomainIdentity& domain : domains) {
    if (IsMeant(wanted, domain)) {
      if (domain.domid != 0) return domain;
      return absl::InvalidArgumentError("domain 0 is the host itself and can't be protected");
    }
    if (domain.domid != 0) names.push_back(absl::StrCat(domain.name, " (id ", domain.domid, ")"));
  }
  const size_t more = names.size() > kMostNames ? names.size() - kMostNames : 0;
  names.resize(names.size() - more);
  return absl::NotFoundError(absl::StrCat(
      "there is no running domain '", wanted, "' on this host",
      names.empty() ? "; no guest is running at all" : absl::StrCat("; running are ", absl::StrJoin(names, ", ")),
      more == 0 ? "" : absl::StrCat(" and ", more, " more")));
}

}  // namespace romulus
