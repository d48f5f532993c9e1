#include "primary/save_helper/domain_hypercalls.h"

#include <errno.h>
#include <string.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/xen/control.h"

extern "C" {
#include <xen/domctl.h>
#include <xen/hvm/hvm_op.h>
#include <xencall.h>
}

namespace romulus {
namespace {

constexpr size_t kXenPageBytes = 4096;

size_t PagesFor(size_t bytes) { return (bytes + kXenPageBytes - 1) / kXenPageBytes; }

struct CallDeleter {
  void operator()(xencall_handle* handle) const { xencall_close(handle); }
};

// Memory that stays where it is while the hypervisor reads and writes it. The handle outlives it.
class HypercallBuffer {
 public:
  HypercallBuffer() = default;
  ~HypercallBuffer() { Free(); }
  HypercallBuffer(const HypercallBuffer&) = delete;
  HypercallBuffer& operator=(const HypercallBuffer&) = delete;

  bool Allocate(xencall_handle* call, size_t bytes) {
    Free();
    call_ = call;
    pages_ = PagesFor(bytes);
    start_ = xencall_alloc_buffer_pages(call, pages_);
    if (start_ != nullptr) memset(start_, 0, pages_ * kXenPageBytes);
    return start_ != nullptr;
  }
  size_t size() const { return start_ == nullptr ? 0 : pages_ * kXenPageBytes; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(start_);
  }

 private:
  void Free() {
    if (start_ != nullptr) xencall_free_buffer_pages(call_, start_, pages_);
    start_ = nullptr;
  }

  xencall_handle* call_ = nullptr;
  void* start_ = nullptr;
  size_t pages_ = 0;
};

}  // namespace

struct DomainHypercalls::State {
  std::unique_ptr<xencall_handle, CallDeleter> call;
  // The call's own structure; then what some calls point to.
  HypercallBuffer request;
  HypercallBuffer types;
  HypercallBuffer bitmap;
  HypercallBuffer hvm_context;
  HypercallBuffer vcpu_context;

