#include "primary/save_helper/xen_guest_image.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/attachments/event_ports.h"
#include "common/attachments/frontend_nodes.h"
#include "common/attachments/suspend_port.h"
#include "common/xen/control.h"
#include "primary/save_helper/populated_frames.h"

extern "C" {
#include <xen/hvm/params.h>
#include <xenguest.h>
}

namespace romulus {
namespace {

// Pages in one mapping call: few calls, and no arrays that grow with the guest.
constexpr size_t kMappedAtOnce = 8192;
// How often the guest may change its memory map while it is being mapped.
constexpr int kMapAttempts = 5;

// Those that libxc's save writes, in its order. The guest itself can change the ones that are marked.
struct SavedParam {
  uint32_t index;
  bool guest_may_change;
};
constexpr SavedParam kSavedParams[] = {
    {HVM_PARAM_STORE_PFN, false},
    {HVM_PARAM_IOREQ_PFN, false},
    {HVM_PARAM_BUFIOREQ_PFN, false},
    {HVM_PARAM_PAGING_RING_PFN, false},
    {HVM_PARAM_MONITOR_RING_PFN, false},
    {HVM_PARAM_SHARING_RING_PFN, false},
    {HVM_PARAM_VM86_TSS_SIZED, true},
    {HVM_PARAM_CONSOLE_PFN, false},
    {HVM_PARAM_ACPI_IOPORTS_LOCATION, true},
    {HVM_PARAM_VIRIDIAN, false},
    {HVM_PARAM_IDENT_PT, false},
    {HVM_PARAM_VM_GENERATION_ID_ADDR, true},
    {HVM_PARAM_IOREQ_SERVER_PFN, false},
    {HVM_PARAM_NR_IOREQ_SERVER_PAGES, false},
    {HVM_PARAM_X87_FIP_WIDTH, true},
    {HVM_PARAM_MCA_CAP, false},
};

struct PolicyDeleter {
  void operator()(xc_cpu_policy_t* policy) const { xc_cpu_policy_destroy(policy); }
};

template <typename T>
std::string BytesOf(const std::vector<T>& values, uint32_t count) {
  return std::string(reinterpret_cast<const char*>(values.data()), count * sizeof(T));
}

}  // namespace

absl::StatusOr<std::unique_ptr<XenGuestImage>> XenGuestImage::New(xc_interface* xc, xentoollog_logger* logger,
                                                                  DomainHypercalls& hypercalls) {
  ForeignMemoryHandle memory(xenforeignmemory_open(logger, 0));
  if (memory == nullptr) return XenCallError("can't open the foreign memory interface", hypercalls.domid(), errno);
  return std::unique_ptr<XenGuestImage>(new XenGuestImage(xc, std::move(memory), hypercalls));
}

XenGuestImage::XenGuestImage(xc_interface* xc, ForeignMemoryHandle memory, DomainHypercalls& hypercalls)
    : xc_(xc),
      memory_(std::move(memory)),
      hypercalls_(hypercalls),
      domid_(hypercalls.domid()),
      grants_(xc, memory_.get(), domid_) {
  for (const SavedParam& param : kSavedParams) hvm_params_.push_back({param.index, 0});
}

XenGuestImage::~XenGuestImage() { UnmapAll(); }

absl::StatusOr<GuestImage::Description> XenGuestImage::Describe() {
  const int version = xc_version(xc_, XENVER_version, nullptr);
  if (version < 0) return XenCallError("can't read Xen's version", domid_, errno);
  uint32_t leaf_count = 0, msr_count = 0;
  if (xc_cpu_policy_get_size(xc_, &leaf_count, &msr_count) != 0) {
    return XenCallError("can't read the size of CPU policies", domid_, errno);
  }
  const std::unique_ptr<xc_cpu_policy_t, PolicyDeleter> policy(xc_cpu_policy_init());
  std::vector<xen_cpuid_leaf_t> leaves(leaf_count);
  std::vector<xen_msr_entry_t> msrs(msr_count);
  if (policy == nullptr || xc_cpu_policy_get_domain(xc_, domid_, policy.get()) != 0 ||
      xc_cpu_policy_serialise(xc_, policy.get(), leaves.data(), &leaf_count, msrs.data(), &msr_count) != 0) {
    return XenCallError("can't read the CPU policy", domid_, errno);
  }
  Description description;
  description.xen_major = static_cast<uint32_t>(version) >> 16;
  description.xen_minor = static_cast<uint32_t>(version) & 0xffff;
  description.cpuid_policy = BytesOf(leaves, leaf_count);
  description.msr_policy = BytesOf(msrs, msr_count);
  return description;
}

absl::Status XenGuestImage::Begin() {
  if (absl::StatusOr<size_t> bytes = hypercalls_.HvmContextBytes(); !bytes.ok()) return bytes.status();
  if (absl::Status enabled = hypercalls_.EnableLogDirty(); !enabled.ok()) return enabled;
  for (int attempt = 0; attempt < kMapAttempts; ++attempt) {
    const absl::StatusOr<bool> mapped = MapAll();
    if (!mapped.ok()) return mapped.status();
    if (!*mapped) {
      UnmapAll();
      continue;
    }
    // Pages that were added while the others were mapped are tracked only from the next CLEAN on. What it gives is not
    // needed: all pages are to be copied.
    const absl::StatusOr<absl::Span<const uint64_t>> cleaned = TakeDirty(/*final=*/false);
    return cleaned.status();
  }
  const absl::StatusOr<uint64_t> owned = hypercalls_.MemoryPages();
  if (!owned.ok()) return owned.status();
  return absl::AbortedError(absl::StrCat(
      "domain ", domid_, " owns ", *owned,
      " pages, and another number of them is in its memory map, or that is "
      "changing all the time: unused populate-on-demand memory (memory below maxmem), a guest that is being ballooned, "
      "or a tool that has taken some of its pages. A guest can be protected when all of its memory is mapped"));
}

absl::StatusOr<bool> XenGuestImage::MapAll() {
  xen_pfn_t numbers = 0;
  if (xc_domain_nr_gpfns(xc_, domid_, &numbers) < 0) return XenCallError("can't read its size", domid_, errno);
  frame_numbers_ = numbers;
  absl::StatusOr<uint64_t> owned = hypercalls_.MemoryPages();
  if (!owned.ok()) return owned.status();
  const auto frames = FindPopulatedFrames(frame_numbers_, *owned, DomainHypercalls::kTypesMax,
                                          [this](absl::Span<uint64_t> batch) { return hypercalls_.AddTypes(batch); });
  if (!frames.ok()) return frames.status();
  for (size_t i = 0; i < frames->size(); i += kMappedAtOnce) {
    const absl::StatusOr<bool> mapped = Map(absl::MakeConstSpan(*frames).subspan(i, kMappedAtOnce));
    if (!mapped.ok() || !*mapped) return mapped;
  }
  owned = hypercalls_.MemoryPages();
  if (!owned.ok()) return owned.status();
  return *owned == frames_.size();
}

absl::StatusOr<bool> XenGuestImage::Map(absl::Span<const uint64_t> frames) {
  std::vector<xen_pfn_t> numbers(frames.begin(), frames.end());
  std::vector<int> errors(frames.size());
  void* const address =
      xenforeignmemory_map(memory_.get(), domid_, PROT_READ, numbers.size(), numbers.data(), errors.data());
  if (address == nullptr) return XenCallError("can't map its memory", domid_, errno);
  mappings_.push_back({address, numbers.size()});
  for (size_t i = 0; i < frames.size(); ++i) {
    // Ballooned out since its number was found.
    if (errors[i] != 0) return false;
    frames_.Add(frames[i], 1, static_cast<const char*>(address) + i * XC_PAGE_SIZE);
  }
  return true;
}

void XenGuestImage::UnmapAll() {
  for (const Mapping& mapping : mappings_) xenforeignmemory_unmap(memory_.get(), mapping.address, mapping.pages);
  mappings_.clear();
  frames_ = FrameMap();
}

absl::StatusOr<uint64_t> XenGuestImage::CountDirty() { return hypercalls_.CountDirty(); }

absl::StatusOr<absl::Span<const uint64_t>> XenGuestImage::TakeDirty(bool final) {
  return hypercalls_.Dirty(frame_numbers_, /*reset=*/true, final);
}

absl::StatusOr<absl::Span<const uint64_t>> XenGuestImage::LookAtDirty() {
  return hypercalls_.Dirty(frame_numbers_, /*reset=*/false, /*final=*/true);
}

absl::Status XenGuestImage::AddTypes(absl::Span<uint64_t> frames) {
  if (absl::Status status = hypercalls_.AddTypes(frames); !status.ok()) return status;
  for (const uint64_t entry : frames) {
    if (EntryHasContents(entry) && frames_.Find(FrameOfEntry(entry)) == nullptr) {
      return absl::AbortedError(absl::StrCat("domain ", domid_, " has memory at page frame ", FrameOfEntry(entry),
                                             ", where it had none when its protection began"));
    }
  }
  return absl::OkStatus();
}

absl::Status XenGuestImage::CheckMemoryMap() {
  const absl::StatusOr<uint64_t> owned = hypercalls_.MemoryPages();
  if (!owned.ok()) return owned.status();
  if (*owned == frames_.size()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("domain ", domid_, " owns ", *owned, " pages instead of ", frames_.size(),
                                         ": its memory was enlarged (ballooned in)"));
}

absl::Status XenGuestImage::PrepareState() {
  if (std::exchange(state_prepared_, true)) return absl::OkStatus();
  for (size_t i = 0; i < hvm_params_.size(); ++i) {
    const absl::StatusOr<uint64_t> value = hypercalls_.HvmParam(kSavedParams[i].index);
    if (!value.ok()) return value.status();
    hvm_params_[i].value = *value;
  }
  return absl::OkStatus();
}

absl::StatusOr<GuestImage::State> XenGuestImage::ReadState() {
  State state;
  const absl::StatusOr<CheckpointWriter::TscInfo> tsc = hypercalls_.Tsc();
  if (!tsc.ok()) return tsc.status();
  state.tsc = *tsc;
  const absl::StatusOr<absl::Span<const char>> context = hypercalls_.HvmContext();
  if (!context.ok()) return context.status();
  state.hvm_context = *context;
  for (size_t i = 0; i < hvm_params_.size(); ++i) {
    if (!kSavedParams[i].guest_may_change) continue;
    const absl::StatusOr<uint64_t> value = hypercalls_.HvmParam(kSavedParams[i].index);
    if (!value.ok()) return value.status();
    hvm_params_[i].value = *value;
  }
  state.hvm_params = hvm_params_;
  return state;
}

absl::StatusOr<absl::Span<const char>> XenGuestImage::ReadAttachments() {
  if (store_ == nullptr) {
    absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
    if (!store.ok()) return store.status();
    const absl::StatusOr<Xenstore::WatchId> watch = (*store)->Watch(
        XenstoreDomainPath(domid_) + "/device/vif", [this](const std::string&) { frontends_changed_ = true; });
    if (!watch.ok()) return watch.status();
    const absl::StatusOr<std::optional<uint32_t>> suspend_port = ReadSuspendPort(**store, domid_);
    if (!suspend_port.ok()) return suspend_port.status();
    suspend_port_ = *suspend_port;
    store_ = *std::move(store);
  }
  if (absl::Status status = store_->DispatchWatches(); !status.ok()) return status;
  if (frontends_changed_) {
    if (absl::Status status = ReadFrontends(*store_, domid_, attachments_); !status.ok()) return status;
    frontends_changed_ = false;
  }
  if (absl::Status status = ReadEventPorts(xc_, domid_, attachments_, suspend_port_); !status.ok()) return status;
  if (absl::Status status = grants_.Read(attachments_); !status.ok()) return status;
  if (!attachments_.SerializeToString(&attachments_bytes_) ||
      attachments_bytes_.size() > stream_format::kAttachmentsBytesMax) {
    return absl::InternalError(
        absl::StrCat("domain ", domid_, ": its attachments take ", attachments_bytes_.size(), " bytes"));
  }
  return absl::MakeConstSpan(attachments_bytes_);
}

}  // namespace romulus
