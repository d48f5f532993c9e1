#ifndef ROMULUS_PRIMARY_CAPTURE_FAKE_GUEST_H_
#define ROMULUS_PRIMARY_CAPTURE_FAKE_GUEST_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/unique_fd.h"

namespace romulus {

// A domain without a hypervisor: memory that a test and fake_guest_save_helper share, in a file of this process' test
// folder.
struct FakeGuest {
  static constexpr int kPages = 4;

  std::atomic<uint64_t> pages[kPages];
  std::atomic<uint32_t> dirty;  // A bit per page.
  std::atomic<bool> tracking;   // Of dirty pages.
  std::atomic<bool> suspended;
  std::atomic<bool> deaf;  // Acknowledges no suspend.
  std::atomic<bool> destroyed;

  void Write(int page, uint64_t value) {
    pages[page] = value;
    dirty |= 1U << page;
  }

  // Of domain `domid`, in the folder that ROMULUS_FAKE_GUESTS names. `fresh`: a new one.
  static FakeGuest* Open(uint32_t domid, bool fresh) {
    const char* const folder = getenv("ROMULUS_FAKE_GUESTS");
    ROMULUS_CHECK(folder != nullptr);
    const std::string path = absl::StrCat(folder, "/guest-", domid);
    if (fresh) unlink(path.c_str());
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | (fresh ? O_CREAT : 0), 0600));
    ROMULUS_CHECK(file.valid() && ftruncate(file.get(), sizeof(FakeGuest)) == 0);
    void* const memory = mmap(nullptr, sizeof(FakeGuest), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ROMULUS_CHECK(memory != MAP_FAILED);
    return static_cast<FakeGuest*>(memory);
  }
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_CAPTURE_FAKE_GUEST_H_
