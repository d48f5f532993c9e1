#include "common/xen/xenstore.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace romulus {
namespace {

absl::Status StoreError(absl::string_view what, const std::string& path, int error) {
  const std::string text =
      absl::StrCat("xenstore: can't ", what, " ", path, ": ", strerror(error), " (errno ", error, ")");
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(text);
    case ENOSPC:
    case E2BIG:
    case EDQUOT:
      return absl::ResourceExhaustedError(text);
    case EINVAL:
      return absl::InvalidArgumentError(text);
    case EAGAIN:
      return absl::AbortedError(text);
    case EIO:
    case EBADF:
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return absl::UnavailableError(absl::StrCat(text, "; is xenstored running?"));
    default:
      return absl::InternalError(text);
  }
}

unsigned int NativeAccess(XenstorePermission::Access access) {
  switch (access) {
    case XenstorePermission::Access::kNone:
      return XS_PERM_NONE;
    case XenstorePermission::Access::kRead:
      return XS_PERM_READ;
    case XenstorePermission::Access::kWrite:
      return XS_PERM_WRITE;
    case XenstorePermission::Access::kReadWrite:
      return XS_PERM_READ | XS_PERM_WRITE;
  }
  return XS_PERM_NONE;
}

class XenstoreTransaction final : public XenstoreAccess {
 public:
  XenstoreTransaction(xs_handle* handle, xs_transaction_t transaction) : XenstoreAccess(handle, transaction) {}
};

}  // namespace

std::string XenstoreDomainPath(uint32_t domid) { return absl::StrCat("/local/domain/", domid); }

absl::StatusOr<std::string> XenstoreAccess::Read(const std::string& path) const {
  unsigned int length = 0;
  const MallocPtr<void> value(xs_read(handle_, transaction_, path.c_str(), &length));
  if (value == nullptr) return StoreError("read", path, errno);
  return std::string(static_cast<const char*>(value.get()), length);
}

absl::StatusOr<std::string> XenstoreAccess::ReadOr(const std::string& path, const std::string& otherwise) const {
  absl::StatusOr<std::string> value = Read(path);
  if (absl::IsNotFound(value.status())) return otherwise;
  return value;
}

absl::StatusOr<uint64_t> XenstoreAccess::ReadNumber(const std::string& path) const {
  const absl::StatusOr<std::string> value = Read(path);
  if (!value.ok()) return value.status();
  uint64_t number = 0;
  if (!absl::SimpleAtoi(*value, &number)) {
    return absl::InvalidArgumentError(absl::StrCat("xenstore: ", path, " is '", *value, "', not a number"));
  }
  return number;
}

absl::StatusOr<std::vector<std::string>> XenstoreAccess::List(const std::string& path) const {
  unsigned int count = 0;
  const MallocPtr<char*> names(xs_directory(handle_, transaction_, path.c_str(), &count));
  if (names == nullptr) return StoreError("list", path, errno);
  return std::vector<std::string>(names.get(), names.get() + count);
}

absl::Status XenstoreAccess::Write(const std::string& path, const std::string& value) {
  if (!xs_write(handle_, transaction_, path.c_str(), value.data(), value.size())) {
    return StoreError("write", path, errno);
  }
  return absl::OkStatus();
}

absl::Status XenstoreAccess::Write(const std::string& path, const std::string& value,
                                   const std::vector<XenstorePermission>& permissions) {
  if (absl::Status status = Write(path, value); !status.ok()) return status;
  return SetPermissions(path, permissions);
}

absl::Status XenstoreAccess::MakeDirectory(const std::string& path) {
  if (!xs_mkdir(handle_, transaction_, path.c_str())) return StoreError("make directory", path, errno);
  return absl::OkStatus();
}

absl::Status XenstoreAccess::MakeDirectory(const std::string& path,
                                           const std::vector<XenstorePermission>& permissions) {
  if (absl::Status status = MakeDirectory(path); !status.ok()) return status;
  return SetPermissions(path, permissions);
}

absl::Status XenstoreAccess::Remove(const std::string& path) {
  if (!xs_rm(handle_, transaction_, path.c_str()) && errno != ENOENT) return StoreError("remove", path, errno);
  return absl::OkStatus();
}

absl::Status XenstoreAccess::RemoveIfEmpty(const std::string& path) {
  const absl::StatusOr<std::vector<std::string>> children = List(path);
  if (absl::IsNotFound(children.status())) return absl::OkStatus();
  if (!children.ok()) return children.status();
  return children->empty() ? Remove(path) : absl::OkStatus();
}

