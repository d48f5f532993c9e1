#include "tests/bench/page_trace.h"

#include <zstd.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// As record-traces compresses.
constexpr int kWindowLog = 27;

absl::StatusOr<std::string> Decompressed(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("can't read ", path));
  const std::string packed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog);
  std::string bytes;
  std::vector<char> piece(1 << 20);
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  size_t more = 1;
  while (in.pos < in.size || more > 0) {
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    more = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(more)) return absl::DataLossError(absl::StrCat(path, ": ", ZSTD_getErrorName(more)));
    if (out.pos == 0 && in.pos == in.size && more > 0) return absl::DataLossError(absl::StrCat(path, " is cut off"));
    bytes.append(piece.data(), out.pos);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<PageTrace> LoadPageTrace(const std::string& path) {
  absl::StatusOr<std::string> bytes = Decompressed(path);
  if (!bytes.ok()) return bytes.status();
  PageTrace trace;
  trace.name = path.substr(path.rfind('/') + 1);
  trace.name = trace.name.substr(0, trace.name.find('.'));
  trace.bytes = *std::move(bytes);
  const absl::Span<const char> all(trace.bytes);
  size_t begin = 0;
  for (size_t at = 0; at + stream_format::kRecordHeaderBytes <= all.size();) {
    uint32_t type_and_length[2];
    memcpy(type_and_length, all.data() + at, sizeof(type_and_length));
    at += stream_format::kRecordHeaderBytes + (size_t{type_and_length[1]} + 7) / 8 * 8;
    if (type_and_length[0] == stream_format::kCheckpoint && at <= all.size()) {
      trace.checkpoints.push_back(all.subspan(begin, at - begin));
      begin = at;
    }
  }
  if (begin != all.size() || trace.checkpoints.size() < 2) {
    return absl::DataLossError(absl::StrCat(path, " does not consist of whole checkpoints, two at least"));
  }
  return trace;
}

}  // namespace romulus
