#include "tests/simulation/guest.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"

namespace romulus::simulation {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t z = a * 0x9e3779b97f4a7c15 + b;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  return z ^ (z >> 31);
}

SyntheticStream::Page ToStream(const GuestMemory& memory, int page) {
  const GuestMemory::Page& from = memory.pages[page];
  return {static_cast<uint64_t>(page), 0, std::string(reinterpret_cast<const char*>(from.words), sizeof from.words)};
}

}  // namespace

void GuestMemory::Answer(uint64_t request) {
  ++pages[0].words[0];
  pages[0].words[1] = Mix(pages[0].words[1], request);
}

std::string Domain::vif() const { return absl::StrCat("vif", domid, ".0"); }

std::string FirstCheckpoint(const GuestMemory& memory) {
  SyntheticStream stream;
  stream.Preamble();
  std::vector<SyntheticStream::Page> pages;
  for (int page = 0; page < GuestMemory::kPages; ++page) pages.push_back(ToStream(memory, page));
  return stream.PageData(pages).State("vcpu").EndCheckpoint().bytes();
}

std::string LaterCheckpoint(const GuestMemory& memory, const std::set<int>& dirty) {
  SyntheticStream stream;
  // One record a page, as libxc's are one a batch: a stream that is cut has applied some and not others.
  for (int page : dirty) stream.PageData({ToStream(memory, page)});
  return stream.State("vcpu").EndCheckpoint().bytes();
}

void ApplyCheckpoint(absl::string_view bytes, bool first, GuestMemory& memory) {
  using namespace stream_format;  // NOLINT
  size_t at = first ? kImageHeaderBytes + kDomainHeaderBytes : 0;
  auto u32 = [&](size_t offset) {
    uint32_t value;
    memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  };
  while (at + kRecordHeaderBytes <= bytes.size()) {
    uint32_t type = u32(at), length = u32(at + 4);
    size_t body = at + kRecordHeaderBytes;
    if (body + length > bytes.size()) return;
    if (type == kPageData && length >= 8) {
      uint32_t count = u32(body);
      if (8 + uint64_t{count} * (8 + kPageBytes) > length) return;
      for (uint32_t i = 0; i < count; ++i) {
        uint64_t frame;
        memcpy(&frame, bytes.data() + body + 8 + i * 8, sizeof frame);
        if (frame >= GuestMemory::kPages) return;
        memcpy(memory.pages[frame].words, bytes.data() + body + 8 + count * 8 + i * kPageBytes,
               sizeof memory.pages[frame].words);
      }
    }
    at = body + (length + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
  }
}

}  // namespace romulus::simulation
