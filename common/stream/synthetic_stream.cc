#include "common/stream/synthetic_stream.h"

#include "common/base/log.h"
#include "common/stream/stream_format.h"

namespace romulus {
namespace {

using namespace stream_format;  // NOLINT: this file is about nothing else.

void AppendLittleEndian(std::string* out, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

void AppendBigEndian(std::string* out, uint64_t value, size_t size) {
  for (size_t i = size; i-- > 0;) out->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

SyntheticStream& SyntheticStream::Headers(uint32_t domain_type) {
  AppendLittleEndian(&bytes_, kImageMarker, 8);
  AppendBigEndian(&bytes_, kImageId, 4);
  AppendBigEndian(&bytes_, kImageVersion, 4);
  bytes_.append(kImageHeaderBytes - 16, '\0');
  boundaries_.push_back(bytes_.size());
  AppendLittleEndian(&bytes_, domain_type, 4);
  AppendLittleEndian(&bytes_, kPageShift, 2);
  AppendLittleEndian(&bytes_, 0, 2);
  AppendLittleEndian(&bytes_, 4, 4);
  AppendLittleEndian(&bytes_, 17, 4);
  boundaries_.push_back(bytes_.size());
  return *this;
}

SyntheticStream& SyntheticStream::Preamble() {
  return Headers(kDomainHvm)
      .Record(kCpuidPolicy, std::string(24, 'c'))
      .Record(kMsrPolicy, std::string(16, 'm'))
      .Record(kStaticDataEnd, "");
}

SyntheticStream& SyntheticStream::Record(uint32_t type, absl::string_view body) {
  AppendLittleEndian(&bytes_, type, 4);
  AppendLittleEndian(&bytes_, body.size(), 4);
  bytes_.append(body.data(), body.size());
  bytes_.append((kRecordAlignment - body.size() % kRecordAlignment) % kRecordAlignment, '\0');
  boundaries_.push_back(bytes_.size());
  return *this;
}

SyntheticStream& SyntheticStream::PageData(const std::vector<Page>& pages) {
  std::string body;
  AppendLittleEndian(&body, pages.size(), 4);
  AppendLittleEndian(&body, 0, 4);
  for (const Page& page : pages) {
    AppendLittleEndian(&body, uint64_t{page.type} << kFrameTypeShift | page.frame, 8);
  }
  for (const Page& page : pages) {
    if (page.type >= kFrameTypeBroken) continue;
    ROMULUS_CHECK(page.contents.size() <= kPageBytes);
    body += page.contents;
    body.append(kPageBytes - page.contents.size(), '\0');
  }
  return Record(kPageData, body);
}

SyntheticStream& SyntheticStream::State(absl::string_view context) {
  return Record(kTscInfo, std::string(24, 't')).Record(kHvmContext, context).Record(kHvmParams, std::string(8, '\0'));
}

SyntheticStream& SyntheticStream::EndCheckpoint() { return Record(kCheckpoint, ""); }

}  // namespace romulus
