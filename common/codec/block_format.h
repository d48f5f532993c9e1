#ifndef ROMULUS_COMMON_CODEC_BLOCK_FORMAT_H_
#define ROMULUS_COMMON_CODEC_BLOCK_FORMAT_H_

#include <cstddef>
#include <cstdint>

// An encoded block: a piece of a checkpoint's libxc stream on the wire. All numbers are little endian; a varint is
// LEB128 as in Protocol Buffers.
//
//   u8 version | u8 encodings | u16 0 | u32 raw bytes | u32 cache generation | u32 0
//   4 * (u32 decoded bytes | u32 coded bytes) | the four streams, in order of Stream, each as its Encoding says
//
// encodings: bits 2i and 2i+1 are stream i's Encoding. raw bytes: what the block decodes to.
// cache generation: a higher one than before tells the decoder to forget its cache first.
//
// A block that is made from other pages than the sender meant decodes to other bytes: the digest of all of them, in the
// checkpoint's trailer, tells, before anything is done with them (of checkpoint 1, which flows on before its trailer,
// nothing is made from cached pages).
//
// Stream kOperations is a sequence of operations; each appends to the block's output.
//   u8: Operation in bits 0-3, (count - 1) in bits 4-7; 15 there: a varint follows, count = 16 + varint
//   then `count` times the operands:
//     slot    zigzag varint: the slot's number less (the last slot's + 1); the last one is -1 at the block's start
//     patch   varint number of runs, then for each: varint bytes kept (after the run before), varint bytes replaced;
//             the new bytes are the next ones of stream kPatches
//     length  varint, kStateBytesMin to 4096
//
// The encoder alone decides what is kept in which slot; the decoder obeys, within the number of slots agreed upon.
namespace romulus::block_format {

constexpr uint8_t kVersion = 2;
constexpr size_t kHeaderBytes = 48;
constexpr size_t kStreams = 4;
constexpr size_t kUnitBytes = 4096;
constexpr unsigned kCountExtended = 15;

// Of what is not a page but kept in a slot like one. Less is not worth one, and would let a hostile sender make the
// decoder work much for little.
constexpr size_t kStateBytesMin = 128;

// What a block may at most decode to. The encoder makes blocks of about 1 MiB.
constexpr size_t kRawBytesMax = size_t{4} << 20;
// A receiver takes blocks that decode to at least this much: a page, its beginning or end, and what is around it.
constexpr size_t kRawBytesMaxLeast = 4 * kUnitBytes;
// No stream is larger: an operation makes at least a byte from at most 20 bytes of its own (a slot, a varint each).
constexpr size_t kStreamBytesMax = 2 * kRawBytesMax;

enum Stream : unsigned {
  kOperations = 0,
  kPatches = 1,  // New bytes of patches, and bytes that are in no page.
  kPages = 2,    // Pages that look as if they could be compressed.
  kDense = 3,    // Pages that do not.
};

enum class Encoding : uint8_t {
  kRaw = 0,
  kLz4 = 1,   // One LZ4 block.
  kZstd = 2,  // One zstd frame.
};
constexpr size_t kEncodings = 3;

enum Operation : uint8_t {
  kZeroPage = 0,
  kUnchanged = 1,        // slot: that page
  kPatched = 2,          // slot, patch: that page patched, in the slot too
  kSparse = 3,           // patch: a zero page patched
  kSparseStored = 4,     // slot, patch: as above, kept in slot
  kPage = 5,             // the next 4096 bytes of kPages
  kPageStored = 6,       // slot
  kDensePage = 7,        // the next 4096 bytes of kDense
  kDensePageStored = 8,  // slot
  kBytes = 9,            // count bytes of kPatches
  kFrames = 10,          // count times a zigzag varint: u64 number less (the number before + 1); before the first: -1
  kStatePatched = 11,    // length, slot, patch: the first `length` bytes of that page patched, in the slot too
  kStateStored = 12,     // length, slot: the next `length` bytes of kPatches, kept in slot with zeros after them
  kOperationEnd = 13,
};

}  // namespace romulus::block_format

#endif  // ROMULUS_COMMON_CODEC_BLOCK_FORMAT_H_
