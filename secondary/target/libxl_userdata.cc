#include "secondary/target/libxl_userdata.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace romulus {
namespace {

// `kind`: "d" for the data, "n" for a new version being written, "l" for a lock.
std::string UserdataPath(absl::string_view kind, uint32_t domid, const std::string& uuid, absl::string_view name) {
  return absl::StrCat("/var/lib/xen/userdata-", kind, ".", domid, ".", uuid, ".", name);
}

absl::Status FileError(absl::string_view what, const std::string& path) {
  return absl::InternalError(absl::StrCat("can't ", what, " ", path, ": ", strerror(errno), " (errno ", errno, ")"));
}

}  // namespace

absl::Status StoreLibxlJson(uint32_t domid, const std::string& uuid, const std::string& json) {
  const std::string fresh = UserdataPath("n", domid, uuid, "libxl-json");
  const UniqueFd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return FileError("create", fresh);
  for (size_t done = 0; done < json.size();) {
    const ssize_t written = write(file.get(), json.data() + done, json.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", fresh);
    done += written;
  }
  const std::string path = UserdataPath("d", domid, uuid, "libxl-json");
  if (rename(fresh.c_str(), path.c_str()) != 0) return FileError("rename to", path);
  return absl::OkStatus();
}

void RemoveLibxlUserdata(uint32_t domid, const std::string& uuid) {
  if (uuid.empty()) return;
  glob_t found{};
  if (glob(UserdataPath("?", domid, uuid, "*").c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) unlink(found.gl_pathv[i]);
  }
  globfree(&found);
}

}  // namespace romulus
