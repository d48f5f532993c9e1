#ifndef ROMULUS_NETBUF_VIF_FRAMES_H_
#define ROMULUS_NETBUF_VIF_FRAMES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "netbuf/guest_frame.h"
#include "netbuf/vif.h"

namespace romulus {

enum class FrameDirection { kFromGuest, kToGuest };

// What becomes of the frames of a vif.
//            mode      | from the guest     | to the guest
enum class VifMode {
  kDirect,     //         untouched          | untouched
  kDivert,     //         taken              | taken
  kIsolate,    //         taken              | dropped: nothing but what is written here reaches the guest
  kTranslate,  //         taken              | taken; for successors: the guest was taken over
};

// The seam for the frames of a guest's vifs, taken into this process and written back. Real side: GuestTaps (TAP
// devices and filters, on an event loop). Simulated side: SimulatedVifFrames.
//
// What is taken goes no other way than through here: with a process that dies, and with this object, all of that is
// lost, and what comes from then on dropped, until a successor adds the vif, or it is cleared. So nothing is released
// by a death.
//
// Synchronous, on one thread, which is where frames come, too. Errors: UNAVAILABLE if the vif is gone or not in its
// mode any more, FAILED_PRECONDITION if it is somebody else's, or the host lacks something, with what to do; others
// with the native code in words.
class VifFrames {
 public:
  // In order within a vif and direction, never empty. From the loop, and from within Drain and Remove; may Write, and
  // must not Add, Remove or destroy.
  using OnFrames = std::function<void(const Vif& vif, FrameDirection direction, std::vector<GuestFrame> frames)>;
  // A vif can't be read any more: nothing passes that is taken there.
  using OnError = std::function<void(const Vif& vif, absl::Status status)>;

  virtual ~VifFrames() = default;

  virtual absl::StatusOr<bool> Exists(const Vif& vif) = 0;

  // kAdopted: what a dead process had taken for the same `owner` (a protection's name) is taken over without a gap:
  // nothing passes that was held up, and a `mode` of kDirect is then kDivert until SetMode(kDirect). Precondition,
  // checked: no vif of the same device id is there. An error leaves the vif as it was.
  enum class Added { kFresh, kAdopted };
  virtual absl::StatusOr<Added> Add(const Vif& vif, const std::string& owner, VifMode mode) = 0;
  // kDrain: no frame is lost: the vif becomes direct, and what the kernel has of it goes to OnFrames, which shall Write
  // it. OK if there is no such vif.
  enum class Held { kDrain, kDrop };
  virtual absl::Status Remove(uint32_t device_id, Held held) = 0;
  // Of a vif that is not added: removes what a dead process left of this owner. OK if there is nothing.
  virtual absl::Status Clear(const Vif& vif, const std::string& owner) = 0;

  // Of all vifs, also of those after one that failed; the first error counts. Nothing passes that neither mode lets
  // pass, at no moment in between, and but for kIsolate nothing is lost.
  virtual absl::Status SetMode(VifMode mode) = 0;
  virtual absl::Status CheckInPlace(uint32_t device_id) = 0;

  // Delivers what is there now, and little more than there is room for: for an epoch's end, when the guest is suspended
  // and what it sent is to count to that epoch.
  virtual void Drain(uint32_t device_id, FrameDirection direction) = 0;

  // In the order of the calls; kFromGuest: as if the vif had just received it from its guest. NOT_FOUND: no such vif.
  virtual absl::Status Write(uint32_t device_id, FrameDirection direction, const GuestFrame& frame) = 0;
  // A frame that came as contents alone; INVALID_ARGUMENT if it is none that the vif could carry (ToGuestFrame).
  virtual absl::Status Write(uint32_t device_id, FrameDirection direction, std::string contents) = 0;

  // Frames that were dropped since Add because nobody took them in time.
  virtual absl::StatusOr<uint64_t> ReadDropped(uint32_t device_id, FrameDirection direction) = 0;

  // Of the device that what the guest sends is taken to; for status and logs.
  virtual std::string DeviceName(const Vif& vif) const = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_VIF_FRAMES_H_
