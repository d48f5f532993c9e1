#ifndef ROMULUS_COMMON_STREAM_SYNTHETIC_STREAM_H_
#define ROMULUS_COMMON_STREAM_SYNTHETIC_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace romulus {

// Writes libxc v3 streams for guests that do not exist: those of the simulation and of tests. Record by record, so that
// a test can also write what libxc never would.
class SyntheticStream {
 public:
  struct Page {
    uint64_t frame = 0;
    unsigned type = 0;     // stream_format.h's kFrameType*.
    std::string contents;  // At most a page; padded with zeros. Not written for types without contents.
  };

  // Image and domain header.
  SyntheticStream& Headers(uint32_t domain_type);
  // Both headers, the policies and STATIC_DATA_END of a PVH or HVM guest: what precedes the first page.
  SyntheticStream& Preamble();
  SyntheticStream& Record(uint32_t type, absl::string_view body);
  SyntheticStream& PageData(const std::vector<Page>& pages);
  // TSC, HVM context (`context` stands for the vCPUs' state), HVM params.
  SyntheticStream& State(absl::string_view context);
  SyntheticStream& EndCheckpoint();

  // Offset of each header and record so far, and the end.
  const std::vector<size_t>& boundaries() const { return boundaries_; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  std::vector<size_t> boundaries_ = {0};
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_STREAM_SYNTHETIC_STREAM_H_