  xen_domctl& domctl() { return *request.as<xen_domctl>(); }
};

absl::StatusOr<std::unique_ptr<DomainHypercalls>> DomainHypercalls::New(xentoollog_logger* logger, uint32_t domid) {
  auto state = std::make_unique<State>();
  state->call.reset(xencall_open(logger, 0));
  if (state->call == nullptr) return XenCallError("can't open the hypercall interface", domid, errno);
  xencall_handle* const call = state->call.get();
  static_assert(sizeof(xen_domctl) <= kXenPageBytes && sizeof(xen_hvm_param) <= kXenPageBytes);
  if (!state->request.Allocate(call, kXenPageBytes) || !state->types.Allocate(call, kTypesMax * sizeof(uint64_t)) ||
      !state->vcpu_context.Allocate(call, sizeof(vcpu_guest_context_t))) {
    return XenCallError("can't allocate hypercall buffers", domid, errno);
  }
  return std::unique_ptr<DomainHypercalls>(new DomainHypercalls(std::move(state), domid));
}

DomainHypercalls::DomainHypercalls(std::unique_ptr<State> state, uint32_t domid)
    : state_(std::move(state)), domid_(domid) {}

DomainHypercalls::~DomainHypercalls() = default;

absl::Status DomainHypercalls::Domctl(const char* what) {
  xen_domctl& domctl = state_->domctl();
  domctl.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
  domctl.domain = static_cast<domid_t>(domid_);
  if (xencall1(state_->call.get(), __HYPERVISOR_domctl, reinterpret_cast<uint64_t>(&domctl)) >= 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  return XenCallError(
      error == EACCES ? absl::StrCat(what, ": this program was built for another version of Xen") : what, domid_,
      error);
}

absl::StatusOr<uint64_t> DomainHypercalls::MemoryPages() {
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_getdomaininfo;
  if (absl::Status status = Domctl("can't read the domain's state"); !status.ok()) return status;
  // It answers for the next domain where this one does not exist.
  if (domctl.u.getdomaininfo.domain != domid_) return XenCallError("can't find the domain", domid_, ESRCH);
  return static_cast<uint64_t>(domctl.u.getdomaininfo.tot_pages);
}

absl::Status DomainHypercalls::AddTypes(absl::Span<uint64_t> frames) {
  ROMULUS_CHECK(frames.size() <= kTypesMax);
  uint64_t* const types = state_->types.as<uint64_t>();
  memcpy(types, frames.data(), frames.size() * sizeof(uint64_t));
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_getpageframeinfo3;
  domctl.u.getpageframeinfo3.num = frames.size();
  set_xen_guest_handle_raw(domctl.u.getpageframeinfo3.array, reinterpret_cast<xen_pfn_t*>(types));
  if (absl::Status status = Domctl("can't read the types of page frames"); !status.ok()) return status;
  constexpr int kShift = stream_format::kFrameTypeShift - XEN_DOMCTL_PFINFO_LTAB_SHIFT;
  for (size_t i = 0; i < frames.size(); ++i) frames[i] |= (types[i] & XEN_DOMCTL_PFINFO_LTAB_MASK) << kShift;
  return absl::OkStatus();
}

absl::Status DomainHypercalls::EnableLogDirty() {
  const auto shadow_op = [this](uint32_t op, const char* what) {
    xen_domctl& domctl = state_->domctl();
    memset(&domctl, 0, sizeof(domctl));
    domctl.cmd = XEN_DOMCTL_shadow_op;
    domctl.u.shadow_op.op = op;
    return Domctl(what);
  };
  const char* const kEnable = "can't turn log-dirty mode on";
  absl::Status enabled = shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, kEnable);
  if (enabled.ok() || absl::IsUnimplemented(enabled) || absl::IsNotFound(enabled)) return enabled;
  // It is on already: a helper before this one left it so, or it tracks a framebuffer.
  if (!shadow_op(XEN_DOMCTL_SHADOW_OP_OFF, "can't turn log-dirty mode off").ok()) return enabled;
  return shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, kEnable);
}

absl::StatusOr<uint64_t> DomainHypercalls::CountDirty() {
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_shadow_op;
  domctl.u.shadow_op.op = XEN_DOMCTL_SHADOW_OP_PEEK;
  if (absl::Status status = Domctl("can't count dirty pages"); !status.ok()) return status;
  return static_cast<uint64_t>(domctl.u.shadow_op.stats.dirty_count);
}

absl::StatusOr<absl::Span<const uint64_t>> DomainHypercalls::Dirty(uint64_t frames, bool reset, bool final) {
  const uint64_t words = (frames + 63) / 64;
  if (state_->bitmap.size() < words * sizeof(uint64_t) &&
      !state_->bitmap.Allocate(state_->call.get(), words * sizeof(uint64_t))) {
    return XenCallError("can't allocate the dirty bitmap", domid_, errno);
  }
  uint64_t* const bitmap = state_->bitmap.as<uint64_t>();
  bitmap[words - 1] = 0;  // The hypervisor writes whole bytes, not words.
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_shadow_op;
  domctl.u.shadow_op.op = reset ? XEN_DOMCTL_SHADOW_OP_CLEAN : XEN_DOMCTL_SHADOW_OP_PEEK;
  domctl.u.shadow_op.mode = final ? XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL : 0;
  set_xen_guest_handle_raw(domctl.u.shadow_op.dirty_bitmap, reinterpret_cast<uint8_t*>(bitmap));
  domctl.u.shadow_op.pages = frames;
  if (absl::Status status = Domctl("can't take the dirty bitmap"); !status.ok()) return status;
  if (domctl.u.shadow_op.pages != frames) {
    return absl::InternalError(absl::StrCat("the hypervisor gave the dirty bits of ", domctl.u.shadow_op.pages,
                                            " page frames of domain ", domid_, " instead of ", frames));
  }
  return absl::MakeConstSpan(bitmap, words);
}