absl::Status XenstoreAccess::SetPermissions(const std::string& path,
                                            const std::vector<XenstorePermission>& permissions) {
  std::vector<xs_permissions> native;
  native.reserve(permissions.size());
  for (const XenstorePermission& permission : permissions) {
    native.push_back({.id = permission.domid, .perms = NativeAccess(permission.access)});
  }
  if (!xs_set_permissions(handle_, transaction_, path.c_str(), native.data(), native.size())) {
    return StoreError("set the permissions of", path, errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Xenstore>> Xenstore::Open() {
  XenstoreHandle handle(xs_open(0));
  if (handle == nullptr) {
    const int error = errno;
    if (error == EACCES || error == EPERM) {
      return absl::PermissionDeniedError(
          absl::StrCat("can't connect to xenstored (errno ", error, "): run this as root"));
    }
    return absl::FailedPreconditionError(absl::StrCat("can't connect to xenstored: ", strerror(error), " (errno ",
                                                      error, "): this is not a Xen dom0, or xenstored is not running"));
  }
  return std::unique_ptr<Xenstore>(new Xenstore(std::move(handle)));
}

Xenstore::Xenstore(XenstoreHandle handle) : XenstoreAccess(handle.get(), XBT_NULL), owned_(std::move(handle)) {}

Xenstore::~Xenstore() = default;

absl::Status Xenstore::Transact(const std::function<absl::Status(XenstoreAccess& transaction)>& body) {
  for (int attempt = 0; attempt < kTransactionAttempts; ++attempt) {
    const xs_transaction_t id = xs_transaction_start(handle_);
    if (id == XBT_NULL) return StoreError("start a transaction", "", errno);
    XenstoreTransaction transaction(handle_, id);
    if (absl::Status status = body(transaction); !status.ok()) {
      xs_transaction_end(handle_, id, /*abort=*/true);
      return status;
    }
    if (xs_transaction_end(handle_, id, /*abort=*/false)) return absl::OkStatus();
    if (errno != EAGAIN) return StoreError("commit a transaction", "", errno);
  }
  return absl::AbortedError(
      absl::StrCat("xenstore: a transaction was disturbed ", kTransactionAttempts, " times in a row"));
}

absl::StatusOr<Xenstore::WatchId> Xenstore::Watch(const std::string& path,
                                                  std::function<void(const std::string& path)> changed) {
  const WatchId id = next_watch_++;
  if (!xs_watch(handle_, path.c_str(), absl::StrCat(id).c_str())) return StoreError("watch", path, errno);
  watches_.emplace(id,
                   ActiveWatch{path, std::make_shared<std::function<void(const std::string&)>>(std::move(changed))});
  return id;
}

void Xenstore::Unwatch(WatchId watch) {
  const auto found = watches_.find(watch);
  if (found == watches_.end()) return;
  // An error means that the connection is broken, and the watch with it.
  xs_unwatch(handle_, found->second.path.c_str(), absl::StrCat(watch).c_str());
  watches_.erase(found);
}

int Xenstore::watch_fd() const { return xs_fileno(handle_); }

absl::Status Xenstore::DispatchWatches() {
  while (true) {
    const MallocPtr<char*> event(xs_check_watch(handle_));
    if (event == nullptr) break;
    WatchId id = 0;
    if (!absl::SimpleAtoi(event.get()[XS_WATCH_TOKEN], &id)) continue;
    // An event that was under way when its watch ended.
    const auto found = watches_.find(id);
    if (found == watches_.end()) continue;
    const std::shared_ptr<std::function<void(const std::string&)>> changed = found->second.changed;
    (*changed)(event.get()[XS_WATCH_PATH]);
  }
  // The library's reader thread closes its end of the pipe when it loses xenstored.
  pollfd watch{watch_fd(), POLLIN, 0};
  if (poll(&watch, 1, 0) > 0 && (watch.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
    return absl::UnavailableError("the connection to xenstored is broken; is xenstored running?");
  }
  return absl::OkStatus();
}

absl::Status Xenstore::IntroduceDomain(uint32_t domid, uint64_t store_mfn, uint32_t store_port) {
  if (!xs_introduce_domain(handle_, domid, store_mfn, store_port)) {
    return StoreError("introduce", XenstoreDomainPath(domid), errno);
  }
  return absl::OkStatus();
}

absl::Status Xenstore::ResumeDomain(uint32_t domid) {
  if (!xs_resume_domain(handle_, domid)) return StoreError("resume", XenstoreDomainPath(domid), errno);
  return absl::OkStatus();
}

}  // namespace romulus
