#include "primary/save_helper/checkpoint_writer.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/base/log.h"

namespace romulus {
namespace {

using namespace stream_format;

template <typename T>
absl::Span<const char> BytesOf(const T& value) {
  return absl::MakeConstSpan(reinterpret_cast<const char*>(&value), sizeof(value));
}

struct ImageHeader {
  uint64_t marker;
  uint32_t id;
  uint32_t version;
  uint16_t options;
  uint16_t reserved1;
  uint32_t reserved2;
};
static_assert(sizeof(ImageHeader) == kImageHeaderBytes);

struct DomainHeader {
  uint32_t type;
  uint16_t page_shift;
  uint16_t reserved;
  uint32_t xen_major;
  uint32_t xen_minor;
};
static_assert(sizeof(DomainHeader) == kDomainHeaderBytes);

struct RecordHeader {
  uint32_t type;
  uint32_t length;
};
static_assert(sizeof(RecordHeader) == kRecordHeaderBytes);

struct PageDataHeader {
  RecordHeader record;
  uint32_t count;
  uint32_t reserved;
};
static_assert(sizeof(PageDataHeader) == CheckpointWriter::kPageDataOverhead);

struct TscBody {
  uint32_t mode;
  uint32_t khz;
  uint64_t nsec;
  uint32_t incarnation;
  uint32_t reserved;
};
static_assert(sizeof(TscBody) == 24);

constexpr char kZeros[kRecordAlignment] = {};

}  // namespace

CheckpointWriter::CheckpointWriter(StreamSink& sink)
    : sink_(sink), scratch_(sizeof(PageDataHeader) + kPagesInRecordMax * kEntryBytes) {}

absl::Status CheckpointWriter::Append(absl::Span<const char> bytes) {
  length_ += bytes.size();
  return sink_.Append(bytes);
}

absl::Status CheckpointWriter::Headers(uint32_t xen_major, uint32_t xen_minor) {
  ImageHeader image{};
  image.marker = kImageMarker;
  image.id = htonl(kImageId);
  image.version = htonl(kImageVersion);
  DomainHeader domain{};
  domain.type = kDomainHvm;
  domain.page_shift = kPageShift;
  domain.xen_major = xen_major;
  domain.xen_minor = xen_minor;
  if (absl::Status status = Append(BytesOf(image)); !status.ok()) return status;
  return Append(BytesOf(domain));
}

absl::Status CheckpointWriter::Record(uint32_t type, absl::Span<const char> body) {
  ROMULUS_CHECK(body.size() <= kRecordBytesMax);
  const RecordHeader header{type, static_cast<uint32_t>(body.size())};
  absl::Status status = Append(BytesOf(header));
  if (status.ok() && !body.empty()) status = Append(body);
  const size_t padding = -body.size() % kRecordAlignment;
  if (status.ok() && padding != 0) status = Append(absl::MakeConstSpan(kZeros, padding));
  return status;
}

absl::Status CheckpointWriter::Pages(absl::Span<const uint64_t> entries, const FrameMap& frames) {
  ROMULUS_CHECK(!entries.empty() && entries.size() <= kPagesInRecordMax);
  uint64_t pages = 0;
  for (const uint64_t entry : entries) pages += EntryHasContents(entry) ? 1 : 0;
  const PageDataHeader header{{kPageData, static_cast<uint32_t>(8 + entries.size() * kEntryBytes + pages * kPageBytes)},
                              static_cast<uint32_t>(entries.size()),
                              0};
  memcpy(scratch_.data(), &header, sizeof(header));
  memcpy(scratch_.data() + sizeof(header), entries.data(), entries.size() * kEntryBytes);
  absl::Status status = Append(absl::MakeConstSpan(scratch_.data(), sizeof(header) + entries.size() * kEntryBytes));
  // What lies together goes together.
  const char* start = nullptr;
  size_t bytes = 0;
  for (const uint64_t entry : entries) {
    if (!EntryHasContents(entry)) continue;
    const char* const page = frames.Find(FrameOfEntry(entry));
    ROMULUS_CHECK(page != nullptr);
    if (start != nullptr && page != start + bytes) {
      if (status.ok()) status = Append(absl::MakeConstSpan(start, bytes));
      start = nullptr;
    }
    if (start == nullptr) {
      start = page;
      bytes = 0;
    }
    bytes += kPageBytes;
  }
  if (status.ok() && start != nullptr) status = Append(absl::MakeConstSpan(start, bytes));
  page_count_ += pages;
  return status;
}

absl::Status CheckpointWriter::Tsc(const TscInfo& tsc) {
  const TscBody body{tsc.mode, tsc.khz, tsc.nsec, tsc.incarnation, 0};
  return Record(kTscInfo, BytesOf(body));
}

absl::Status CheckpointWriter::HvmParams(absl::Span<const HvmParam> params) {
  char* end = scratch_.data() + 8;
  uint32_t count = 0;
  for (const HvmParam& param : params) {
    if (param.value == 0) continue;
    ROMULUS_CHECK(end + sizeof(param) <= scratch_.data() + scratch_.size());
    memcpy(end, &param, sizeof(param));
    end += sizeof(param);
    ++count;
  }
  if (count == 0) return absl::OkStatus();
  const uint32_t header[2] = {count, 0};
  memcpy(scratch_.data(), header, sizeof(header));
  return Record(kHvmParams, absl::MakeConstSpan(scratch_.data(), static_cast<size_t>(end - scratch_.data())));
}

void ForEachWrittenPage(absl::Span<const char> records,
                        absl::FunctionRef<void(uint64_t entry, const char* page)> on_page) {
  while (!records.empty()) {
    RecordHeader record;
    memcpy(&record, records.data(), sizeof(record));
    if (record.type == kPageData) {
      PageDataHeader header;
      memcpy(&header, records.data(), sizeof(header));
      const char* entry_at = records.data() + sizeof(header);
      const char* page = entry_at + header.count * CheckpointWriter::kEntryBytes;
      for (uint32_t i = 0; i < header.count; ++i, entry_at += CheckpointWriter::kEntryBytes) {
        uint64_t entry;
        memcpy(&entry, entry_at, sizeof(entry));
        on_page(entry, EntryHasContents(entry) ? page : nullptr);
        if (EntryHasContents(entry)) page += kPageBytes;
      }
    }
    records.remove_prefix(kRecordHeaderBytes + record.length + -record.length % kRecordAlignment);
  }
}

}  // namespace romulus
