// A developer's tool: prints what the agent would tell a standby's host about a domain, and what this host is.

#include <stdio.h>

#include <string>

#include "common/base/log.h"
#include "common/xen/control.h"
#include "common/xen/host_compatibility.h"
#include "common/xen/xenstore.h"
#include "primary/domain/domain_description_reader.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    romulus::LogError("usage: ", argv[0], " NAME|UUID|ID");
    return 2;
  }
  const auto xc = romulus::OpenXenControl(nullptr);
  const auto store = romulus::Xenstore::Open();
  if (!xc.ok() || !store.ok()) {
    romulus::LogError(xc.ok() ? store.status().ToString() : xc.status().ToString());
    return 1;
  }
  const auto host = romulus::ReadHostCompatibility(xc->get());
  const auto domain = romulus::DomainDescriptionReader(xc->get(), store->get()).Read(argv[1]);
  printf("%s\n%s\n", (host.ok() ? host->DebugString() : host.status().ToString()).c_str(),
         (domain.ok() ? domain->DebugString() : domain.status().ToString()).c_str());
  return domain.ok() && host.ok() ? 0 : 1;
}
