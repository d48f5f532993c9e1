#ifndef ROMULUS_COMMON_STREAM_STREAM_FORMAT_H_
#define ROMULUS_COMMON_STREAM_STREAM_FORMAT_H_

#include <cstddef>
#include <cstdint>

// libxc's migration stream, version 3: sizes and numbers.
// Source: Xen's docs/specs/libxc-migration-stream.pandoc and tools/libs/guest/xg_sr_stream_format.h (4.17).
//
//   image header    24 B  marker u64 | id u32 BE | version u32 BE | options u16 BE | reserved 6 B
//   domain header   16 B  type u32 | page shift u16 | reserved u16 | xen major u32 | xen minor u32
//   record                type u32 | length u32 | body, padded to 8
//   PAGE_DATA's body      count u32 | reserved u32 | count * u64 frame numbers | 4096 B for each frame with contents
//
// All but the image header is in the host's byte order (x86: little endian).
namespace romulus::stream_format {

constexpr size_t kImageHeaderBytes = 24;
constexpr size_t kDomainHeaderBytes = 16;
constexpr size_t kRecordHeaderBytes = 8;
constexpr uint64_t kImageMarker = ~uint64_t{0};
constexpr uint32_t kImageId = 0x58454e46;  // "XENF"
constexpr uint32_t kImageVersion = 3;
constexpr uint16_t kImageOptionBigEndian = 1;
constexpr uint32_t kDomainPv = 1;
constexpr uint32_t kDomainHvm = 2;
constexpr uint16_t kPageShift = 12;
constexpr size_t kPageBytes = size_t{1} << kPageShift;
constexpr size_t kRecordAlignment = 8;
constexpr uint32_t kRecordBytesMax = uint32_t{128} << 20;

enum RecordType : uint32_t {
  kEnd = 0x00,
  kPageData = 0x01,
  kPvInfo = 0x02,
  kPvP2mFrames = 0x03,
  kPvVcpuBasic = 0x04,
  kPvVcpuExtended = 0x05,
  kPvVcpuXsave = 0x06,
  kSharedInfo = 0x07,
  kTscInfo = 0x08,
  kHvmContext = 0x09,
  kHvmParams = 0x0a,
  kToolstack = 0x0b,
  kPvVcpuMsrs = 0x0c,
  kVerify = 0x0d,
  kCheckpoint = 0x0e,
  kDirtyPfnList = 0x0f,
  kStaticDataEnd = 0x10,
  kCpuidPolicy = 0x11,
  kMsrPolicy = 0x12,
  // Not libxc's but Romulus' own (common/attachments/attachments_record.h), from the range of optional ones.
  kAttachments = 0x80526d41,
};
// For the grant table that Xen's default limit allows a guest (64 pages), and more.
constexpr uint32_t kAttachmentsBytesMax = uint32_t{1} << 20;

// A frame entry of PAGE_DATA: type in bits 63-60 (XEN_DOMCTL_PFINFO_*), number in bits 51-0, the rest zero.
constexpr int kFrameTypeShift = 60;
constexpr uint64_t kFrameReservedMask = 0x0ff0000000000000;
// L1..L4 page tables are 1..4, pinned 9..12; 5..8 do not exist; the last three carry no contents.
constexpr unsigned kFrameTypeUnusedFirst = 5;
constexpr unsigned kFrameTypeUnusedLast = 8;
constexpr unsigned kFrameTypeBroken = 13;
constexpr unsigned kFrameTypeXalloc = 14;
constexpr unsigned kFrameTypeXtab = 15;

}  // namespace romulus::stream_format

#endif  // ROMULUS_COMMON_STREAM_STREAM_FORMAT_H_
