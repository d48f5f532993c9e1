#ifndef ROMULUS_SECONDARY_TARGET_ADMISSION_H_
#define ROMULUS_SECONDARY_TARGET_ADMISSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "proto/replication/v1/domain.pb.h"

namespace romulus {

// Whether this host can take a standby for `description`. INVALID_ARGUMENT, FAILED_PRECONDITION, RESOURCE_EXHAUSTED as
// StandbyDomain::Create. Changes nothing.
absl::Status AdmitStandby(xc_interface* xc, Xenstore& store, const replication::v1::DomainDescription& description);

// The part of it that needs no hypervisor.
absl::Status ValidateDescription(const replication::v1::DomainDescription& description);

// What the hypervisor needs beside the guest's memory for its page tables; libxl__get_required_paging_memory (4.17),
// rounded up to a MiB.
uint64_t PagingPoolKib(const replication::v1::DomainDescription& description);

// RESOURCE_EXHAUSTED, with what is needed, what is free and what to do.
absl::Status NotEnoughMemory(xc_interface* xc, const replication::v1::DomainDescription& description);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_TARGET_ADMISSION_H_
