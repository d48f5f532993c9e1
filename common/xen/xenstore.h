#ifndef ROMULUS_COMMON_XEN_XENSTORE_H_
#define ROMULUS_COMMON_XEN_XENSTORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/xen/handles.h"

namespace romulus {

// Who may do what with a node. A node's list begins with its owner (who may do all), whose `access` is what everybody
// not listed may do.
struct XenstorePermission {
  enum class Access { kNone, kRead, kWrite, kReadWrite };
  uint32_t domid = 0;
  Access access = Access::kNone;
};

// Reads and writes of xenstore, one by one or (through Xenstore::Transact) within a transaction. Each is a round trip
// to xenstored, which blocks. Errors name the path and errno: NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (quota),
// UNAVAILABLE (the connection to xenstored is broken), INVALID_ARGUMENT.
class XenstoreAccess {
 public:
  XenstoreAccess(const XenstoreAccess&) = delete;
  XenstoreAccess& operator=(const XenstoreAccess&) = delete;

  absl::StatusOr<std::string> Read(const std::string& path) const;
  // As Read, with `otherwise` where the node does not exist.
  absl::StatusOr<std::string> ReadOr(const std::string& path, const std::string& otherwise) const;
  // INVALID_ARGUMENT where the value is not a decimal number.
  absl::StatusOr<uint64_t> ReadNumber(const std::string& path) const;
  // Names of the children, without the path; empty where there are none. NOT_FOUND where the node does not exist.
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) const;

  // Creates missing parents; a new node inherits its parent's permissions.
  absl::Status Write(const std::string& path, const std::string& value);
  absl::Status Write(const std::string& path, const std::string& value,
                     const std::vector<XenstorePermission>& permissions);
  // OK if it exists.
  absl::Status MakeDirectory(const std::string& path);
  absl::Status MakeDirectory(const std::string& path, const std::vector<XenstorePermission>& permissions);
  // With everything below it. OK if it does not exist.
  absl::Status Remove(const std::string& path);
  // Where nothing is below it, whatever its own value. OK if something is, or if it does not exist. Two requests: use
  // it in a transaction.
  absl::Status RemoveIfEmpty(const std::string& path);
  absl::Status SetPermissions(const std::string& path, const std::vector<XenstorePermission>& permissions);

 protected:
  XenstoreAccess(xs_handle* handle, xs_transaction_t transaction) : handle_(handle), transaction_(transaction) {}
  ~XenstoreAccess() = default;

  xs_handle* const handle_;
  const xs_transaction_t transaction_;
};

// One connection to xenstored. Reads, writes and transactions are thread safe; watches belong to one thread.
class Xenstore final : public XenstoreAccess {
 public:
  // FAILED_PRECONDITION where this is no Xen dom0 or xenstored does not run.
  static absl::StatusOr<std::unique_ptr<Xenstore>> Open();
  ~Xenstore();

  // Runs `body` in a transaction and commits it, all or nothing. If somebody else changed what it touched, it is run
  // again, up to kTransactionAttempts times (then ABORTED): `body` must be repeatable. If `body` fails, the transaction
  // is dropped and its status returned.
  absl::Status Transact(const std::function<absl::Status(XenstoreAccess& transaction)>& body);
  static constexpr int kTransactionAttempts = 100;

  // Calls `changed` from DispatchWatches with the path that changed: `path` or one below it, or a special one
  // ("@releaseDomain", "@introduceDomain"). Fires once at the start, as xenstored does.
  using WatchId = uint64_t;
  absl::StatusOr<WatchId> Watch(const std::string& path, std::function<void(const std::string& path)> changed);
  // After it returns, `changed` does not run. May be called from within a callback. Unknown ids are ignored.
  void Unwatch(WatchId watch);

  // Readable when DispatchWatches has something to do: for EventLoop::WatchReadable or poll(). Valid as long as this.
  int watch_fd() const;
  // Runs the callbacks of all changes that have arrived; never blocks. UNAVAILABLE: the connection is broken.
  absl::Status DispatchWatches();

  // Tells xenstored about a domain: where its ring and event channel are. Idempotent.
  absl::Status IntroduceDomain(uint32_t domid, uint64_t store_mfn, uint32_t store_port);
  // Tells xenstored that a suspended domain runs again: without it `@releaseDomain` does not fire for it any more.
  absl::Status ResumeDomain(uint32_t domid);

  xs_handle* handle() const { return handle_; }

 private:
  explicit Xenstore(XenstoreHandle handle);

  struct ActiveWatch {
    std::string path;
    std::shared_ptr<std::function<void(const std::string&)>> changed;
  };

  const XenstoreHandle owned_;
  WatchId next_watch_ = 1;
  std::map<WatchId, ActiveWatch> watches_;
};

// "/local/domain/7"
std::string XenstoreDomainPath(uint32_t domid);

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_XENSTORE_H_
