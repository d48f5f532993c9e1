#ifndef ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_IMAGE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_IMAGE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/attachments/grant_table.h"
#include "common/xen/handles.h"
#include "common/xen/xenstore.h"
#include "primary/save_helper/domain_hypercalls.h"
#include "primary/save_helper/guest_image.h"

namespace romulus {

// The real GuestImage, of a PVH guest. All of the guest's memory is mapped once, and stays so: mapping the few hundred
// pages of a checkpoint anew costs more than copying them does.
//
// Why a kept mapping may be believed (Xen 4.17, x86, HAP). Each mapped page holds a reference, so that none of them can
// be freed, nor given to another frame number by way of being freed. Begin has seen that the domain owned exactly as
// many pages as are mapped here, after dirty tracking was on; no page was mapped twice (a page has one frame number),
// so at that moment every page of the domain was mapped. From then on
//   - a page that is new to the guest, whether at a new frame number or in the place of one that was ballooned out
//     (populate_physmap), adds to the pages that it owns, and nothing takes one away. CheckMemoryMap compares the two
//     numbers, while the guest is suspended: equal means that no page was added since Begin. This is more than libxc's
//     own save can say: Xen does not mark a page dirty that is added under log-dirty mode (p2m_add_page), and does not
//     track writes to it before the next CLEAN, so a page that is ballooned in is lost by xc_domain_save;
//   - a page that is ballooned out (decrease_reservation) loses its frame number and stays mapped: its last contents
//     are worth nothing to anybody. If its frame comes up as dirty, its type says that nothing is there any more.
//     Its memory goes back to the host when protection ends;
//   - special pages (shared info, grant frames) are no memory of the guest's, have no contents by their type, and are
//     neither counted nor mapped.
// What this does not see: a running guest that exchanges the numbers of its own pages (XENMEM_add_to_physmap of
// XENMAPSPACE_gmfn to and fro). Nor does Xen's dirty tracking, and no operating system does it.
// A guest some of whose pages have no frame number at all, for good (unused populate-on-demand memory, a frame taken by
// an introspection tool), can't be mapped completely; it is refused.
class XenGuestImage final : public GuestImage {
 public:
  // All outlive it.
  static absl::StatusOr<std::unique_ptr<XenGuestImage>> New(xc_interface* xc, xentoollog_logger* logger,
                                                            DomainHypercalls& hypercalls);
  ~XenGuestImage() override;

  absl::StatusOr<Description> Describe() override;
  absl::Status Begin() override;
  const FrameMap& frames() const override { return frames_; }
  absl::StatusOr<uint64_t> CountDirty() override;
  absl::StatusOr<absl::Span<const uint64_t>> TakeDirty(bool final) override;
  absl::StatusOr<absl::Span<const uint64_t>> LookAtDirty() override;
  absl::Status AddTypes(absl::Span<uint64_t> frames) override;
  absl::Status CheckMemoryMap() override;
  absl::Status PrepareState() override;
  absl::StatusOr<State> ReadState() override;
  // The frontends' entries are read anew only after xenstored said that something below device/vif has changed: a
  // suspended guest changes nothing.
  absl::StatusOr<absl::Span<const char>> ReadAttachments() override;

 private:
  struct Mapping {
    void* address;
    size_t pages;
  };

  XenGuestImage(xc_interface* xc, ForeignMemoryHandle memory, DomainHypercalls& hypercalls);
  // One attempt; false: the guest's memory map changed meanwhile.
  absl::StatusOr<bool> MapAll();
  absl::StatusOr<bool> Map(absl::Span<const uint64_t> frames);
  void UnmapAll();

  xc_interface* const xc_;
  const ForeignMemoryHandle memory_;
  DomainHypercalls& hypercalls_;
  const uint32_t domid_;
  uint64_t frame_numbers_ = 0;
  std::vector<Mapping> mappings_;
  FrameMap frames_;
  // Those that the guest can't change are read once: a toolstack sets them while it builds the domain.
  std::vector<CheckpointWriter::HvmParam> hvm_params_;
  bool state_prepared_ = false;
  GrantTable grants_;
  std::unique_ptr<Xenstore> store_;  // From the first ReadAttachments on.
  bool frontends_changed_ = true;
  std::optional<uint32_t> suspend_port_;  // That the guest got for an earlier session, without lockstep.
  replication::v1::GuestAttachments attachments_;
  std::string attachments_bytes_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_XEN_GUEST_IMAGE_H_