absl::StatusOr<CheckpointWriter::TscInfo> DomainHypercalls::Tsc() {
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_gettscinfo;
  if (absl::Status status = Domctl("can't read the TSC's state"); !status.ok()) return status;
  CheckpointWriter::TscInfo tsc;
  tsc.mode = domctl.u.tsc_info.tsc_mode;
  tsc.khz = domctl.u.tsc_info.gtsc_khz;
  tsc.nsec = domctl.u.tsc_info.elapsed_nsec;
  tsc.incarnation = domctl.u.tsc_info.incarnation;
  return tsc;
}

absl::StatusOr<uint64_t> DomainHypercalls::HvmParam(uint32_t index) {
  xen_hvm_param& param = *state_->request.as<xen_hvm_param>();
  memset(&param, 0, sizeof(param));
  param.domid = static_cast<domid_t>(domid_);
  param.index = index;
  if (xencall2(state_->call.get(), __HYPERVISOR_hvm_op, HVMOP_get_param, reinterpret_cast<uint64_t>(&param)) < 0) {
    return XenCallError(absl::StrCat("can't read HVM parameter ", index), domid_, errno);
  }
  return static_cast<uint64_t>(param.value);
}

absl::StatusOr<size_t> DomainHypercalls::HvmContextBytes() {
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_gethvmcontext;
  if (absl::Status status = Domctl("can't read the size of the HVM context"); !status.ok()) return status;
  const size_t bytes = domctl.u.hvmcontext.size;
  if (state_->hvm_context.size() < bytes && !state_->hvm_context.Allocate(state_->call.get(), bytes)) {
    return XenCallError("can't allocate the HVM context's buffer", domid_, errno);
  }
  return bytes;
}

absl::StatusOr<absl::Span<const char>> DomainHypercalls::HvmContext() {
  if (state_->hvm_context.size() == 0) {
    if (absl::StatusOr<size_t> bytes = HvmContextBytes(); !bytes.ok()) return bytes.status();
  }
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_gethvmcontext;
  domctl.u.hvmcontext.size = static_cast<uint32_t>(state_->hvm_context.size());
  set_xen_guest_handle_raw(domctl.u.hvmcontext.buffer, state_->hvm_context.as<uint8_t>());
  if (absl::Status status = Domctl("can't read the HVM context"); !status.ok()) return status;
  return absl::MakeConstSpan(state_->hvm_context.as<char>(), domctl.u.hvmcontext.size);
}

absl::Status DomainHypercalls::NotifySuspend(uint32_t port) {
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_subscribe;
  domctl.u.subscribe.port = port;
  return Domctl("can't choose who is told of the domain's suspends");
}

absl::Status DomainHypercalls::ResumeCancelled() {
  const auto vcpu_context = [this](uint32_t command, const char* what) {
    xen_domctl& domctl = state_->domctl();
    memset(&domctl, 0, sizeof(domctl));
    domctl.cmd = command;
    domctl.u.vcpucontext.vcpu = 0;
    set_xen_guest_handle_raw(domctl.u.vcpucontext.ctxt, state_->vcpu_context.as<vcpu_guest_context_t>());
    return Domctl(what);
  };
  // vCPU 0 made the suspend hypercall (Linux stops the others before), and waits in it.
  absl::Status status = vcpu_context(XEN_DOMCTL_getvcpucontext, "can't read vCPU 0 of the domain to be resumed");
  if (!status.ok()) return status;
  state_->vcpu_context.as<vcpu_guest_context_t>()->user_regs.rax = 1;
  status = vcpu_context(XEN_DOMCTL_setvcpucontext, "can't write vCPU 0 of the domain to be resumed");
  if (!status.ok()) return status;
  xen_domctl& domctl = state_->domctl();
  memset(&domctl, 0, sizeof(domctl));
  domctl.cmd = XEN_DOMCTL_resumedomain;
  return Domctl("can't resume the domain");
}

}  // namespace romulus
